"""An application as mypy --strict sees it; test_typing.py has it checked, nobody runs it."""

from collections.abc import Awaitable
from typing import Any, assert_type

import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from outbox import Message, Priority, enqueue, enqueue_many


def sync(raw: psycopg.Connection[Any], core: sqlalchemy.Connection, orm: Session) -> None:
    """Sync connections return ids."""
    assert_type(enqueue(raw, 42, {"text": "hi"}), int | None)
    assert_type(enqueue(core, "@name", {}, priority=Priority.high, tag="t"), int | None)
    assert_type(enqueue(orm, 42, {}, on_uncertain="hold"), int | None)
    assert_type(enqueue_many(raw, [Message(1, {}), {"chat_id": 2, "payload": {}}]), list[int | None])
    assert_type(enqueue_many(core, [Message(chat_id=1, payload={}, priority=2)]), list[int | None])


async def asynchronous(raw: psycopg.AsyncConnection[Any], core: AsyncConnection, orm: AsyncSession) -> None:
    """Async ones return something to await."""
    assert_type(enqueue(raw, 42, {}), Awaitable[int | None])
    assert_type(await enqueue(core, 42, {}), int | None)
    assert_type(await enqueue_many(orm, [Message(1, {})]), list[int | None])


def wrong(raw: psycopg.Connection[Any]) -> None:
    """Each line is an error that the checker has to see: an ignore that is not needed is one itself."""
    enqueue(raw, 42, {}, prioritty=1)  # type: ignore[call-overload]
    enqueue(raw, 42, {}, on_uncertain="maybe")  # type: ignore[call-overload]
    enqueue(raw, 4.2, {})  # type: ignore[call-overload]
    enqueue(None, 42, {})  # type: ignore[call-overload]
    Message(1, {}, tag=1)  # type: ignore[arg-type]
