"""Who may do what, tried by logins that hold one role each."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

INSERT = "INSERT INTO outbox.message (chat_id, payload) VALUES (42, '{}')"
TABLES = (
    "message bot bucket chat wakeup request stop idempotency attempt finished dead_letter worker housekeeping audit"
    " depth"
)
VIEWS = "history due limits queue"


def _refused(connection: psycopg.Connection[Any], query: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        connection.execute(query)


def test_a_producer_inserts_and_reads_back_id_and_correlation_id(login):
    connection = login("outbox_producer")
    [(message_id, correlation_id)] = connection.execute(f"{INSERT} RETURNING id, correlation_id").fetchall()
    assert isinstance(message_id, int)
    assert len(correlation_id) == 36


def test_a_producer_may_set_every_column_that_is_the_producers(login):
    login("outbox_producer").execute(
        "INSERT INTO outbox.message (bot, chat_id, method, payload, priority, next_attempt_at, expires_at,"
        " max_attempts, correlation_id, idempotency_key, collapse_key, on_uncertain, tag) VALUES"
        " ('default', 42, 'sendMessage', '{}', 1, now(), now() + interval '1 h', 3, 'c', 'i', 'k', 'hold', 't')"
    )


def test_a_producer_is_told_what_to_change(login):
    with pytest.raises(psycopg.errors.CheckViolation, match="priority 9 does not exist"):
        login("outbox_producer").execute("INSERT INTO outbox.message (chat_id, payload, priority) VALUES (1, '{}', 9)")
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody" does not exist'):
        login("outbox_producer").execute(
            "INSERT INTO outbox.message (chat_id, payload, bot) VALUES (1, '{}', 'nobody')"
        )


def test_a_producer_may_not_set_what_is_ours(login):
    connection = login("outbox_producer")
    ours = {"attempts": "0", "calls": "0", "last_error": "''", "created_at": "now()", "id": "7"}
    for column, value in ours.items():
        _refused(
            connection,
            f"INSERT INTO outbox.message (chat_id, payload, {column}) OVERRIDING SYSTEM VALUE"
            f" VALUES (42, '{{}}', {value})",
        )


def test_a_producer_reads_nothing_else_and_changes_nothing(login):
    connection = login("outbox_producer")
    connection.execute(INSERT)
    for query in (
        "SELECT payload FROM outbox.message",
        "SELECT * FROM outbox.message",
        "SELECT chat_id FROM outbox.message",
        f"{INSERT} RETURNING payload",
        "UPDATE outbox.message SET priority = 0",
        "DELETE FROM outbox.message",
        "TRUNCATE outbox.message",
    ):
        _refused(connection, query)
    for relation in f"{TABLES} {VIEWS}".split():
        if relation != "message":
            _refused(connection, f"SELECT count(*) FROM outbox.{relation}")


def test_a_producer_calls_nothing_of_workers_or_operators(login):
    connection = login("outbox_producer")
    for call in ("reap()", "repair()", "set_bot('x')", "claim(1, '{}', 1, '[]')", "complete(1, '[]')"):
        _refused(connection, f"SELECT outbox.{call}")


def test_a_reader_sees_history_and_views_but_no_payload_and_inserts_nothing(db, login):
    db.execute(INSERT)
    connection = login("outbox_reader")
    for relation in (*VIEWS.split(), "attempt", "bot", "worker", "housekeeping", "audit"):
        columns = [column.name for column in connection.execute(f"SELECT * FROM outbox.{relation}").description or []]
        assert "payload" not in columns, relation
    assert connection.execute("SELECT status FROM outbox.history").fetchall() == [("queued",)]
    for query in (
        "SELECT payload FROM outbox.message",
        "SELECT payload FROM outbox.finished",
        "SELECT payload FROM outbox.dead_letter",
        "SELECT id FROM outbox.message",
        INSERT,
        "UPDATE outbox.bot SET rate = 1",
        "SELECT outbox.claim(1, '{default}', 1, '[]')",
        "SELECT outbox.reap()",
    ):
        _refused(connection, query)


def test_no_view_shows_a_payload(db):
    assert (
        db.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'outbox' AND column_name = 'payload'"
            "   AND table_name IN (SELECT viewname FROM pg_views WHERE schemaname = 'outbox')"
        )
        == []
    )


def test_a_worker_delivers_and_keeps_house_but_decides_no_policy(db, login):
    db.execute(INSERT)
    connection = login("outbox_worker")
    [(worker,)] = connection.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, '0')").fetchall()
    assert connection.execute("SELECT outbox.heartbeat(%s, true)", [worker]).fetchall() == [(True,)]
    rows = connection.execute(
        "SELECT bot, chat_id, message_id, attempt FROM outbox.claim(%s, '{default}', 10, '[]')", [worker]
    ).fetchall()
    bot, chat_id, message_id, attempt = rows[0]
    assert connection.execute(
        "SELECT outbox.complete(%s, jsonb_build_array(jsonb_build_object('bot', %s::text, 'chat_id', %s::text,"
        " 'message_id', %s::bigint, 'attempt', %s::int, 'outcome', 'sent', 'age_s', 0, 'duration_s', 0.1)))",
        [worker, bot, chat_id, message_id, attempt],
    ).fetchall() == [(1,)]
    for call in ("reap()", "repair()", "keep_house('h')", "make_partitions()", "drop_history()", "leave_house('h')"):
        connection.execute(f"SELECT outbox.{call}")
    connection.execute("SELECT outbox.leave(%s)", [worker])
    assert connection.execute("SELECT status FROM outbox.history").fetchall() == [("sent",)]
    _refused(connection, "SELECT outbox.set_bot('alerts')")
    _refused(connection, "UPDATE outbox.bot SET rate = 1000")
    _refused(connection, "INSERT INTO outbox.audit (what) VALUES ('forged')")
    _refused(connection, "DROP TABLE outbox.message")


def test_an_admin_sets_policy_and_it_is_on_record(db, login):
    connection = login("outbox_admin")
    connection.execute("SELECT outbox.set_bot('alerts', p_rate => 5)")
    connection.execute("INSERT INTO outbox.message (bot, chat_id, payload) VALUES ('alerts', 42, '{}')")
    assert db.execute("SELECT what, who FROM outbox.audit") == [("set_bot", connection.info.user)]


def test_everybody_else_can_do_nothing(db, login):
    connection = login()
    for relation in f"{TABLES} {VIEWS}".split():
        _refused(connection, f"SELECT count(*) FROM outbox.{relation}")
    _refused(connection, INSERT)
    _refused(connection, "SELECT outbox.clock()")
    assert (
        db.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'outbox'::regnamespace"
            "   AND has_function_privilege('public', p.oid, 'EXECUTE')"
        )
        == []
    )


def test_no_function_of_ours_with_its_owners_rights_searches_foreign_schemas(db):
    assert (
        db.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'outbox'::regnamespace"
            "   AND p.prosecdef AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)"
        )
        == []
    )


def test_a_worker_remembers_an_identity_but_changes_none(db, login):
    worker = login("outbox_worker")
    assert worker.execute("SELECT * FROM outbox.check_identity('production', '{\"default\": 1}')").fetchall() == []
    assert db.execute("SELECT environment FROM outbox.identity") == [("production",)]
    _refused(worker, "SELECT * FROM outbox.adopt('staging', '{}', false)")
    _refused(worker, "UPDATE outbox.identity SET environment = 'staging'")
    _refused(worker, "UPDATE outbox.bot SET rate = 1000")
    login("outbox_admin").execute("SELECT * FROM outbox.adopt('staging', '{}', false)")
    assert db.execute("SELECT environment FROM outbox.identity") == [("staging",)]


def test_every_role_sees_the_same_database_where_a_dba_closed_pg_control(db, login):
    [(key,)] = db.execute("SELECT outbox.database_key()")
    db.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    assert login("outbox_worker").execute("SELECT outbox.database_key()").fetchall() == [(key,)]
