"""Accept messages on whatever connection the caller has; only that driver's code is imported."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack, overload

from outbox.accept.message import Columns, Message

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    from sqlalchemy.ext import asyncio as sqlalchemy_async
    from sqlalchemy.orm import Session, scoped_session

    Sync = psycopg.Connection[Any] | sqlalchemy.Connection | Session | scoped_session[Any]
    Async = (
        psycopg.AsyncConnection[Any]
        | sqlalchemy_async.AsyncConnection
        | sqlalchemy_async.AsyncSession
        | sqlalchemy_async.async_scoped_session[Any]
    )

# By name, so that nothing is imported that the caller does not use.
DRIVERS = {
    ("psycopg", "Connection"): "outbox.accept.via_psycopg",
    ("psycopg", "AsyncConnection"): "outbox.accept.via_psycopg",
    ("sqlalchemy", "Connection"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "AsyncConnection"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "Session"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "AsyncSession"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "scoped_session"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "async_scoped_session"): "outbox.accept.via_sqlalchemy",
}


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
    """Insert one message in the transaction that `connection` is in; return its id, to be awaited if that is async.

    None: the idempotency key was used already, nothing was stored. `columns` are the fields of Message. Sent only
    after the caller commits. Raises TypeError for a connection of no known kind, TypeError or ValueError before the
    database is touched for what no database could store (NaN, a datetime without time zone), and the driver's own
    error, with what to change in its hint, for what the database refuses.
    """
    ids: int | Awaitable[int | None] | None = _driver(connection).enqueue(connection, chat_id, payload, **columns)
    return ids


@overload
def enqueue_many(connection: Sync, messages: Iterable[Message | Mapping[str, Any]]) -> list[int | None]: ...
@overload
def enqueue_many(connection: Async, messages: Iterable[Message | Mapping[str, Any]]) -> Awaitable[list[int | None]]: ...
def enqueue_many(
    connection: Sync | Async, messages: Iterable[Message | Mapping[str, Any]]
) -> list[int | None] | Awaitable[list[int | None]]:
    """Insert messages in as few statements as the driver can bind; return their ids in the order of `messages`.

    A message is a Message or a mapping of its fields. Within a chat they are sent in the order of `messages`. With
    idempotency keys the chats are inserted in their own order, so that two calls with the same keys wait for each
    other and do not deadlock; they still can if they order the same keys of one chat differently, or if one transaction
    makes several calls. Stores all that are not repeated or, raising what enqueue raises, nothing of the failed
    statement: roll back then, PostgreSQL has already ended the transaction.
    """
    ids: list[int | None] | Awaitable[list[int | None]] = _driver(connection).enqueue_many(connection, messages)
    return ids


def _driver(connection: object) -> Any:
    for base in type(connection).__mro__:
        module = DRIVERS.get((base.__module__.partition(".")[0], base.__name__))
        if module is not None:
            return import_module(module)
    kind = type(connection)
    raise TypeError(
        f"cannot insert through {kind.__module__}.{kind.__qualname__}. Give psycopg's Connection or AsyncConnection,"
        " or SQLAlchemy's Connection, Session, AsyncConnection or AsyncSession."
    )
