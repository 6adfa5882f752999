"""enqueue and enqueue_many on every kind of connection: in the caller's transaction, ids in the caller's order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row

import outbox
from outbox import Message, Priority
from tests.accept.connections import KINDS, Opened, done, opened


@pytest.fixture(params=KINDS)
async def transaction(db: Any, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    async with opened(request.param, db.url) as transaction:
        yield transaction


async def test_a_message_is_the_transactions_and_nobody_elses_before_the_commit(db, transaction):
    message_id = await done(outbox.enqueue(transaction.connection, 42, {"text": "hi"}))
    assert isinstance(message_id, int)
    assert db.execute("SELECT count(*) FROM outbox.message") == [(0,)]
    await transaction.rollback()
    assert db.execute("SELECT count(*) FROM outbox.message") == [(0,)]

    message_id = await done(outbox.enqueue(transaction.connection, 42, {"text": "hi"}))
    await transaction.commit()
    assert db.execute(
        "SELECT id, bot, chat_id, method, payload, priority, next_attempt_at = created_at, on_uncertain"
        "  FROM outbox.message"
    ) == [(message_id, "default", "42", "sendMessage", {"text": "hi"}, 2, True, "retry")]


async def test_every_column_arrives(db, transaction):
    payload = {"text": "%s :p0 ü 🎉 \\ ' \" \\u0000", "n": [1, 2.5, None, True]}
    at, until = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    first = await done(outbox.enqueue(transaction.connection, "@Name", {}))
    await done(
        outbox.enqueue(
            transaction.connection,
            "@Name",
            payload,
            bot="default",
            method="sendPhoto",
            priority=Priority.high,
            next_attempt_at=at,
            expires_at=until,
            max_attempts=3,
            correlation_id="c",
            idempotency_key="i",
            collapse_key="k",
            on_uncertain="hold",
            tag="t",
            target_id=first,
        )
    )
    await transaction.commit()
    assert db.execute(
        "SELECT chat_id, payload, bot, method, priority, next_attempt_at, expires_at, max_attempts, correlation_id,"
        " idempotency_key, collapse_key, on_uncertain, tag, target_id FROM outbox.message WHERE tag = 't'"
    ) == [
        ("@name", payload, "default", "sendPhoto", 1, at, until, 3, "c", "i", "k", "hold", "t", first),
    ]


async def test_a_used_key_is_none_and_the_transaction_goes_on(db, transaction):
    first = await done(outbox.enqueue(transaction.connection, 42, {}, idempotency_key="a"))
    assert await done(outbox.enqueue(transaction.connection, 42, {}, idempotency_key="a")) is None
    assert await done(outbox.enqueue(transaction.connection, 42, {}, idempotency_key="b")) > first
    await transaction.commit()
    assert db.execute("SELECT count(*) FROM outbox.message") == [(2,)]


async def test_five_thousand_messages_in_one_call(db, transaction):
    ids = await done(
        outbox.enqueue_many(transaction.connection, (Message(n % 700 + 1, {"text": str(n)}) for n in range(5000)))
    )
    await transaction.commit()
    assert ids == sorted(set(ids))
    stored = dict(db.execute("SELECT id, (payload ->> 'text')::int FROM outbox.message"))
    assert [stored[message_id] for message_id in ids] == list(range(5000))
    # One statement: one wakeup per chat.
    assert db.execute("SELECT count(*) FROM outbox.wakeup") == [(700,)]


async def test_ids_come_in_the_order_of_the_messages_whatever_was_repeated(db, transaction):
    await done(outbox.enqueue(transaction.connection, 5, {}, idempotency_key="k5"))
    await done(outbox.enqueue(transaction.connection, 3, {}, idempotency_key="k3", correlation_id="same"))
    messages = [
        Message(9, {"n": 0}, idempotency_key="k9"),
        Message(3, {"n": 1}, idempotency_key="k3", correlation_id="same"),
        Message(3, {"n": 2}, correlation_id="same"),
        Message(5, {"n": 3}, idempotency_key="k5"),
        Message(1, {"n": 4}),
        Message(3, {"n": 5}, idempotency_key="k3b", correlation_id="same", priority=Priority.low),
        Message(9, {"n": 6}, idempotency_key="k9"),
        {"chat_id": "@Name", "payload": {"n": 7}, "tag": "t"},
    ]
    ids = await done(outbox.enqueue_many(transaction.connection, messages))
    await transaction.commit()
    assert [place for place, message_id in enumerate(ids) if message_id is None] == [1, 3, 6]
    stored = dict(db.execute("SELECT id, (payload ->> 'n')::int FROM outbox.message WHERE payload <> '{}'"))
    assert [stored.get(message_id) for message_id in ids] == [0, None, 2, None, 4, 5, None, 7]
    assert db.execute(
        "SELECT chat_id, priority, tag FROM outbox.message WHERE payload ->> 'n' IN ('5', '7') ORDER BY 1"
    ) == [
        ("3", 3, None),
        ("@name", 2, "t"),
    ]


async def test_nothing_to_enqueue_is_nothing_done(transaction):
    assert await done(outbox.enqueue_many(transaction.connection, [])) == []


async def test_what_cannot_be_json_leaves_the_transaction_usable(db, transaction):
    await done(outbox.enqueue(transaction.connection, 1, {}))
    with pytest.raises(ValueError, match="payload cannot be JSON"):
        await done(outbox.enqueue(transaction.connection, 1, {"x": float("nan")}))
    await transaction.commit()
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]


async def test_the_databases_refusal_comes_through_with_its_hint(transaction):
    refusals = (psycopg.IntegrityError, sqlalchemy.exc.IntegrityError, asyncpg.IntegrityConstraintViolationError)
    with pytest.raises(refusals) as refusal:
        await done(outbox.enqueue(transaction.connection, 1, {"text": "s3cret"}, priority=9))
    # SQLAlchemy wraps the driver's error once, asyncpg's twice.
    error = getattr(refusal.value, "orig", refusal.value)
    if not isinstance(error, psycopg.Error):
        error = error.__cause__ or error
    hint = error.diag.message_hint if isinstance(error, psycopg.Error) else error.hint
    assert "Use 0 critical" in hint
    assert "s3cret" not in str(refusal.value)
    await transaction.rollback()


def test_within_a_chat_keyed_messages_keep_the_callers_order(db):
    """Keys sort by text: k10 before k9. The chat must not."""
    with db.connect(autocommit=False) as connection:
        ids = outbox.enqueue_many(
            connection, [Message(n % 3 + 1, {}, idempotency_key=f"k{n}") for n in reversed(range(30))]
        )
    for chat in range(3):
        own = ids[chat::3]
        assert own == sorted(own)


async def test_two_calls_with_the_same_keys_in_opposite_order_wait_and_do_not_deadlock(db, waits_for_a_lock):
    messages = [Message(n, {}, idempotency_key=f"k{n}") for n in range(1, 301)]
    first: Any = await psycopg.AsyncConnection.connect(db.url)
    second: Any = await psycopg.AsyncConnection.connect(db.url)
    async with first, second:
        ids = await outbox.enqueue_many(first, messages)
        waiting = asyncio.ensure_future(outbox.enqueue_many(second, reversed(messages)))
        async with asyncio.timeout(10):
            while not waits_for_a_lock(second.info.backend_pid):
                await asyncio.sleep(0.01)
        await first.rollback()
        assert None not in ids
        assert None not in await waiting
    async with asyncio.timeout(30):
        for _ in range(5):
            await asyncio.gather(
                *(
                    _enqueue_and_commit(db, order)
                    for order in (messages, messages[::-1], messages[150:] + messages[:150])
                )
            )
    assert db.execute("SELECT count(*) FROM outbox.message") == [(300,)]


async def _enqueue_and_commit(db: Any, messages: list[Message]) -> None:
    async with await db.connect_async(autocommit=False) as connection:
        await outbox.enqueue_many(connection, messages)


def test_the_callers_factories_and_autocommit_do_not_matter(db):
    with psycopg.connect(
        db.url,
        autocommit=True,
        row_factory=dict_row,
        cursor_factory=psycopg.RawCursor,  # type: ignore[arg-type]
    ) as connection:
        assert isinstance(outbox.enqueue(connection, 1, {}), int)
        connection.adapters.register_dumper(str, psycopg.types.string.StrDumper)
        assert isinstance(outbox.enqueue(connection, 1, {}, next_attempt_at=datetime.now(UTC)), int)
    assert db.execute("SELECT count(*) FROM outbox.message") == [(2,)]


def test_enqueue_sees_that_a_pipeline_is_the_callers(db):
    with db.connect(autocommit=False) as connection, connection.pipeline():
        assert isinstance(outbox.enqueue(connection, 1, {}), int)


def test_a_subclass_of_a_connection_is_one(db):
    class Mine(psycopg.Connection[Any]):
        pass

    with Mine.connect(db.url) as connection:
        assert isinstance(outbox.enqueue(connection, 1, {}), int)


def test_a_producer_may_enqueue_keyed_messages(db, login):
    ids = outbox.enqueue_many(login("outbox_producer"), [Message(1, {}, idempotency_key=k) for k in ("a", "b", "a")])
    assert [message_id is None for message_id in ids] == [False, False, True]
