"""enqueue on SQLAlchemy's Connection, Session and their async kin, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack, overload

import sqlalchemy

from outbox.accept.insert import Insertion, Statement, insertion
from outbox.accept.message import Columns, Message

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session
    from typing_extensions import TypeIs

    Sync = Connection | Session | scoped_session[Any]
    Async = AsyncConnection | AsyncSession | async_scoped_session[Any]

Ids = list[int | None]
Messages = Iterable[Message | Mapping[str, Any]]


@overload
def enqueue(
    connection: Sync, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | None: ...
@overload
def enqueue(
    connection: Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> Awaitable[int | None]: ...
def enqueue(
    connection: Sync | Async, chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | Awaitable[int | None] | None:
    """Insert one message; see outbox.enqueue."""
    messages = [Message(chat_id, payload, **columns)]
    if _is_async(connection):
        return _first(enqueue_many(connection, messages))
    return enqueue_many(connection, messages)[0]


@overload
def enqueue_many(connection: Sync, messages: Messages) -> Ids: ...
@overload
def enqueue_many(connection: Async, messages: Messages) -> Awaitable[Ids]: ...
def enqueue_many(connection: Sync | Async, messages: Messages) -> Ids | Awaitable[Ids]:
    """Insert messages; see outbox.enqueue_many."""
    steps = insertion(messages)
    if _is_async(connection):
        return _run_async(connection, steps)
    return _run(connection, steps)


def _is_async(connection: Sync | Async) -> TypeIs[Async]:
    # By name: sqlalchemy.ext.asyncio cannot be imported everywhere, it needs greenlet.
    return any(base.__module__.startswith("sqlalchemy.ext.asyncio") for base in type(connection).__mro__)


def _is_session(connection: Async) -> TypeIs[AsyncSession | async_scoped_session[Any]]:
    return not hasattr(connection, "exec_driver_sql")


def _run(connection: Sync, steps: Insertion) -> Ids:
    own = connection if isinstance(connection, sqlalchemy.Connection) else connection.connection()
    try:
        statement = next(steps)
        while True:
            result = own.exec_driver_sql(*_rendered(statement, own.dialect.paramstyle))
            statement = steps.send(result.fetchall())
    except StopIteration as end:
        return _ids(end)


async def _run_async(connection: Async, steps: Insertion) -> Ids:
    own = await connection.connection() if _is_session(connection) else connection
    try:
        statement = next(steps)
        while True:
            result = await own.exec_driver_sql(*_rendered(statement, own.dialect.paramstyle))
            statement = steps.send(result.fetchall())
    except StopIteration as end:
        return _ids(end)


async def _first(ids: Awaitable[Ids]) -> int | None:
    return (await ids)[0]


def _rendered(statement: Statement, paramstyle: str) -> tuple[str, tuple[str, ...]]:
    # The driver's own text: compiling thousands of bound parameters took longer than inserting them.
    numbered = paramstyle == "numeric_dollar"
    text, parameters = statement.render(lambda place: f"${place + 1}" if numbered else "%s")
    return text, tuple(parameters)


def _ids(end: StopIteration) -> Ids:
    ids: Ids = end.value
    return ids
