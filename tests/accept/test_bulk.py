"""Thousands of messages in one call: as few statements as can be, each text as it was, and the database's defaults."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import outbox
from outbox import Message
from outbox.accept.columns import TYPES
from outbox.accept.insert import DEFAULTS, MOST_CHARACTERS, insertion
from outbox.accept.steps import Query, drive

AWKWARD = [
    "",
    "NULL",
    "null",
    "{}",
    "a,b",
    '"',
    "\\",
    '\\"',
    "\\\\",
    "\n\t\r",
    "ü🎉",
    "$1 %s :p",
    "'",
    "(1,2)",
    " ",
    "-",
]


def _counted(messages: list[Message]) -> tuple[list[int | None], list[Query]]:
    """Return what insertion makes of a database that takes everything, and the statements it was asked for."""
    queries: list[Query] = []

    def take(query: Query) -> list[tuple[int, str]]:
        queries.append(query)
        first = sum(map(_rows, queries[:-1])) + 1
        return [(first + n, "") for n in range(_rows(query))]

    return drive(insertion(messages), take), queries


def _rows(query: Query) -> int:
    return 1 if " VALUES " in query.text else query.parameters[0].count('","') + 1


def test_twenty_thousand_messages_with_any_columns_are_one_statement():
    every: list[dict[str, Any]] = [{}, {"tag": "t"}, {"priority": 1}, {"correlation_id": "c", "method": "sendPhoto"}]
    ids, queries = _counted([Message(n + 1, {}, **every[n % 4]) for n in range(20_000)])
    assert len(queries) == 1
    assert ids == list(range(1, 20_001))


def test_no_statement_is_longer_than_what_is_held_at_once():
    ids, queries = _counted([Message(n + 1, {"text": "x" * 100_000}) for n in range(100)])
    assert ids == list(range(1, 101))
    assert [_rows(query) for query in queries] == [39, 39, 22]
    assert all(sum(map(len, query.parameters)) < 1.01 * MOST_CHARACTERS for query in queries)


def test_a_message_larger_than_that_goes_alone():
    ids, queries = _counted([Message(1, {}), Message(2, {"text": "x" * MOST_CHARACTERS}), Message(3, {})])
    assert ids == [1, 2, 3]
    assert [_rows(query) for query in queries] == [1, 1, 1]


def test_every_text_arrives_as_it_was(db):
    messages = [Message(1, {"text": text}, tag=text, correlation_id=text) for text in AWKWARD]
    with db.connect() as connection:
        ids = outbox.enqueue_many(connection, messages)
    stored = db.execute("SELECT id, payload ->> 'text', tag, correlation_id FROM outbox.message ORDER BY id")
    assert stored == [(message_id, text, text, text) for message_id, text in zip(ids, AWKWARD, strict=True)]


def test_a_column_that_only_others_set_takes_the_databases_default(db):
    first = db.execute("""INSERT INTO outbox.message (chat_id, payload) VALUES (7, '{}') RETURNING id""")[0][0]
    at = datetime(2030, 1, 1, tzinfo=UTC)
    given: dict[str, Any] = {
        "bot": "default",
        "method": "sendPhoto",
        "priority": 0,
        "next_attempt_at": at,
        "expires_at": at,
        "max_attempts": 3,
        "correlation_id": "c",
        "idempotency_key": "i",
        "collapse_key": "k",
        "on_uncertain": "hold",
        "tag": "t",
        "target_id": first,
    }
    with db.connect() as connection:
        ids = outbox.enqueue_many(connection, [Message(7, {}, **given), Message(7, {})])
    [one, other] = db.execute(
        f"SELECT {', '.join(given)}, next_attempt_at = created_at FROM outbox.message WHERE id = ANY (%s) ORDER BY id",
        [ids],
    )
    assert dict(zip(given, one, strict=False)) == given
    told = dict(zip([*given, "at once"], other, strict=True))
    assert len(told.pop("correlation_id")) == 36
    assert told.pop("at once") is True
    told.pop("next_attempt_at")
    assert told == dict.fromkeys(told) | {
        "bot": "default",
        "method": "sendMessage",
        "priority": 2,
        "on_uncertain": "retry",
    }


def test_the_defaults_that_a_statement_spells_are_the_tables(db):
    spelt = ", ".join(f"{name} {TYPES[name]} DEFAULT {default}" for name, default in DEFAULTS.items())
    defaults = (
        "SELECT a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a"
        "  JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)"
        " WHERE a.attrelid = %s::regclass AND a.attname = ANY (%s) ORDER BY 1"
    )
    db.execute(f"CREATE TABLE public.spelt ({spelt})")
    table = db.execute(defaults, ["outbox.message", list(TYPES)])
    assert db.execute(defaults, ["public.spelt", list(TYPES)]) == table
    assert [name for name, _ in table] == sorted(DEFAULTS)


def test_any_mix_of_messages_is_stored_as_one_by_one(db):
    chosen = random.Random(6)
    messages = [
        {"chat_id": chosen.randint(1, 5), "payload": {"n": n}}
        | {name: chosen.choice(AWKWARD) for name in ("tag", "correlation_id", "collapse_key") if chosen.random() < 0.4}
        | ({"priority": chosen.randint(0, 3)} if chosen.random() < 0.4 else {})
        | ({"idempotency_key": f"k{chosen.randint(0, 20)}"} if chosen.random() < 0.3 else {})
        for n in range(300)
    ]
    with db.connect(autocommit=False) as connection:
        together = outbox.enqueue_many(connection, messages)
        stored = connection.execute(_STORED).fetchall()
        keyed = {row["idempotency_key"] for row in messages if row.get("idempotency_key")}
        connection.rollback()
        for message in sorted(messages, key=lambda message: str(message["chat_id"])):
            outbox.enqueue(connection, message["chat_id"], message["payload"], **_columns(message))
        assert stored == connection.execute(_STORED).fetchall(), "seed 6"
    assert len(stored) == sum(message_id is not None for message_id in together)
    assert len([row for row in stored if row[4] is not None]) == len(keyed)


# A correlation id that was made up is told from one that was given by its length.
_STORED = (
    "SELECT payload, chat_id, tag, priority, idempotency_key, collapse_key,"
    " CASE WHEN length(correlation_id) < 36 THEN correlation_id END FROM outbox.message ORDER BY chat_id, id"
)


def _columns(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ("chat_id", "payload")}
