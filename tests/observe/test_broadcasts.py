"""outbox.broadcasts: what became of the messages of a tag, each counted once, whatever is open or counted already."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.operate.dead_letters import die, unlimited

STATES = ("waiting", "sent", "dead", "uncertain", "expired", "cancelled", "superseded", "discarded")
ENDS = ("sent", "sent", "sent", "expired", "cancelled", "superseded", "discarded", "dead", "uncertain")


def broadcast(connection: Connection, tag: str = "sale", bot: str = "default") -> dict[str, int]:
    """The states of a tag that are not 0."""
    row = connection.execute(
        f"SELECT {', '.join(STATES)} FROM outbox.broadcasts WHERE tag = %s AND bot = %s", [tag, bot]
    ).fetchone()
    return {state: count for state, count in zip(STATES, row or [0] * len(STATES), strict=True) if count}


def column(connection: Connection, name: str, tag: str = "sale") -> Any:
    row = connection.execute(f"SELECT {name} FROM outbox.broadcasts WHERE tag = %s", [tag]).fetchone()
    assert row is not None
    return row[0]


def measure(connection: Connection) -> int:
    row = connection.execute("SELECT outbox.measure_broadcasts()").fetchone()
    assert row is not None
    return int(row[0])


def end(connection: Connection, *ids: int, status: str = "sent") -> None:
    """End these messages in the transaction that is open, as complete does."""
    connection.execute(
        "SELECT outbox.finish_messages(array_agg(jsonb_populate_record(NULL::outbox.ending, jsonb_build_object("
        "   'message_id', i, 'status', %s::text, 'attempts', 1, 'calls', 1)))) FROM unnest(%s::bigint[]) i",
        [status, list(ids)],
    )


def told_by_history(connection: Connection) -> dict[tuple[str, str], dict[str, int]]:
    """The same as the view should say, counted message by message."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for tag, bot, status, count in connection.execute(
        "SELECT tag, bot, CASE WHEN status IN ('queued', 'sending') THEN 'waiting' ELSE status END, count(*)"
        "  FROM outbox.history WHERE tag IS NOT NULL GROUP BY 1, 2, 3"
    ):
        found.setdefault((tag, bot), {})[status] = count
    return found


def told_by_broadcasts(connection: Connection) -> dict[tuple[str, str], dict[str, int]]:
    rows = connection.execute(f"SELECT tag, bot, accepted, {', '.join(STATES)} FROM outbox.broadcasts").fetchall()
    assert all(accepted == sum(counts) for _, _, accepted, *counts in rows)
    return {
        (tag, bot): {state: count for state, count in zip(STATES, counts, strict=True) if count}
        for tag, bot, _, *counts in rows
    }


def test_every_way_to_end_is_a_column_and_accepted_is_their_sum(connection: Connection) -> None:
    for number, status in enumerate(sorted(set(ENDS)), start=1):
        ids = [insert(connection, number, tag="sale") for _ in range(number)]
        end(connection, *ids, status=status)
    insert(connection, 1, tag="sale")
    expected = {status: number for number, status in enumerate(sorted(set(ENDS)), start=1)} | {"waiting": 1}
    assert broadcast(connection) == expected
    assert measure(connection) == 1
    assert broadcast(connection) == expected
    assert column(connection, "accepted") == 29
    assert column(connection, "progress") == pytest.approx(28 / 29)


