"""An application as mypy --strict sees it; test_typing.py has it checked, nobody runs it."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Literal, assert_type

import asyncpg
import psycopg
import sqlalchemy
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from outbox import Message, Priority, RefusedError, Status, cancel, check, enqueue, enqueue_many, send, status, wait


def sync(
    raw: psycopg.Connection[Any], core: sqlalchemy.Connection, orm: Session, scoped: scoped_session[Session]
) -> None:
    """Sync connections return values."""
    assert_type(enqueue(raw, 42, {"text": "hi"}), int | None)
    assert_type(enqueue(core, "@name", {}, priority=Priority.high, tag="t"), int | None)
    assert_type(enqueue(orm, 42, {}, on_uncertain="hold", target_id=17), int | None)
    assert_type(enqueue(scoped, 42, {}), int | None)
    assert_type(enqueue_many(raw, [Message(1, {}), {"chat_id": 2, "payload": {}}]), list[int | None])
    assert_type(enqueue_many(core, [Message(chat_id=1, payload={}, priority=2, target_id=17)]), list[int | None])
    assert_type(send(raw, 42, {}, idempotency_key="order-17"), int)
    assert_type(send(orm, 42, {}, method="sendPhoto", next_attempt_at=datetime.now()), int)
    assert_type(cancel(raw, 17), bool)
    assert_type(cancel(core, tag="news", bot="alerts"), bool)
    assert_type(cancel(scoped, correlation_id="c"), bool)
    assert_type(status(raw, 17), Status)
    assert_type(status(core, id=17), Status)
    assert_type(wait(raw, 17), Status)
    assert_type(wait(orm, 17, timeout_s=2.5), Status)
    assert_type(wait(core, 17, 5), Status)


async def asynchronous(
    raw: psycopg.AsyncConnection[Any],
    core: AsyncConnection,
    orm: AsyncSession,
    scoped: async_scoped_session[AsyncSession],
) -> None:
    """Async ones return something to await."""
    assert_type(enqueue(raw, 42, {}), Awaitable[int | None])
    assert_type(await enqueue(core, 42, {}), int | None)
    assert_type(await enqueue(scoped, 42, {}), int | None)
    assert_type(await enqueue_many(orm, [Message(1, {})]), list[int | None])
    assert_type(send(raw, 42, {}), Awaitable[int])
    assert_type(await send(core, 42, {}), int)
    assert_type(await cancel(orm, 17), bool)
    assert_type(await cancel(raw, tag="news"), bool)
    assert_type(await status(scoped, 17), Status)
    assert_type(wait(raw, 17), Awaitable[Status])
    assert_type(await wait(core, 17, timeout_s=2.5), Status)


async def on_asyncpg(raw: asyncpg.Connection[asyncpg.Record], lent: PoolConnectionProxy[asyncpg.Record]) -> None:
    """And so do asyncpg's, with the types of asyncpg-stubs."""
    assert_type(enqueue(raw, 42, {}), Awaitable[int | None])
    assert_type(await enqueue(lent, 42, {}, tag="t"), int | None)
    assert_type(await enqueue_many(raw, [Message(1, {})]), list[int | None])
    assert_type(await send(lent, 42, {}), int)
    assert_type(await cancel(raw, 17), bool)
    assert_type(await status(lent, 17), Status)
    assert_type(wait(raw, 17), Awaitable[Status])
    assert_type(await wait(lent, 17, timeout_s=2.5), Status)


def values(told: Status) -> None:
    """A status is typed to its last field."""
    states = Literal[
        "queued", "sending", "sent", "dead", "uncertain", "expired", "cancelled", "superseded", "discarded", "unknown"
    ]
    assert_type(told.status, states)
    assert_type(told.ended, bool)
    assert_type(told.attempts, int)
    assert_type(told.next_attempt_at, datetime | None)
    assert_type(told.finished_at, datetime | None)
    assert_type(told.telegram_message_id, int | None)
    assert_type(told.error_class, str | None)
    assert_type(told.error_text, str | None)
    assert_type(told.cancel_requested, bool)
    try:
        check(Message(42, {"text": "hi"}))
        check({"chat_id": 42, "payload": {}})
    except RefusedError as refusal:
        assert_type(refusal.hint, str)


def wrong(raw: psycopg.Connection[Any], told: Status) -> None:
    """Each line is an error that the checker has to see: an ignore that is not needed is one itself."""
    enqueue(raw, 42, {}, prioritty=1)  # type: ignore[call-overload]
    enqueue(raw, 42, {}, on_uncertain="maybe")  # type: ignore[call-overload]
    enqueue(raw, 4.2, {})  # type: ignore[call-overload]
    enqueue(None, 42, {})  # type: ignore[call-overload]
    enqueue("postgresql://localhost/db", 42, {})  # type: ignore[call-overload]
    Message(1, {}, tag=1)  # type: ignore[arg-type]
    Message(1, {}, target_id="17")  # type: ignore[arg-type]
    send(raw, 42, {}, target_id="17")  # type: ignore[call-overload]
    cancel(raw, "17")  # type: ignore[call-overload]
    cancel(raw, 17, "news")  # type: ignore[call-overload]
    status(raw, "17")  # type: ignore[call-overload]
    wait(raw, 17, timeout_s="soon")  # type: ignore[call-overload]
    check("hi")  # type: ignore[arg-type]
    told.status = "sent"  # type: ignore[misc]
    if told.status == "snet":  # type: ignore[comparison-overlap]
        pass
