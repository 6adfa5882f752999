"""Every kind of connection that `outbox` takes, opened in the same way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

SYNC_KINDS = ["psycopg", "connection", "session", "scoped session"]
ASYNC_KINDS = [
    "psycopg async",
    "asyncpg",
    "asyncpg pool",
    "async connection",
    "async session",
    "async scoped session",
    "async connection asyncpg",
    "async session asyncpg",
]
KINDS = SYNC_KINDS + ASYNC_KINDS


async def done(value: Any) -> Any:
    """Await what an async connection returns; what a sync one returns is a value already."""
    return await value if inspect.isawaitable(value) else value


@dataclass(frozen=True)
class Opened:
    """A connection in a transaction, and how that ends; the next one has begun then."""

    connection: Any
    commit: Callable[[], Awaitable[None]]
    rollback: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def opened(kind: str, url: str) -> AsyncIterator[Opened]:
    """Yield a connection of that kind in a transaction."""
    async with connected(kind, url) as connection:
        end = _by_hand(connection) if kind in ("asyncpg", "asyncpg pool") else _by_itself(connection)
        await anext(end)
        yield Opened(connection, lambda: end.asend("commit"), lambda: end.asend("rollback"))
        await end.aclose()


async def _by_hand(connection: Any) -> AsyncGenerator[None, str]:
    while True:
        transaction = connection.transaction()
        await transaction.start()
        await getattr(transaction, (yield))()


async def _by_itself(connection: Any) -> AsyncGenerator[None, str]:
    while True:
        await done(getattr(connection, (yield))())


@contextlib.asynccontextmanager
async def connected(kind: str, url: str) -> AsyncIterator[Any]:
    """Yield a connection of that kind on which nothing was begun."""
    alchemy = url.replace("postgresql:", "postgresql+asyncpg:" if kind.endswith("asyncpg") else "postgresql+psycopg:")
    async with contextlib.AsyncExitStack() as stack:
        if kind == "psycopg":
            yield stack.enter_context(psycopg.connect(url))
        elif kind == "psycopg async":
            yield await stack.enter_async_context(await psycopg.AsyncConnection.connect(url))
        elif kind == "asyncpg":
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            yield connection
        elif kind == "asyncpg pool":
            pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=1, max_size=1))
            yield await stack.enter_async_context(pool.acquire())
        elif kind in SYNC_KINDS:
            engine = sqlalchemy.create_engine(alchemy)
            stack.callback(engine.dispose)
            makers: dict[str, Callable[[], Any]] = {
                "connection": engine.connect,
                "session": lambda: Session(engine),
                "scoped session": lambda: contextlib.closing(scoped_session(sessionmaker(engine))),
            }
            yield stack.enter_context(makers[kind]())
        else:
            async_engine = create_async_engine(alchemy)
            stack.push_async_callback(async_engine.dispose)
            if kind == "async scoped session":
                session = async_scoped_session(async_sessionmaker(async_engine), asyncio.current_task)
                stack.push_async_callback(session.remove)
                yield session
            else:
                opening = async_engine.connect() if "connection" in kind else AsyncSession(async_engine)
                yield await stack.enter_async_context(opening)
