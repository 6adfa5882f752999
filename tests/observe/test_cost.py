"""What a question costs does not depend on how much is kept or waits (I10): counted in scans and rows, not in time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, insert, register

HISTORY = 20_000


@pytest.fixture
def full(connection: Connection) -> Connection:
    """A database with 20,000 ended messages over five days, 2,000 dead letters and 5,000 that wait; never analysed."""
    connection.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        "                             scheduled_for, finished_at, attempts, telegram_message_id, xid)"
        " SELECT -i, 'default', (i %% 500)::text, 'sendMessage', 2, 'sent', i::text, now(), now(),"
        "        now() + (i %% 5) * interval '1 day', 1, i, '3' FROM generate_series(1, %s) i",
        [HISTORY],
    )
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        "                                on_uncertain, created_at, scheduled_for, died_at, attempts, calls, xid)"
        " SELECT -100000 - i, 'default', '1', 'sendMessage', '{}', 2, 'dead', i::text, 'retry', now(), now(), now(), 1,"
        "        1, '3' FROM generate_series(1, 2000) i"
    )
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT (1 + i % 500)::text, '{}' FROM generate_series(1, 5000) i"
    )
    register(connection)
    return connection


@pytest.mark.parametrize(
    "question",
    [
        "SELECT count(*) FROM outbox.follow(NULL, 10)",
        "SELECT count(*) FROM outbox.follow(outbox.follow_from_now(), 10)",
        "SELECT outbox.telegram_answer(-7)",
        "SELECT outbox.explain(-7)",
        "SELECT outbox.explain(-100007)",
        "SELECT outbox.explain({waiting})",
        "SELECT outbox.explain(4711000)",
    ],
)
def test_no_question_reads_a_whole_table(db: Database, full: Connection, question: str) -> None:
    full.execute("SELECT outbox.measure_queue()")
    question = question.format(waiting=insert(full, 7))
    full.execute(question)  # the first of a session may look at the catalogue
    before = scans(db, full)
    for _ in range(3):
        full.execute(question)
    assert scans(db, full) == before


def test_why_a_message_waits_is_told_without_reading_what_waits_for_others(full: Connection) -> None:
    """No worker serves the bot: when its turn comes is not told. And another bot's wakeups are not its queue."""
    full.execute("UPDATE outbox.worker SET ended_at = outbox.clock()")
    full.execute("INSERT INTO outbox.bot (bot) VALUES ('quiet')")
    message = insert(full, 7, bot="quiet")
    full.execute("UPDATE outbox.message SET next_attempt_at = now() WHERE id = %s", [message])
    query = (
        "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
        " WHERE schemaname = 'outbox' AND relname IN ('message', 'wakeup')"
    )
    with full.transaction():
        [(reasons,)] = full.execute("SELECT reasons FROM outbox.explain(%s)", [message]).fetchall()
        read = dict(full.execute(query).fetchall())
    assert reasons == ["no living worker serves bot quiet"]
    assert read["message"] < 20
    assert read["wakeup"] < 20


def test_following_on_reads_what_is_new_and_not_what_was_read(db: Database, full: Connection) -> None:
    [(cursor,)] = full.execute("SELECT outbox.follow_from_now()").fetchall()
    full.execute(
        "SELECT outbox.finish_messages(array_agg(jsonb_populate_record(NULL::outbox.ending,"
        " jsonb_build_object('message_id', x.id, 'status', 'sent', 'attempts', 1)))) FROM"
        " (SELECT id FROM outbox.message ORDER BY id LIMIT 50) x"
    )
    full.execute("SELECT count(*) FROM outbox.follow(%s, 100)", [cursor])
    before = rows_read(db, full)
    assert full.execute("SELECT count(*) FROM outbox.follow(%s, 100)", [cursor]).fetchall() == [(50,)]
    assert rows_read(db, full) - before == 50


def test_failures_of_one_message_filter_before_they_group(full: Connection) -> None:
    """A condition on a grouping column reaches the scan of attempt: nothing else is sorted or joined."""
    plan = full.execute(
        "EXPLAIN (FORMAT JSON) SELECT sum(calls) FROM outbox.failures WHERE chat_id = '7' AND bot = 'default'"
    ).fetchall()
    filters = [node.get("Filter", "") for node in nodes(plan[0][0][0]["Plan"]) if "Scan" in node["Node Type"]]
    assert any("chat_id" in x for x in filters), json.dumps(plan[0][0])


def scans(db: Database, connection: Connection) -> Any:
    """Sequential scans so far per table, this connection's included."""
    flush(connection)
    return db.execute(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'outbox'"
        " AND (relname IN ('message', 'chat', 'wakeup', 'dead_letter') OR relname ~ '^(finished|attempt)_') ORDER BY 1"
    )


def rows_read(db: Database, connection: Connection) -> int:
    flush(connection)
    [(rows,)] = db.execute(
        "SELECT sum(idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_user_tables"
        " WHERE schemaname = 'outbox' AND relname ~ '^(finished|dead_letter)'"
    )
    return int(rows)


def flush(connection: Connection) -> None:
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for child in plan.get("Plans", []) for inner in nodes(child))]
