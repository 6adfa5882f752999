"""What outbox.message refuses, with which words, and what passes without a step into PL/pgSQL."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

SECRET = "s3cret-of-the-payload"

# column, value as SQL, what the refusal says, what its hint says
REFUSED = [
    ("priority", "4", "priority 4 does not exist", "0 critical, 1 high, 2 normal or 3 low"),
    ("priority", "-1", "priority -1 does not exist", "0 critical"),
    ("priority", "NULL", "priority NULL does not exist", "0 critical"),
    ("chat_id", "'0'", 'chat_id "0" is neither a number nor a @name', "42 or -1001234567890, or its @name"),
    ("chat_id", "'042'", "neither a number", "@name"),
    ("chat_id", "'4 2'", "neither a number", "@name"),
    ("chat_id", "''", "neither a number", "@name"),
    ("chat_id", "'name'", "neither a number", "@name"),
    ("chat_id", "'@a'", "neither a number", "@name"),
    ("chat_id", "'@1name'", "neither a number", "@name"),
    ("chat_id", "E'42\\n'", "neither a number", "@name"),
    ("chat_id", "'12345678901234567890'", "neither a number", "@name"),
    ("chat_id", "'t.me/name'", "neither a number", "@name"),
    ("chat_id", "NULL", "chat_id is missing", "@name"),
    ("payload", "'[]'", "payload is array, not an object", '{"text": "hi"}'),
    ("payload", "'\"text\"'", "payload is string, not an object", '{"text": "hi"}'),
    ("payload", "'1'", "payload is number, not an object", '{"text": "hi"}'),
    ("payload", "'null'", "payload is null, not an object", '{"text": "hi"}'),
    ("payload", "NULL", "payload is missing, not an object", '{"text": "hi"}'),
    (
        "payload",
        "jsonb_build_object('text', repeat('x', 262144))",
        r"payload has \d+ bytes, more than 262144",
        "file_id",
    ),
    ("bot", "'nobody'", 'bot "nobody" does not exist', "outbox.set_bot"),
    ("bot", "NULL", "bot is missing", "outbox.bot"),
    ("method", "'send message'", 'method "send message" cannot be', "such as sendMessage"),
    ("method", "'/../getMe'", "cannot be a method", "such as sendMessage"),
    ("method", "''", "cannot be a method", "such as sendMessage"),
    ("method", "repeat('x', 65)", "cannot be a method", "such as sendMessage"),
    ("method", "NULL", 'method "NULL" cannot be', "such as sendMessage"),
    ("next_attempt_at", "'infinity'", "next_attempt_at infinity is no time", "Leave the column out"),
    ("next_attempt_at", "'-infinity'", "next_attempt_at -infinity is no time", "Leave the column out"),
    ("next_attempt_at", "NULL", "next_attempt_at NULL is no time", "Leave the column out"),
    ("expires_at", "'infinity'", "expires_at infinity is no time", "never expires"),
    ("max_attempts", "0", "max_attempts 0 would never send", "Use 1 or more"),
    ("max_attempts", "-1", "max_attempts -1 would never send", "Use 1 or more"),
    ("on_uncertain", "'maybe'", 'on_uncertain "maybe" does not exist', "retry .* or hold"),
    ("on_uncertain", "NULL", 'on_uncertain "NULL" does not exist', "retry .* or hold"),
    ("correlation_id", "repeat('x', 201)", "longer than 200 characters", "hash"),
    ("tag", "repeat('x', 201)", "longer than 200 characters", "hash"),
    ("collapse_key", "repeat('x', 201)", "longer than 200 characters", "hash"),
    ("idempotency_key", "repeat('x', 201)", "longer than 200 characters", "hash"),
]


def _insert(column: str, value: str) -> str:
    cells = {"chat_id": "'42'", "payload": f"""'{{"text": "{SECRET}"}}'"""} | {column: value}
    return f"INSERT INTO outbox.message ({', '.join(cells)}) VALUES ({', '.join(cells.values())})"


def _everything_said(error: psycopg.Error) -> str:
    fields = ("message_primary", "message_detail", "message_hint", "context", "internal_query")
    return " ".join(str(getattr(error.diag, name)) for name in fields)


@pytest.fixture(scope="module")
def refusing(server, template):
    """One database for all of what is refused: nothing of it may stay behind."""
    database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    yield database
    server.drop_database(database)


@pytest.mark.parametrize(("column", "value", "says", "hint"), REFUSED)
def test_bad_input_is_refused_with_what_to_change_and_without_the_payload(refusing, column, value, says, hint):
    with refusing.connect() as connection, pytest.raises(psycopg.IntegrityError) as refusal:
        connection.execute(_insert(column, value))
    assert re.search(says, refusal.value.diag.message_primary)
    assert re.search(hint, refusal.value.diag.message_hint)
    assert refusal.value.diag.sqlstate in {"23502", "23503", "23514"}
    assert SECRET not in _everything_said(refusal.value)
    assert refusing.execute("SELECT count(*) FROM outbox.message") == [(0,)]
    assert refusing.execute("SELECT count(*) FROM outbox.wakeup") == [(0,)]


def test_one_bad_row_among_good_ones_stores_nothing(db):
    with db.connect() as connection, pytest.raises(psycopg.errors.CheckViolation, match="priority 7 does not exist"):
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload, priority, idempotency_key)"
            " SELECT n::text, '{}', CASE WHEN n = 99 THEN 7 ELSE 2 END, 'key' || n FROM generate_series(1, 100) n"
        )
    for table in ("message", "wakeup", "idempotency"):
        assert db.execute(f"SELECT count(*) FROM outbox.{table}") == [(0,)], table


def test_an_unknown_bot_among_known_ones_stores_nothing(db):
    with db.connect() as connection, pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody"'):
        connection.execute(
            "INSERT INTO outbox.message (bot, chat_id, payload) VALUES ('default', 1, '{}'), ('nobody', 2, '{}')"
        )
    assert db.execute("SELECT count(*) FROM outbox.message") == [(0,)]


def test_null_in_a_column_that_may_be_unset_means_unset(db):
    unset = ("expires_at", "max_attempts", "idempotency_key", "collapse_key", "tag")
    for column in unset:
        db.execute(_insert(column, "NULL"))
    assert db.execute(f"SELECT DISTINCT num_nulls({', '.join(unset)}) FROM outbox.message") == [(5,)]


def test_a_null_correlation_id_is_generated(db):
    db.execute(_insert("correlation_id", "NULL"))
    [(correlation_id,)] = db.execute("SELECT correlation_id FROM outbox.message")
    assert re.fullmatch(r"[0-9a-f-]{36}", correlation_id)


def test_good_rows_never_enter_the_function_that_refuses(db):
    db.execute(
        "CREATE OR REPLACE FUNCTION outbox.refuse_bad_input() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'entered'; END $$"
    )
    db.execute("INSERT INTO outbox.bot (bot) VALUES ('alerts')")
    db.execute(
        "INSERT INTO outbox.message (bot, chat_id, method, payload, priority, next_attempt_at, expires_at,"
        " max_attempts, correlation_id, idempotency_key, collapse_key, on_uncertain, tag)"
        " SELECT 'alerts', chat, 'sendPhoto', '{\"photo\": \"x\"}', priority, now() + '1 h', now() + '2 h', 3,"
        " 'correlation', chat || priority, 'collapse', uncertain, 'tag'"
        " FROM unnest(ARRAY['1', '-1', '-1001234567890', '9223372036854775807', '@name', '@na_me9']) chat,"
        " generate_series(0, 3) priority, unnest(ARRAY['retry', 'hold']) uncertain"
        " WHERE (uncertain = 'hold') = (priority = 0)"
    )
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (42, '{}')")
    assert db.execute("SELECT count(*) FROM outbox.message") == [(25,)]
    with db.connect() as connection, pytest.raises(psycopg.errors.RaiseException, match="entered"):
        connection.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('@NAME', '{}')")


def test_a_chat_and_a_payload_are_enough_and_the_chat_may_be_an_integer(db):
    db.execute("""INSERT INTO outbox.message (chat_id, payload) VALUES (42, '{"text": "hi"}')""")
    assert db.execute(
        "SELECT bot, chat_id, method, priority, next_attempt_at = created_at, expires_at, max_attempts, on_uncertain,"
        " attempts FROM outbox.message"
    ) == [("default", "42", "sendMessage", 2, True, None, None, "retry", 0)]


def test_every_spelling_of_a_name_is_one_lane(db):
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('@Name', '{}'), ('@NAME', '{}'), ('@name', '{}')")
    assert db.execute("SELECT DISTINCT chat_id FROM outbox.message") == [("@name",)]
    assert db.execute("SELECT chat_id, count(*) FROM outbox.wakeup GROUP BY 1") == [("@name", 1)]


def test_every_spelling_of_a_bot_is_one_bot(db):
    db.execute("INSERT INTO outbox.message (bot, chat_id, payload) VALUES ('Default', 1, '{}')")
    assert db.execute("SELECT bot FROM outbox.message") == [("default",)]


def test_the_largest_payload_is_the_one_that_is_said(db):
    with db.connect() as connection:
        around = len('{"text": ""}')
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload) VALUES (1, %s)", [Jsonb({"text": "x" * (262144 - around)})]
        )
        with pytest.raises(psycopg.errors.CheckViolation, match="payload has 262145 bytes, more than 262144"):
            connection.execute(
                "INSERT INTO outbox.message (chat_id, payload) VALUES (1, %s)",
                [Jsonb({"text": "x" * (262145 - around)})],
            )


def test_a_payload_copied_from_a_table_is_measured_uncompressed(db):
    db.execute("CREATE TABLE public.source AS SELECT jsonb_build_object('text', repeat('x', 1000000)) AS payload")
    with db.connect() as connection, pytest.raises(psycopg.errors.CheckViolation, match="more than 262144"):
        connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT 42, payload FROM public.source")


def test_copy_is_an_insert_like_any_other(db):
    with db.connect() as connection:
        with connection.cursor().copy("COPY outbox.message (chat_id, payload) FROM STDIN") as rows:
            rows.write_row((42, "{}"))
            rows.write_row(("@Name", "{}"))
        with (
            pytest.raises(psycopg.errors.CheckViolation, match="payload is array, not an object"),
            connection.cursor().copy("COPY outbox.message (chat_id, payload) FROM STDIN") as rows,
        ):
            rows.write_row((42, "[]"))
    assert db.execute("SELECT chat_id FROM outbox.wakeup ORDER BY 1") == [("42",), ("@name",)]
