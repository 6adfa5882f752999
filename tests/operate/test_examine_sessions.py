"""outbox.examine of the server: who holds what back, dead rows, roles."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.operate.examined import look, only, verdicts


def hold(connection: psycopg.Connection[Any], *statements: str) -> int:
    """Open a transaction, and leave it so."""
    connection.execute("BEGIN")
    for statement in statements:
        connection.execute(statement)
    return connection.info.backend_pid


def test_a_long_transaction_is_named_with_its_pid_and_its_remedy_ends_it(db, clock):
    with db.connect(application_name="report") as other:
        pid = hold(other, "SELECT pg_current_xact_id()")
        clock.advance(240)
        assert verdicts(db, "transactions") == ["ok"]
        clock.advance(360)
        verdict, finding, remedy = only(db, "transactions")
        assert verdict == "warn"
        assert finding.startswith(f"pid {pid} (report, user ")
        assert "idle in transaction): its transaction is open for 10 min" in finding
        assert "it holds the horizon" in finding
        clock.advance(3600)
        assert verdicts(db, "transactions") == ["fail"]
        db.execute(remedy)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert verdicts(db, "transactions") == ["ok"]


def test_a_transaction_that_only_reads_and_waits_holds_locks_and_no_horizon(db, clock):
    with db.connect() as other:
        hold(other, "SELECT count(*) FROM outbox.bot")
        clock.advance(2 * 3600)
        verdict, finding, _ = only(db, "transactions")
    assert verdict == "warn"
    assert finding.endswith("it keeps its locks")


def test_sessions_that_the_login_may_not_see_are_said_to_be_hidden(db, login):
    with db.connect() as other:
        other.execute("SELECT 1")
        rows = (
            login("outbox_reader")
            .execute("SELECT verdict, finding, remedy FROM outbox.examine('transactions')")
            .fetchall()
        )
        assert rows[0][0] == "warn"
        assert "sessions of other users are hidden" in rows[0][1]
        assert rows[0][2].startswith("GRANT pg_monitor TO ")
        monitor = login("outbox_reader", "pg_monitor")
        assert monitor.execute("SELECT verdict FROM outbox.examine('transactions')").fetchall() == [("ok",)]


def test_a_transaction_that_is_in_nobodys_way_leaves_one_row_that_says_ok(db, clock, server):
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as elsewhere:
        hold(elsewhere, "SELECT count(*) FROM pg_class")
        clock.advance(600)
        assert verdicts(db, "transactions") == ["ok"]


def counted(db: Database, *statements: str) -> None:
    """Run these in one session, whose statistics the server has when it returns."""
    with db.connect() as connection:
        for statement in (*statements, "SELECT pg_stat_force_next_flush()"):
            connection.execute(statement)


def test_dead_rows_that_pile_up_are_a_warning(db):
    with db.connect() as reader:
        hold(reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")  # so that no vacuum takes them
        counted(
            db,
            "INSERT INTO outbox.wakeup (bot, priority, due_at, chat_id)"
            " SELECT 'default', 2, now(), g::text FROM generate_series(1, 30000) g",
            "DELETE FROM outbox.wakeup",
        )
        verdict, finding, remedy = only(db, "vacuum")
    assert verdict == "warn"
    assert finding.startswith("outbox.wakeup has about 30000 dead rows beside 0 living ones")
    assert "VACUUM (VERBOSE) outbox.wakeup" in remedy


def test_a_table_far_larger_than_its_rows_is_a_warning(db):
    db.execute("ALTER TABLE outbox.request SET (fillfactor = 10)")
    db.execute(
        "INSERT INTO outbox.request (chat_id, bot, message_id, requested_by)"
        " SELECT '1', 'default', g, repeat(md5(g::text), 24) FROM generate_series(1, 9000) g"
    )
    db.execute("DELETE FROM outbox.request WHERE message_id < 9000")
    db.execute("VACUUM ANALYZE outbox.request")
    verdict, finding, remedy = only(db, "vacuum")
    assert verdict == "warn"
    assert finding.startswith("outbox.request takes 70 MB for about 1 row (")
    db.execute(remedy.rpartition(": ")[2])
    assert verdicts(db, "vacuum") == ["ok"]


def test_a_table_that_nobody_has_counted_is_not_advised_to_be_rewritten(db):
    counted(
        db,
        "ALTER TABLE outbox.request SET (fillfactor = 10)",
        "INSERT INTO outbox.request (chat_id, bot, message_id, requested_by)"
        " SELECT '1', 'default', g, repeat(md5(g::text), 24) FROM generate_series(1, 9000) g",
    )
    # As after a crash of the server, which empties the statistics.
    db.execute("SELECT pg_stat_reset_single_table_counters('outbox.request'::regclass)")
    verdict, finding, remedy = only(db, "vacuum")
    assert (verdict, "takes 70 MB, and nobody has counted its rows" in finding) == ("warn", True)
    assert "FULL" not in remedy
    counted(db, remedy.rpartition(": ")[2])
    assert verdicts(db, "vacuum") == ["ok"]


def test_a_table_without_autovacuum_is_a_warning_whose_remedy_brings_it_back(db):
    db.execute("ALTER TABLE outbox.chat SET (autovacuum_enabled = off)")
    verdict, finding, remedy = only(db, "vacuum")
    assert (verdict, finding[:50]) == ("warn", "outbox.chat has its autovacuum switched off (last ")
    db.execute(remedy)
    assert verdicts(db, "vacuum") == ["ok"]


def test_a_role_that_lacks_its_rights_is_a_failure(db):
    db.execute("REVOKE USAGE ON SCHEMA outbox FROM outbox_reader, outbox_worker, outbox_admin")
    found = {finding for verdict, finding, _ in look(db, "roles") if verdict == "fail"}
    assert "role outbox_reader lacks rights in schema outbox" in found