def test_tags_and_bots_are_told_apart_and_messages_without_a_tag_count_nowhere(connection: Connection) -> None:
    add_bot(connection, "other")
    end(connection, insert(connection, 1, tag="sale"), insert(connection, 1), insert(connection, 1, tag="sale2"))
    insert(connection, 1, tag="sale", bot="other")
    measure(connection)
    assert told_by_broadcasts(connection) == {
        ("sale", "default"): {"sent": 1},
        ("sale2", "default"): {"sent": 1},
        ("sale", "other"): {"waiting": 1},
    }


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_history_whatever_commits_late_and_whenever_it_was_counted(
    connection: Connection, open_session: Callable[[], Session], seed: int
) -> None:
    lots = random.Random(seed)
    add_bot(connection, "other")
    sessions = [open_session() for _ in range(3)]
    open_now: list[Session] = []
    busy: set[int] = set()  # messages that an open transaction holds
    held: dict[Session, list[int]] = {}
    for _ in range(150):
        match lots.choice(("insert", "insert", "end", "end", "close", "measure", "retry", "discard", "resolve")):
            case "insert":
                for _ in range(2):
                    insert(connection, 1, tag=lots.choice("abc"), bot=lots.choice(("default", "other")))
            case "end":
                session = lots.choice(sessions)
                if session not in open_now and lots.random() < 0.6:
                    session.begin()
                    open_now.append(session)
                waiting = [i for (i,) in connection.execute("SELECT id FROM outbox.message") if i not in busy]
                some = lots.sample(waiting, min(len(waiting), lots.randint(1, 4)))
                if some:
                    end(session.connection, *some, status=lots.choice(ENDS))
                if session in open_now:
                    held.setdefault(session, []).extend(some)
                    busy |= set(some)
            case "close" if open_now:
                session = open_now.pop(lots.randrange(len(open_now)))
                lots.choice((session.commit, session.commit, session.rollback))()
                busy -= set(held.pop(session, []))
            case "measure":
                measure(connection)
            case "retry" | "discard" as verb:
                connection.execute(f"SELECT outbox.{verb}(p_until => 'infinity', p_limit => 2)")
            case "resolve":
                connection.execute(
                    "SELECT outbox.resolve_dead_letters(array_agg(jsonb_populate_record(NULL::outbox.ending,"
                    " jsonb_build_object('message_id', d.id)))) FROM (SELECT id FROM outbox.dead_letter LIMIT 1) d"
                )
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert told_by_broadcasts(connection) == told_by_history(connection), f"seed {seed}"
    assert sum(sum(counts.values()) for counts in told_by_history(connection).values()) > 20, f"seed {seed}"


