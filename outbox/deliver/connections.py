"""The worker's way to PostgreSQL: two pooled connections for its calls, one of its own for listening."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg_pool import PoolTimeout

from outbox.database.connect import WorkerConnection, worker_conninfo, worker_pool
from outbox.redact import scrub

POOLED_CONNECTIONS: Final = 2
_OLDER_SCHEMA: Final = ("3F000", "42P01", "42883", "42703")  # no such schema, table, function, column
CALL_TIMEOUT_S: Final = 15.0  # above the statement_timeout of 10 s: the server's own word comes first


class DatabaseAwayError(Exception):
    """No connection to a primary could be had: the call changed nothing."""


class AnswerLostError(Exception):
    """The connection broke or the answer did not come in time: the call may have been committed."""


class Backoff:
    """Waits between tries, doubling with jitter."""

    def __init__(self, initial_s: float = 0.1, longest_s: float = 2.0) -> None:
        self._initial_s = initial_s
        self._longest_s = longest_s
        self._tries = 0

    def next_s(self) -> float:
        wait_s: float = min(self._longest_s, self._initial_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._tries = 0


class Connections:
    """Autocommit, no session state and no prepared statements, so that a transaction pooler may stand between."""

    def __init__(self, database_url: str, application_name: str) -> None:
        self._database_url = database_url
        self._application_name = application_name
        self._pool = worker_pool(database_url, POOLED_CONNECTIONS, application_name=application_name)

    async def open(self) -> None:
        """Start connecting; does not wait for the database."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close(timeout=1.0)

    def statistics(self) -> dict[str, int]:
        """What psycopg's pool counts: connections and who waits for one; times in milliseconds."""
        return self._pool.get_stats()

    async def call(
        self, query: str, parameters: Sequence[Any] = (), timeout_s: float = CALL_TIMEOUT_S
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows.

        Raises DatabaseAwayError, AnswerLostError, or psycopg.Error for what the server refused (and so rolled back).
        """
        try:
            connection = await self._pool.getconn()
        except (PoolTimeout, psycopg.Error, OSError) as error:
            raise DatabaseAwayError(f"no connection: {describe(error)}") from error
        statement = asyncio.ensure_future(_rows(connection, query, parameters))
        try:
            if not (await asyncio.wait([statement], timeout=timeout_s))[0]:
                raise AnswerLostError(f"no answer within {timeout_s:g} s")
            return statement.result()
        except psycopg.errors.ReadOnlySqlTransaction as error:
            # A demoted server may keep its sessions. The next connection goes to the primary, if the URL names both.
            await connection.close()
            raise DatabaseAwayError(f"not the primary: {describe(error)}") from error
        except (psycopg.Error, OSError) as error:
            if connection.closed or connection.broken:
                raise AnswerLostError(describe(error)) from error
            raise
        finally:
            if not statement.done():
                await _cut_off(connection, statement)
            await self._pool.putconn(connection)

    async def call_long(self, query: str, parameters: Sequence[Any] = (), *, within_s: float) -> list[tuple[Any, ...]]:
        """Like call(), for a statement that may take longer than a worker's own; it keeps one of the two meanwhile."""
        try:
            connection = await self._pool.getconn()
        except (PoolTimeout, psycopg.Error, OSError) as error:
            raise DatabaseAwayError(f"no connection: {describe(error)}") from error
        try:
            async with connection.transaction():
                await connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(round(within_s * 1000))]
                )
                cursor = await connection.execute(query, parameters)
                return await cursor.fetchall()
        finally:
            await self._pool.putconn(connection)

    async def connect_alone(self) -> WorkerConnection:
        """A connection outside the pool: for LISTEN, and for an index that takes long. Raises psycopg.Error."""
        return await WorkerConnection.connect(
            worker_conninfo(self._database_url),
            autocommit=True,
            prepare_threshold=None,
            application_name=self._application_name,
        )


async def _rows(connection: WorkerConnection, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, parameters)
    return await cursor.fetchall() if cursor.description else []


async def _cut_off(connection: WorkerConnection, statement: asyncio.Future[Any]) -> None:
    """End a statement that nobody waits for, and its connection.

    Cancelled, psycopg would ask the server first, and a server that hangs costs 10 s more. The descriptor stays open
    until psycopg let go of it: the event loop watches it.
    """
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(psycopg.Error, OSError):
        await statement
    await connection.close()


def describe(error: BaseException) -> str:
    """One line for a log: no password, no bot token, and the SQLSTATE when there is one."""
    # Of a server's error only the first line: its DETAIL may print a row, payload included.
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = scrub(" ".join((primary or str(error)).split())) or type(error).__name__
    state = getattr(error, "sqlstate", None)
    if state in _OLDER_SCHEMA:
        return f"{text} ({state}); the schema is older than this program: run outbox migrate"
    return f"{text} ({state})" if state else text
