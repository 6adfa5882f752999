"""The one process that shows the numbers of the whole database: it holds a lease, and reads them every 15 s."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import psycopg
import structlog

from outbox.database.connect import WorkerConnection
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError, describe
from outbox.observe.gauges import DatabaseGauges

READ_EVERY_S: Final = 15.0  # as housekeeping counts
READ_WITHIN_S: Final = 5.0  # each part; what takes longer is left out this time
ANSWER_WITHIN_S: Final = READ_WITHIN_S + 2.0  # the server's own word comes first
PARTS: Final = ("queue", "bots", "dead_letters", "workers", "server")


class Exporter:
    """Reads them every 15 s while it holds the exporter's lease, over a connection of its own meanwhile."""

    def __init__(self, gauges: DatabaseGauges, connections: Connections, holder: str) -> None:
        """`holder` names this process in outbox.housekeeping."""
        self._gauges = gauges
        self._connections = connections
        self._holder = holder
        self._connection: WorkerConnection | None = None
        self._failing = False
        self._log: Any = structlog.stdlib.get_logger("outbox")

    async def read_for_ever(self) -> None:
        """Runs until cancelled; the connection is closed then."""
        try:
            while True:
                try:
                    await self._read()
                    self._failing = False
                except (DatabaseAwayError, AnswerLostError, psycopg.Error, OSError) as error:
                    await self._lose(error)
                await asyncio.sleep(READ_EVERY_S)
        finally:
            await self._close()

    async def _read(self) -> None:
        [(is_ours,)] = await self._connections.call(
            "SELECT outbox.may_export(%s)", [self._holder], timeout_s=READ_WITHIN_S
        )
        if not is_ours:
            self._gauges.drop()
            await self._close()
            return
        if self._connection is None:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self._connection = await self._connections.connect_alone()
        for part in PARTS:
            query = "SELECT name, labels, value FROM outbox.gauges(%s)"
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                self._gauges.take(part, await self._ask(self._connection, query, [part]))

    async def _ask(self, connection: WorkerConnection, query: str, parameters: list[str]) -> list[Any]:
        async with asyncio.timeout(ANSWER_WITHIN_S), connection.transaction():
            # Of the transaction: a pooler may stand between.
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, true)", [str(round(READ_WITHIN_S * 1000))]
            )
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchall()

    async def _lose(self, error: BaseException) -> None:
        await self._close()
        if not self._failing:
            self._log.warning("the numbers of /metrics could not be read, and are tried again", error=describe(error))
        self._failing = True

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()
