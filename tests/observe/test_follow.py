"""outbox.follow: everything that ended, once and in an order that no late commit can disturb."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session


def follow(connection: Connection, cursor: str | None, limit: int = 1000) -> tuple[list[int], str | None]:
    """The ids that follow returns after this cursor, and the cursor to go on with."""
    rows = connection.execute("SELECT id, cursor FROM outbox.follow(%s, %s)", [cursor, limit]).fetchall()
    return [row[0] for row in rows], rows[-1][1] if rows else cursor


def end(connection: Connection, *ids: int, status: str = "sent") -> None:
    """End these messages in the transaction that is open, as complete does."""
    connection.execute(
        "SELECT outbox.finish_messages(array_agg(jsonb_populate_record(NULL::outbox.ending, jsonb_build_object("
        "   'message_id', i, 'status', %s::text, 'attempts', 1, 'calls', 1)))) FROM unnest(%s::bigint[]) i",
        [status, list(ids)],
    )


def test_what_ended_comes_once_in_the_order_of_its_transactions(connection: Connection) -> None:
    ids = [insert(connection, 1 + i) for i in range(6)]
    end(connection, ids[3])
    end(connection, ids[5], status="dead")
    end(connection, ids[0], ids[2], status="expired")
    seen, cursor = follow(connection, None)
    assert seen == [ids[3], ids[5], ids[0], ids[2]]
    assert follow(connection, cursor) == ([], cursor)
    end(connection, ids[1])
    assert follow(connection, cursor)[0] == [ids[1]]


def test_a_transaction_that_began_early_and_commits_late_is_not_skipped(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    early, late = insert(connection, 1), insert(connection, 2)
    slow, fast = open_session(), open_session()
    end(slow.begin(), early)
    end(fast.begin(), late)
    fast.commit()
    seen, cursor = follow(connection, None)
    assert seen == [], "the later number is visible, but the earlier one still runs"
    slow.commit()
    seen, cursor = follow(connection, cursor)
    assert seen == [early, late]


def test_a_number_taken_before_any_row_was_written_holds_back_too(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    first, second = insert(connection, 1), insert(connection, 2)
    slow = open_session()
    slow.begin().execute("SELECT pg_current_xact_id()")
    end(connection, second)
    _, cursor = follow(connection, None)
    assert cursor is None
    end(slow.connection, first)
    slow.commit()
    assert follow(connection, None)[0] == [first, second]


def test_one_that_rolls_back_leaves_no_gap_that_is_waited_for(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    first, second = insert(connection, 1), insert(connection, 2)
    lost = open_session()
    end(lost.begin(), first)
    end(connection, second)
    lost.rollback()
    assert follow(connection, None)[0] == [second]


@pytest.mark.parametrize("seed", range(5))
def test_pages_of_any_size_show_each_ending_once_while_others_commit(
    connection: Connection, open_session: Callable[[], Session], seed: int
) -> None:
    lots = random.Random(seed)
    waiting = [insert(connection, 1 + i) for i in range(60)]
    sessions = [open_session() for _ in range(3)]
    open_now: dict[Session, list[int]] = {}
    ended: list[int] = []
    seen: list[int] = []
    cursor = None
    while waiting or open_now:
        session = lots.choice(sessions)
        if session in open_now:
            session.commit()
            ended += open_now.pop(session)
        elif waiting:
            open_now[session] = [waiting.pop() for _ in range(min(len(waiting), lots.randint(1, 4)))]
            end(session.begin(), *open_now[session], status=lots.choice(["sent", "dead", "uncertain", "expired"]))
        page, cursor = follow(connection, cursor, lots.randint(1, 5))
        seen += page
    while page := follow(connection, cursor, 7)[0]:
        seen, cursor = seen + page, follow(connection, cursor, 7)[1]
    assert sorted(seen) == sorted(ended), f"seed {seed}"
    assert len(set(seen)) == len(seen), f"seed {seed}"


def test_it_goes_on_from_day_to_day(connection: Connection, frozen: FrozenClock) -> None:
    """The order is that of transactions, whatever partition a row lies in."""
    worker = register(connection)
    sent = []
    for _ in range(3):
        sent.append(insert(connection, 1))
        finish(connection, worker, claim(connection, worker).lanes)
        frozen.advance(86400)
        connection.execute("SELECT outbox.heartbeat(%s, true)", [worker])
    assert follow(connection, None) == (sent, follow(connection, None)[1])
    assert follow(connection, None, 2)[0] == sent[:2]


def test_a_dead_letter_that_is_sent_later_comes_twice(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, max_attempts=1)
    worker = register(connection)
    message = insert(connection, 1, on_uncertain="hold")
    lanes = claim(connection, worker).lanes
    finish(connection, worker, lanes, "uncertain")
    seen, cursor = follow(connection, None)
    assert seen == [message]
    finish(connection, worker, lanes, "sent")  # its late answer
    rows = connection.execute("SELECT id, status FROM outbox.follow(%s, 10)", [cursor]).fetchall()
    assert rows == [(message, "sent")]


def test_from_now_on_skips_what_has_ended_and_nothing_that_is_still_open(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    old, running, new = (insert(connection, 1 + i) for i in range(3))
    end(connection, old)
    slow = open_session()
    end(slow.begin(), running)
    [(cursor,)] = connection.execute("SELECT outbox.follow_from_now()").fetchall()
    end(connection, new)
    slow.commit()
    assert follow(connection, cursor)[0] == [running, new]


def test_a_cursor_of_another_database_is_refused_and_says_what_to_do(connection: Connection) -> None:
    end(connection, insert(connection, 1))
    _, cursor = follow(connection, None)
    assert cursor is not None
    other = "77" + cursor
    with pytest.raises(psycopg.Error, match="not of this database") as refused:
        follow(connection, other)
    assert "Start over with NULL" in (refused.value.diag.message_hint or "")
    assert refused.value.sqlstate == "OB003"


def test_a_cursor_ahead_of_this_databases_own_numbers_is_refused(connection: Connection) -> None:
    """As after a recovery to an earlier point in time, which keeps the system's identifier."""
    end(connection, insert(connection, 1))
    _, cursor = follow(connection, None)
    assert cursor is not None
    key, part, xid, last = cursor.split(":")
    with pytest.raises(psycopg.Error, match="not of this database"):
        follow(connection, f"{key}:{part}:{int(xid) + 1_000_000}:{last}")


