"""outbox.examine on a server that is wrong itself: crowded, without roles, with what nobody came back for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from tests.conftest import Database

SETTINGS = {
    "max_connections": "20",
    "superuser_reserved_connections": "3",
    "max_prepared_transactions": "2",
    "wal_level": "replica",
    "max_replication_slots": "2",
}


@pytest.fixture(scope="module")
def crowded() -> Iterator[Database]:
    """A migrated database of a server of its own."""
    with ephemeral_server(SETTINGS) as url:
        migrate(url)
        yield Database(url)


def look(db: Database, check: str) -> list[tuple[str, str, str]]:
    return db.execute("SELECT verdict, finding, remedy FROM outbox.examine(%s)", [check])


def test_few_connections_left_are_a_warning(crowded):
    assert look(crowded, "connections")[0][0] == "ok"
    with ExitStack() as taken:
        for _ in range(13):
            taken.enter_context(crowded.connect())
        [(verdict, finding, remedy)] = look(crowded, "connections")
    assert (verdict, finding) == ("warn", "14 of 17 connections of the server are taken, 14 of them to this database")
    assert "max_connections" in remedy


def test_sessions_that_the_login_may_not_see_are_taken_all_the_same(crowded):
    crowded.execute("CREATE ROLE onlooker LOGIN IN ROLE outbox_reader")
    with psycopg.connect(crowded.url, user="onlooker", autocommit=True) as reader, ExitStack() as taken:
        for _ in range(13):
            taken.enter_context(crowded.connect())
        [(finding,)] = reader.execute("SELECT finding FROM outbox.examine('connections')").fetchall()
    assert finding == "14 of 17 connections of the server are taken, 14 of them to this database"


def test_a_prepared_transaction_that_nobody_ended_is_a_failure_whose_remedy_ends_it(crowded):
    crowded.execute("CREATE SCHEMA IF NOT EXISTS outbox_test")
    crowded.execute(
        "CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE"
        " AS 'SELECT clock_timestamp() + interval ''2 hours'''"
    )
    with crowded.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO outbox.audit (what) VALUES ('x')")
        connection.execute("PREPARE TRANSACTION 'it''s lost'")
    [(verdict, finding, remedy)] = look(crowded, "transactions")
    assert verdict == "fail"
    assert finding.startswith(
        "prepared transaction 'it''s lost' of postgres in database postgres: its transaction is open"
    )
    crowded.execute(remedy.partition(": ")[2].partition(";")[0])
    assert [row[0] for row in look(crowded, "transactions")] == ["ok"]


def test_a_replication_slot_that_nobody_reads_is_a_warning_once_it_keeps_a_gigabyte(crowded):
    crowded.execute("SELECT pg_create_physical_replication_slot('copy', true)")
    assert [row[0] for row in look(crowded, "transactions")] == ["ok"]
    with crowded.connect() as connection:
        for _ in range(66):  # of 16 MB
            connection.execute("SELECT pg_logical_emit_message(false, 'test', 'x')")
            connection.execute("SELECT pg_switch_wal()")
    [(verdict, finding, remedy)] = look(crowded, "transactions")
    assert verdict == "warn"
    assert finding.startswith("replication slot copy is read by nobody and keeps 1")
    crowded.execute(remedy.partition(": ")[2])
    assert [row[0] for row in look(crowded, "transactions")] == ["ok"]


def test_autovacuum_that_is_off_is_a_failure_whose_remedy_turns_it_on(crowded):
    crowded.execute("ALTER SYSTEM SET autovacuum = off")
    crowded.execute("SELECT pg_reload_conf()")
    try:
        until_reloaded(crowded, "off")
        [(verdict, _, remedy)] = look(crowded, "vacuum")
        assert verdict == "fail"
    finally:
        for statement in remedy.rstrip(";").split("; "):
            crowded.execute(statement)
    until_reloaded(crowded, "on")
    assert look(crowded, "vacuum")[0][0] == "ok"


def until_reloaded(db: Database, value: str) -> None:
    """Return once new sessions have it; the postmaster reads its files when it gets round to it."""
    while db.execute("SHOW autovacuum") != [(value,)]:
        pass


def test_a_role_that_does_not_exist_is_a_warning(crowded):
    crowded.execute("DROP OWNED BY outbox_producer")
    crowded.execute("DROP ROLE outbox_producer")
    [(verdict, finding, remedy)] = look(crowded, "roles")
    assert (verdict, finding[:35]) == ("warn", "role outbox_producer does not exist")
    crowded.execute(remedy.partition(": ")[2].partition(";")[0])
    migrate(crowded.url)
    assert look(crowded, "roles")[0][0] == "ok"
