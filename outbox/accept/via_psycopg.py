"""enqueue on a psycopg connection, sync and async, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Unpack, overload

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from outbox.accept.insert import Insertion, Rows, Statement, insertion
from outbox.accept.message import Columns, Message

Ids = list[int | None]
Messages = Iterable[Message | Mapping[str, Any]]


@overload
def enqueue(
    connection: Connection[Any], chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> int | None: ...
@overload
def enqueue(
    connection: AsyncConnection[Any], chat_id: int | str, payload: Mapping[str, Any], **columns: Unpack[Columns]
) -> Awaitable[int | None]: ...
def enqueue(
    connection: Connection[Any] | AsyncConnection[Any],
    chat_id: int | str,
    payload: Mapping[str, Any],
    **columns: Unpack[Columns],
) -> int | Awaitable[int | None] | None:
    """Insert one message; see outbox.enqueue."""
    messages = [Message(chat_id, payload, **columns)]
    if isinstance(connection, AsyncConnection):
        return _first(enqueue_many(connection, messages))
    return enqueue_many(connection, messages)[0]


@overload
def enqueue_many(connection: Connection[Any], messages: Messages) -> Ids: ...
@overload
def enqueue_many(connection: AsyncConnection[Any], messages: Messages) -> Awaitable[Ids]: ...
def enqueue_many(connection: Connection[Any] | AsyncConnection[Any], messages: Messages) -> Ids | Awaitable[Ids]:
    """Insert messages; see outbox.enqueue_many."""
    steps = insertion(messages)
    if isinstance(connection, AsyncConnection):
        return _run_async(connection, steps)
    return _run(connection, steps)


def _run(connection: Connection[Any], steps: Insertion) -> Ids:
    # Not connection.cursor(): its class and row factory are the caller's.
    with Cursor(connection, row_factory=tuple_row) as cursor:
        try:
            statement = next(steps)
            while True:
                rows = cursor.execute(*_rendered(statement), prepare=False).fetchall()
                statement = steps.send(rows)
        except StopIteration as end:
            return _ids(end)


async def _run_async(connection: AsyncConnection[Any], steps: Insertion) -> Ids:
    async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
        try:
            statement = next(steps)
            while True:
                await cursor.execute(*_rendered(statement), prepare=False)
                rows: Rows = await cursor.fetchall()
                statement = steps.send(rows)
        except StopIteration as end:
            return _ids(end)


async def _first(ids: Awaitable[Ids]) -> int | None:
    return (await ids)[0]


def _rendered(statement: Statement) -> tuple[bytes, list[str]]:
    text, parameters = statement.render(lambda _: "%s")
    return text.encode(), parameters


def _ids(end: StopIteration) -> Ids:
    ids: Ids = end.value
    return ids
