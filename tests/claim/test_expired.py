"""What nobody wants any more ends as expired, a bounded number per call."""

from __future__ import annotations

from datetime import timedelta

from tests.invariants.calls import Connection, claim, insert, register, status
from tests.invariants.frozen_clock import FrozenClock


def fill(connection: Connection, frozen: FrozenClock, chat_id: int, priority: int, count: int) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority, expires_at)"
        " SELECT %s, '{}', %s, %s FROM generate_series(1, %s)",
        [str(chat_id), priority, frozen.at, count],
    )


def expired(connection: Connection) -> list[int]:
    """How many have expired, per chat."""
    return [row[0] for row in connection.execute("SELECT count(*) FROM outbox.finished GROUP BY chat_id").fetchall()]


def test_an_expired_message_is_not_sent_and_the_next_one_is(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    stale = insert(connection, 1, expires_at=frozen.at + timedelta(seconds=1))
    fresh = insert(connection, 1)
    frozen.advance(1)
    assert claim(connection, worker).message_ids == [fresh]
    assert status(connection, stale) == "expired"


def test_a_message_may_be_sent_until_it_expires(connection: Connection, frozen: FrozenClock) -> None:
    message_id = insert(connection, 1, expires_at=frozen.at + timedelta(milliseconds=1))
    assert claim(connection, register(connection)).message_ids == [message_id]


def test_a_call_ends_at_most_200_and_the_next_goes_on(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in range(1, 9):
        fill(connection, frozen, chat_id, 2, 90)
    before = 0
    while before < 720:
        claim(connection, worker)
        ended = sum(expired(connection))
        assert 0 < ended - before <= 200
        before = ended
        frozen.advance(0.002)  # the rest is for a claim that comes a moment later


def test_a_call_ends_at_most_100_per_lane_so_that_one_chat_takes_not_all(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    for priority in range(4):
        fill(connection, frozen, 1, priority, 150)
    claim(connection, worker)
    assert max(expired(connection)) <= 100
