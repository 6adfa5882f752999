"""What a call may touch (I10): counted in rows and scans, not in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register, settlement
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock

REDUNDANT = 100_000
BUDGET = 2_000  # wakeups that one call pops of one priority before it stops looking for more


@pytest.mark.parametrize("waiting", ["nothing", "scheduled", "in flight", "of another bot", "stopped"])
def test_an_empty_claim_writes_nothing(connection: Connection, frozen: FrozenClock, waiting: str) -> None:
    worker = register(connection)
    if waiting == "scheduled":
        insert(connection, 1, next_attempt_at=frozen.at + timedelta(hours=1))
    elif waiting == "in flight":
        insert(connection, 1)
        assert claim(connection, worker).lanes
    elif waiting == "of another bot":
        insert(connection, 1, bot=add_bot(connection, "other"))
    elif waiting == "stopped":
        connection.execute("UPDATE outbox.bucket SET stopped = true")
    connection.execute("BEGIN")
    young = {"bot": "default", "slot": 1, "age_s": 0.1, "result": "ok", "round_trip_s": 0.05}
    assert claim(connection, worker, settlements=[young]).lanes == []
    assert connection.execute("SELECT pg_current_xact_id_if_assigned() IS NULL").fetchone() == (True,)
    connection.execute("COMMIT")


def test_a_claim_without_a_free_token_leaves_every_row_as_it_was(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=1)
    worker = register(connection)
    for chat_id in (1, 2):
        insert(connection, chat_id)
    claim(connection, worker)
    rows = "SELECT ctid, xmin FROM outbox.{}"
    tables = ("bucket", "chat", "wakeup", "message")
    before = [connection.execute(rows.format(table)).fetchall() for table in tables]
    assert claim(connection, worker).lanes == []
    assert before == [connection.execute(rows.format(table)).fetchall() for table in tables]


def test_redundant_wakeups_of_a_hot_chat_do_not_stop_the_others(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=None)
    worker = register(connection)
    insert(connection, 1)
    claim(connection, worker)  # the hot chat is in flight
    insert(connection, 1)
    connection.execute(
        "SELECT outbox.file_wakeups('default', array_fill('1'::text, a), array_fill(2::smallint, a),"
        "       array_fill(now() - interval '1 s', a)) FROM (SELECT ARRAY[%s::int] AS a) x",
        [REDUNDANT],
    )
    for chat_id in range(2, 22):
        insert(connection, chat_id)
    given = calls = 0
    while given < 20 and calls <= REDUNDANT / BUDGET:
        answer = claim(connection, worker)
        given, calls = given + len(answer.lanes), calls + 1
        assert given == 20 or (answer.ask_again_s is not None and answer.ask_again_s <= 0.005)
    assert given == 20
    assert broken(connection) == []


def test_a_hundred_thousand_messages_in_one_chat_do_not_stop_the_others(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, rate=None)
    worker = register(connection)
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 100000)")
    others = [insert(connection, chat_id) for chat_id in range(2, 12)]
    assert set(others) <= set(claim(connection, worker).message_ids)


def test_no_call_reads_a_whole_table(db: Database, connection: Connection, frozen: FrozenClock) -> None:
    """Without statistics, which is when a planner errs: no table here was ever analysed."""
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT (1 + i % 500)::text, '{}' FROM generate_series(1, 5000) i"
    )
    worker = register(connection)
    claim(connection, worker)  # the first of a session may look at the catalogue
    before = scans(db, connection)
    settlements: list[object] = []
    for _ in range(12):
        insert(connection, 7)
        lanes = claim(connection, worker, settlements=settlements).lanes  # type: ignore[arg-type]
        finish(connection, worker, lanes[::2])
        finish(connection, worker, lanes[1::2], "retry")
        settlements = [settlement(lane) for lane in lanes]
        frozen.advance(0.3)
    assert scans(db, connection) == before


def scans(db: Database, connection: Connection) -> dict[str, int]:
    """Sequential scans so far per table, this connection's included."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    rows = db.execute(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'outbox'"
        " AND relname IN ('message', 'chat', 'wakeup', 'dead_letter')"
    )
    return {row[0]: row[1] for row in rows}
