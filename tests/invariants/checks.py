"""What must be true at every commit, as queries that return what is wrong: one snapshot each."""

from __future__ import annotations

from tests.invariants.calls import Connection

# Written without outbox.lane_waits_until(): a judge shares no code with the judged.
# 10 ms: a lane that someone held gets its wakeup back a few milliseconds later (I3).
UNCOVERED = """
SELECT m.id FROM outbox.message m
  LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
 WHERE c.in_flight IS NULL
   AND NOT EXISTS (
        SELECT FROM outbox.wakeup w
         WHERE w.chat_id = m.chat_id AND w.bot = m.bot AND w.priority <= m.priority
           AND w.due_at <= interval '10 ms' + greatest(
                   outbox.clock(), m.next_attempt_at, c.next_send_at,
                   (SELECT max(b) FROM unnest(c.backoff_until[1:m.priority + 1]) b)))
 ORDER BY m.id"""

NOWHERE_IN_FLIGHT = """
SELECT c.in_flight FROM outbox.chat c
 WHERE c.in_flight IS NOT NULL
   AND NOT EXISTS (SELECT FROM outbox.message m
                    WHERE m.id = c.in_flight AND m.chat_id = c.chat_id AND m.bot = c.bot)"""

HELD_BY_THE_ENDED = """
SELECT c.in_flight FROM outbox.chat c
 WHERE c.in_flight IS NOT NULL
   AND NOT EXISTS (SELECT FROM outbox.worker w WHERE w.id = c.worker AND w.ended_at IS NULL)"""

IN_TWO_PLACES = """
SELECT id FROM (SELECT id FROM outbox.message UNION ALL SELECT id FROM outbox.dead_letter
                UNION ALL SELECT id FROM outbox.finished) x
 GROUP BY id HAVING count(*) > 1"""


def uncovered(connection: Connection) -> list[int]:
    """I1: messages that wait without a wakeup of their priority or better, due no later than they may be sent."""
    return _ids(connection, UNCOVERED)


def nowhere_in_flight(connection: Connection) -> list[int]:
    """I2: lanes in flight for a message that is not theirs or does not live any more."""
    return _ids(connection, NOWHERE_IN_FLIGHT)


def held_by_the_ended(connection: Connection) -> list[int]:
    """I1: messages in flight in the name of a worker that has ended: nobody will look at their lanes again."""
    return _ids(connection, HELD_BY_THE_ENDED)


def in_two_places(connection: Connection) -> list[int]:
    """I8: ids that are in more than one of message, dead_letter and finished."""
    return _ids(connection, IN_TWO_PLACES)


CHECKS = (uncovered, nowhere_in_flight, held_by_the_ended, in_two_places)


def broken(connection: Connection) -> list[str]:
    """Return a line for each broken promise."""
    return [f"{check.__name__}: {found}" for check in CHECKS if (found := check(connection))]


def _ids(connection: Connection, query: str) -> list[int]:
    return [row[0] for row in connection.execute(query).fetchall()]
