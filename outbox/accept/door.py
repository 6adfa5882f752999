"""Which driver a connection belongs to; only that driver's code is imported."""

from __future__ import annotations

from collections.abc import Awaitable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from outbox.accept.steps import IdleSteps, Steps, T

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy
    from sqlalchemy.ext import asyncio as sqlalchemy_async
    from sqlalchemy.orm import Session, scoped_session

    class AsyncpgConnection(Protocol):
        """asyncpg's Connection, or what its pool lends: told by its shape, since asyncpg ships no types."""

        async def fetch(self, query: str, *args: Any) -> Any: ...
        async def add_listener(self, channel: str, callback: Any) -> None: ...
        async def remove_listener(self, channel: str, callback: Any) -> None: ...
        def is_in_transaction(self) -> bool: ...
        def is_closed(self) -> bool: ...

    Sync: TypeAlias = psycopg.Connection[Any] | sqlalchemy.Connection | Session | scoped_session[Any]
    Async: TypeAlias = (
        psycopg.AsyncConnection[Any]
        | sqlalchemy_async.AsyncConnection
        | sqlalchemy_async.AsyncSession
        | sqlalchemy_async.async_scoped_session[Any]
        | AsyncpgConnection
    )

# By name, so that nothing is imported that the caller does not use.
DRIVERS: Final = {
    ("psycopg", "Connection"): "outbox.accept.via_psycopg",
    ("psycopg", "AsyncConnection"): "outbox.accept.via_psycopg",
    ("sqlalchemy", "Connection"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "AsyncConnection"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "Session"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "AsyncSession"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "scoped_session"): "outbox.accept.via_sqlalchemy",
    ("sqlalchemy", "async_scoped_session"): "outbox.accept.via_sqlalchemy",
    ("asyncpg", "Connection"): "outbox.accept.via_asyncpg",
    ("asyncpg", "PoolConnectionProxy"): "outbox.accept.via_asyncpg",
}


def run(connection: Sync | Async, steps: Steps[T]) -> T | Awaitable[T]:
    """Do the steps in the transaction that `connection` is in; their result is to be awaited if that is async.

    Raises TypeError for a connection of no known kind.
    """
    result: T | Awaitable[T] = _known(connection).run(connection, steps)
    return result


def run_idle(connection: Sync | Async, steps: IdleSteps[T]) -> T | Awaitable[T]:
    """Do the steps, each query in a transaction of its own; `connection` stays in none between them and after.

    Raises RuntimeError if it is in one already, TypeError for a connection of no known kind.
    """
    result: T | Awaitable[T] = _known(connection).run_idle(connection, steps)
    return result


def driver_of(connection: object) -> Any:
    """Return the module that runs steps on such a connection; None: no known kind."""
    for base in type(connection).__mro__:
        module = DRIVERS.get((base.__module__.partition(".")[0], base.__name__))
        if module is not None:
            return import_module(module)
    return None


def _known(connection: object) -> Any:
    driver = driver_of(connection)
    if driver is None:
        kind = type(connection)
        raise TypeError(
            f"cannot work through {kind.__module__}.{kind.__qualname__}. Give a connection: psycopg's Connection or"
            " AsyncConnection, asyncpg's Connection, SQLAlchemy's Connection, Session, AsyncConnection or AsyncSession."
        )
    return driver
