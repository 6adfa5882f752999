"""What a limiter calls in the database, for one bot; no call is waited for longer than a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from outbox.limit.clock import now_s
from outbox.limit.local_limits import Limits
from outbox.limit.slots import Result

Params = tuple[Any, ...]

CONNECTIONS: Final = 4  # two who ask and two who settle

# The database cannot be had; what it says about the call itself goes to the caller. A demoted primary is no database.
AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    OSError,
    TimeoutError,
)


class Procedures:
    """outbox.acquire, outbox.settle and outbox.reply_limits. Each raises one of AWAY, or what the database refuses."""

    def __init__(self, database: str | AsyncConnectionPool[Any], bot: str, timeout_s: float) -> None:
        """Raises ValueError for a conninfo that cannot be read; nothing is connected before open()."""
        if isinstance(database, str):
            try:
                conninfo_to_dict(database)
            except psycopg.ProgrammingError:  # its text quotes the conninfo, password included
                raise ValueError("the conninfo cannot be read. Use postgresql://USER:PASSWORD@HOST/NAME") from None
        self._database = database
        self._bot = bot
        self._timeout_s = timeout_s
        self._pool: AsyncConnectionPool[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.contact_s = now_s()
        """When it answered last."""

    async def open(self) -> None:
        """Start connecting, and do not wait for it. A pool is made anew each time: a closed one cannot be opened."""
        if not isinstance(self._database, str):
            self._pool = self._database
            return
        self._pool = AsyncConnectionPool(
            self._database,
            kwargs={"autocommit": True, "prepare_threshold": None, "application_name": "outbox limiter"},
            min_size=1,
            max_size=CONNECTIONS,
            open=False,
            reconnect_timeout=4.0,
            name="outbox limiter",
        )
        await self._pool.open(wait=False)

    async def finish(self) -> None:
        """Wait for what has begun."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Drop what has begun, and disconnect what open() connected."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        pool, self._pool = self._pool, None
        if pool is not None and pool is not self._database:
            await pool.close(timeout=1.0)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let it run until it ends or close() drops it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    async def limits(self) -> Limits | None:
        """Return what the bot may send; None: there is no such bot."""
        row = await self._call("SELECT * FROM outbox.reply_limits(%s)", lambda: (self._bot,))
        return None if row is None else Limits(*row)

    async def acquire(self, chat_id: str, cost: int) -> tuple[int | None, float]:
        """Return a ticket and when to send; or None and when to ask again. A ticket nobody waits for goes back."""
        row = await self._call(
            "CALL outbox.acquire(%s, %s, %s)", lambda: (self._bot, chat_id, cost), self._give_orphan_back
        )
        assert row is not None
        ticket, _, delay_s = row
        # From the moment the answer came: no slot is early, whatever the way to the database takes.
        return ticket, now_s() + delay_s

    async def settle(self, ticket: int, answered_s: float, result: Result, retry_after_s: float | None) -> None:
        """Say how it went, and when."""
        await self._call(
            "CALL outbox.settle(%s, %s, %s, %s)",
            lambda: (ticket, min(max(now_s() - answered_s, 0.0), 86400.0), result, retry_after_s),
        )

    async def _call(
        self,
        query: str,
        params: Callable[[], Params],
        orphaned: Callable[[asyncio.Task[Params | None]], None] | None = None,
    ) -> Params | None:
        """`orphaned` is told the call's end if the caller was cancelled meanwhile."""
        pool = self._pool
        if pool is None:
            raise ConnectionError("the limiter is closed")

        async def run() -> Params | None:
            async with pool.connection(self._timeout_s) as connection:
                cursor = await connection.execute(query, params(), prepare=False)
                row: Params | None = await cursor.fetchone() if cursor.description else None
                return row

        task: asyncio.Task[Params | None] = self.start(run())
        try:
            # Not wait_for: it would wait until the cancelled call has ended, and a server that is gone says nothing.
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            if orphaned is not None:
                task.add_done_callback(orphaned)
            raise
        if not done:
            task.cancel()
            raise TimeoutError(f"the database did not answer within {self._timeout_s:g} s")
        if task.cancelled():
            raise ConnectionError("the limiter was closed")
        row = task.result()
        self.contact_s = now_s()
        return row

    def _give_orphan_back(self, task: asyncio.Task[Params | None]) -> None:
        if (
            not task.cancelled()
            and task.exception() is None
            and (row := task.result()) is not None
            and row[0] is not None
        ):
            self.start(self.settle(row[0], now_s(), "unsent", None))

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: a call that nobody waits for any more may fail