@pytest.mark.parametrize("cursor", ["", "0", "now", "1-1:1:5", "1-1:2:5:5", "1-1:1:5:5; DROP TABLE x"])
def test_what_is_no_cursor_is_refused(connection: Connection, cursor: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not a cursor"):
        follow(connection, cursor)


def test_what_a_restored_dump_brought_comes_first_and_then_our_own(connection: Connection) -> None:
    """Its numbers are those of the server it came from, perhaps far ahead of ours."""
    restored = [insert(connection, 1 + i) for i in range(3)]
    for message in restored:
        end(connection, message)
    connection.execute("UPDATE outbox.finished SET xid = (xid::text::bigint + 5000000)::text::xid8")
    own = [insert(connection, 1 + i) for i in range(2)]
    for message in own:
        end(connection, message, status="dead")
    seen: list[int] = []
    cursor = None
    for _ in range(5):
        page, cursor = follow(connection, cursor, 1)
        seen += page
    assert seen == restored + own
    assert follow(connection, cursor)[0] == []


@pytest.mark.parametrize("limit", [0, -1, None])
def test_a_limit_that_is_none_is_refused(connection: Connection, limit: int | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not a number of messages"):
        connection.execute("SELECT * FROM outbox.follow(NULL, %s)", [limit])


def test_a_reader_follows_and_sees_no_payload(login: Any, db: Database) -> None:
    reader = login("outbox_reader")
    columns = [column.name for column in reader.execute("SELECT * FROM outbox.follow(NULL)").description]
    assert columns[0] == "cursor"
    assert "payload" not in columns
    reader.execute("SELECT outbox.follow_from_now()")