def test_what_ended_in_a_transaction_that_was_open_at_the_mark_is_counted_when_it_commits_and_once(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    early, late = insert(connection, 1, tag="sale"), insert(connection, 2, tag="sale")
    slow = open_session()
    end(slow.begin(), early)
    end(connection, late)
    measure(connection)
    assert broadcast(connection) == {"waiting": 1, "sent": 1}
    slow.commit()
    assert broadcast(connection) == {"sent": 2}
    for _ in range(2):
        measure(connection)
        assert broadcast(connection) == {"sent": 2}


def test_a_transaction_sees_what_it_has_ended_itself(connection: Connection) -> None:
    message = insert(connection, 1, tag="sale")
    measure(connection)
    with connection.transaction(force_rollback=True):
        end(connection, message)
        assert broadcast(connection) == {"sent": 1}
    assert broadcast(connection) == {"waiting": 1}


def test_two_who_measure_at_once_count_once(connection: Connection, open_session: Callable[[], Session]) -> None:
    measure(connection)
    end(connection, *(insert(connection, 1 + i, tag="sale") for i in range(5)))
    one, other = open_session(), open_session()
    one.begin().execute("SELECT FROM outbox.broadcast_mark FOR UPDATE")
    second = other.start(measure)
    assert other.waits(second)
    assert measure(one.connection) == 1
    assert other.waits(second)
    one.commit()
    assert second.result() == 0
    assert broadcast(connection) == {"sent": 5}


def test_a_dead_letter_counts_where_it_is_now_and_never_twice(connection: Connection) -> None:
    unlimited(connection)
    add_bot(connection, max_attempts=1)
    message = die(connection, 1, tag="sale")
    assert broadcast(connection) == {"dead": 1}
    measure(connection)
    connection.execute("SELECT outbox.retry(%s)", [message])
    assert broadcast(connection) == {"waiting": 1}
    measure(connection)
    worker = register(connection)
    lanes = claim(connection, worker).lanes
    finish(connection, worker, lanes, "dead")
    assert broadcast(connection) == {"dead": 1}
    finish(connection, worker, lanes, "sent")  # its late answer
    measure(connection)
    assert broadcast(connection) == {"sent": 1}


def test_a_tag_is_forgotten_when_nothing_of_it_has_ended_for_thirty_days(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    for tag in ("old", "waits", "dead"):
        end(connection, insert(connection, 1, tag=tag))
    die(connection, 2, tag="dead")
    insert(connection, 1, tag="waits")
    measure(connection)
    frozen.advance(20 * 86400)
    end(connection, insert(connection, 1, tag="new"))
    measure(connection)
    frozen.advance(11 * 86400)
    measure(connection)
    assert told_by_broadcasts(connection) == {
        ("waits", "default"): {"waiting": 1, "sent": 1},
        ("dead", "default"): {"dead": 1, "sent": 1},
        ("new", "default"): {"sent": 1},
    }


def test_a_cancel_of_the_tag_is_told(connection: Connection) -> None:
    insert(connection, 1, tag="sale")
    assert column(connection, "cancel_requested_at") is None
    connection.execute("SELECT outbox.cancel(p_tag => 'other'), outbox.cancel(p_tag => 'sale', p_bot => 'other')")
    assert column(connection, "cancel_requested_at") is None
    connection.execute("SELECT outbox.cancel(p_tag => 'sale')")
    assert column(connection, "cancel_requested_at") is not None
    connection.execute("SELECT outbox.sweep() FROM generate_series(1, 2)")
    assert broadcast(connection) == {"cancelled": 1}


def test_a_reader_sees_broadcasts_and_no_payload(connection: Connection, login: Any) -> None:
    end(connection, insert(connection, 1, tag="sale"))
    reader = login("outbox_reader")
    rows = reader.execute("SELECT * FROM outbox.broadcasts")
    assert "payload" not in {found.name for found in rows.description}
    assert broadcast(reader) == {"sent": 1}


def test_a_worker_may_measure(connection: Connection, login: Any) -> None:
    end(connection, insert(connection, 1, tag="sale"))
    assert measure(login("outbox_worker")) == 1


def test_asking_for_a_tag_reads_that_tag_and_what_is_new(db: Database, connection: Connection) -> None:
    """In rows, on tables that were never analysed."""
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT i::text, '{}', CASE WHEN i <= 50 THEN 'sale' WHEN i <= 3000 THEN 'x' || i % 300 END"
        "   FROM generate_series(1, 5000) i"
    )
    end(
        connection, *(i for (i,) in connection.execute("SELECT id FROM outbox.message WHERE tag LIKE 'x1%'").fetchall())
    )
    measure(connection)
    end(
        connection, *(i for (i,) in connection.execute("SELECT id FROM outbox.message WHERE tag LIKE 'x2%'").fetchall())
    )
    broadcast(connection)  # the first of a session looks at the catalogue
    new = len(connection.execute("SELECT FROM outbox.finished WHERE tag LIKE 'x2%'").fetchall())
    before = rows_read(db, connection)
    assert broadcast(connection) == {"waiting": 50}
    assert rows_read(db, connection) - before <= 50 + new + 10


def test_a_tag_that_is_unknown_costs_nothing_of_the_others(connection: Connection) -> None:
    """The condition reaches every index: nothing else is read or grouped."""
    plan = connection.execute("EXPLAIN (FORMAT JSON) SELECT * FROM outbox.broadcasts WHERE tag = 'sale'").fetchall()
    scans = [node for node in nodes(plan[0][0][0]["Plan"]) if node.get("Relation Name") in ("message", "broadcast")]
    assert len(scans) == 2
    for scan in scans:
        conditions = [part.get(key, "") for part in nodes(scan) for key in ("Index Cond", "Recheck Cond")]
        assert any("tag = 'sale'" in condition for condition in conditions), json.dumps(scan)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for child in plan.get("Plans", []) for inner in nodes(child))]


def rows_read(db: Database, connection: Connection) -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    [(rows,)] = db.execute(
        "SELECT sum(idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_user_tables"
        " WHERE schemaname = 'outbox' AND relname ~ '^(finished|dead_letter|message|broadcast)'"
    )
    return int(rows)
