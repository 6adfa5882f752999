"""The one process that shows the numbers of the whole database: it is scraped, holds a lease, reads them every 15 s."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg
import structlog

from outbox.database.connect import WorkerConnection
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError, describe
from outbox.observe.gauges import DatabaseGauges

READ_EVERY_S: Final = 15.0  # as housekeeping counts
READ_WITHIN_S: Final = 5.0  # each part; what takes longer is left out this time
ANSWER_WITHIN_S: Final = READ_WITHIN_S + 2.0  # the server's own word comes first
SCRAPED_WITHIN_S: Final = 150.0  # whom nobody asks shows nothing: two scrapes of a slow monitor
PARTS: Final = ("queue", "bots", "dead_letters", "chats", "workers", "server")
_GAUGES: Final = """
SELECT p.part, g.name, g.labels, g.value
  FROM unnest(%s::text[]) WITH ORDINALITY p (part, place) CROSS JOIN LATERAL outbox.gauges(p.part) g
 ORDER BY p.place"""


class Exporter:
    """Reads them while it holds the exporter's lease, over a connection of its own meanwhile.

    Only a process that is scraped takes part: the numbers would be nobody's where /metrics cannot be reached.
    """

    def __init__(
        self,
        gauges: DatabaseGauges,
        connections: Connections,
        holder: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder` names this process in outbox.housekeeping."""
        self._now = now
        self._scraped_s = float("-inf")
        self._scraped = asyncio.Event()
        self._holds = False
        self._gauges = gauges
        self._connections = connections
        self._holder = holder
        self._connection: WorkerConnection | None = None
        self._failing = False
        self._slow: set[str] = set()
        self._missing: set[str] = set()
        self._log: Any = structlog.stdlib.get_logger("outbox")

    async def read_for_ever(self) -> None:
        """Runs until cancelled; leave() after that."""
        while True:
            if self._now() - self._scraped_s > SCRAPED_WITHIN_S:
                await self.leave()
                self._scraped.clear()
                await self._scraped.wait()
            try:
                await self.read()
                self._failing = False
            except Exception as error:  # whatever it is: the next read is another one
                await self._lose(error)
            await asyncio.sleep(READ_EVERY_S)

    def note_scrape(self) -> None:
        """Somebody reads /metrics of this process."""
        self._scraped_s = self._now()
        self._scraped.set()

    async def leave(self) -> None:
        """Show nothing more, and let the next process begin at once."""
        self._gauges.drop()
        await self._close()
        if self._holds:
            self._holds = False
            with contextlib.suppress(DatabaseAwayError, AnswerLostError, psycopg.Error, OSError):
                await self._connections.call("SELECT outbox.end_export(%s)", [self._holder], timeout_s=READ_WITHIN_S)

    async def read(self) -> None:
        """Read them once, if it is this process's turn."""
        [(is_ours,)] = await self._connections.call(
            "SELECT outbox.may_export(%s)", [self._holder], timeout_s=READ_WITHIN_S
        )
        self._holds = is_ours
        if not is_ours:
            self._gauges.drop()
            await self._close()
            return
        if self._connection is None:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self._connection = await self._connections.connect_alone()
        # All at once where none was slow lately: each question is four round trips.
        for parts in (PARTS,) if not self._slow else [(part,) for part in PARTS]:
            try:
                rows = await self._ask(self._connection, _GAUGES, [list(parts)])
            except psycopg.errors.QueryCanceled:
                self._note_slow(parts)
                continue
            await self._take_apart(rows)
            self._slow -= set(parts)
            self._missing -= set(parts)

    async def _take_apart(self, rows: list[Any]) -> None:
        """In a thread: a thousand bots have 40,000 of them, and more of those that use several methods."""
        taking = asyncio.ensure_future(asyncio.to_thread(self._take, rows))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The thread goes on, and must not show what leave() drops.
            await asyncio.wait([taking])
            raise

    def _take(self, rows: list[Any]) -> None:
        for part, of_part in itertools.groupby(rows, key=operator.itemgetter(0)):
            self._gauges.take(part, [row[1:] for row in of_part])

    def _note_slow(self, parts: tuple[str, ...]) -> None:
        # Of all together nobody knows which: the next time each is asked for by itself.
        if len(parts) == 1 and self._missing.isdisjoint(parts):
            self._missing |= set(parts)
            self._log.warning("a part of the numbers of /metrics took too long, and is missing", part=parts[0])
        self._slow |= set(parts)

    async def _ask(self, connection: WorkerConnection, query: str, parameters: list[Any]) -> list[Any]:
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
