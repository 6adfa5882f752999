"""The page's way to the database: reads as a reader, acts in an operator's name, and never for long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from aiohttp import web
from psycopg import AsyncCursor
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolTimeout

from outbox.database.connect import WorkerConnection, worker_pool
from outbox.redact import scrub_nested

READ_WITHIN_S: Final = 3
ACT_WITHIN_S: Final = 10
CONNECTED_WITHIN_S: Final = 3.0  # who looks while the database is away wants to be told so
CONNECTIONS: Final = 4
RIGHTS_KEPT_S: Final = 60.0

Row = dict[str, Any]
Parameters = Sequence[Any] | Mapping[str, Any]
Query = tuple[str, Parameters]

_RIGHTS: Final = """
SELECT EXISTS (SELECT FROM pg_roles r
                WHERE r.rolname = 'outbox_reader' AND has_schema_privilege(r.oid, 'outbox', 'USAGE')
                  -- From 16 on a member may lack SET; before, every member may.
                  AND pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::int >= 160000
                                              THEN 'SET' ELSE 'MEMBER' END)) AS as_reader,
       has_function_privilege('outbox.pause(text)', 'EXECUTE') AS may_act, session_user::text AS login
"""


class BusyError(Exception):
    """All connections of the page were in use for too long: others' pages take their time."""


class Rights(NamedTuple):
    """What the login of OUTBOX_DATABASE_URL may do: read as outbox_reader, use the operator's verbs."""

    as_reader: bool
    may_act: bool
    login: str


class PageDatabase:
    """A few connections of the page's own: a slow page must not take a worker's."""

    def __init__(self, url: str) -> None:
        """`url` is libpq's. open() before use, close() after it."""
        self._pool = worker_pool(url, CONNECTIONS, application_name="outbox page")
        self._rights: Rights | None = None
        self._rights_until_s = float("-inf")
        self._in_use = 0

    async def open(self) -> None:
        """Begin to connect, without waiting for the database."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close(timeout=1)

    async def read(self, query: str, parameters: Parameters = ()) -> list[Row]:
        """Return the rows of one query; see read_all()."""
        return (await self.read_all((query, parameters)))[0]

    async def read_all(self, *queries: Query) -> list[list[Row]]:
        """Return the rows of each query, all of one snapshot, in one round trip, without bot tokens in any text.

        A read-only transaction as outbox_reader, where the login may become one. After 3 s, or when the caller is
        cancelled because its browser left, the query is cancelled too: QueryCanceled.
        """
        rights = await self.rights()
        settings: list[Query] = [
            (f"SET LOCAL statement_timeout = '{READ_WITHIN_S}s'", ()),  # should this process stall
            *([("SET LOCAL ROLE outbox_reader", ())] if rights.as_reader else []),
        ]
        async with self._connected() as connection:
            try:
                async with asyncio.timeout(READ_WITHIN_S):  # all together: statement_timeout is for each
                    return await _run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", settings, queries)
            except TimeoutError:
                raise psycopg.errors.QueryCanceled(f"cancelled after {READ_WITHIN_S} s") from None

    async def act(self, operator: str, query: str, parameters: Parameters = ()) -> list[Row]:
        """Run an operator's verb, all or nothing, with his name for the audit. Returns its rows."""
        async with self._connected() as connection:
            rows = await _run(
                connection,
                "BEGIN",
                [
                    (f"SET LOCAL statement_timeout = '{ACT_WITHIN_S}s'", ()),
                    ("SELECT set_config('outbox.operator', %s, true)", (operator,)),
                ],
                [(query, parameters)],
            )
            return rows[0]

    async def payload(self, operator: str, message_id: int) -> Any:
        """Return a message's payload, None where it was not kept. It goes on record who read it."""
        query = (
            "SELECT outbox.payload(%s) AS payload,"
            " outbox.note_action('payload', jsonb_build_object('id', %s::bigint), 1)"
        )
        return (await self.act(operator, query, (message_id, message_id)))[0]["payload"]

    async def rights(self) -> Rights:
        """Return what the login may do. Asked again each minute: a DBA may grant it meanwhile."""
        if self._rights is None or time.monotonic() >= self._rights_until_s:
            async with self._connected() as connection, connection.cursor(row_factory=dict_row) as cursor:
                row = await (await cursor.execute(_RIGHTS)).fetchone()
            assert row is not None
            self._rights = Rights(**row)
            self._rights_until_s = time.monotonic() + RIGHTS_KEPT_S
        return self._rights

    @property
    def known_rights(self) -> Rights:
        """Return the rights as last known, without asking; none while the database was never there."""
        return self._rights or Rights(as_reader=True, may_act=False, login="")

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[WorkerConnection]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._pool.connection(CONNECTED_WITHIN_S))
            except PoolTimeout:
                if self._in_use == CONNECTIONS:
                    raise BusyError from None
                raise
            self._in_use += 1
            try:
                yield connection
            finally:
                self._in_use -= 1


DATABASE: Final = web.AppKey("DATABASE", PageDatabase)


async def _run(
    connection: WorkerConnection, begin: str, settings: Sequence[Query], queries: Sequence[Query]
) -> list[list[Row]]:
    """Send everything at once. After an error nothing behind it runs, and the transaction is rolled back."""
    cursors: list[AsyncCursor[DictRow]] = []
    try:
        async with connection.pipeline():
            await connection.execute(begin)
            for query, parameters in settings:
                await connection.execute(query, parameters)
            for query, parameters in queries:
                cursor = connection.cursor(row_factory=dict_row)
                await cursor.execute(query, parameters or None)
                cursors.append(cursor)
            await connection.execute("COMMIT")
    except BaseException:
        # A browser that left cancels us: the answer of its query must not be the next one's.
        if not connection.closed:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await connection.rollback()
        raise
    return [scrub_nested(await cursor.fetchall()) for cursor in cursors]
