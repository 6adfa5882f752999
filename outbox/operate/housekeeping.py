"""Housekeeping: what must happen now and then, whoever does it; APScheduler says when, a lease row says who.

The lease lives in outbox.housekeeping and not in a session: a frozen holder loses it after 15 s, and a transaction
pooler cannot hand it to two.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError, describe

RENEW_S: Final = 5.0
LEASE_S: Final = 15.0  # as in sql/8_operate/keep_house.sql
HOLD_S: Final = LEASE_S - RENEW_S  # a duty starts only while the lease has this much left to run
PARTITIONS_S: Final = 3600.0
RETENTION_S: Final = 60.0  # a day that was in use is dropped a minute later
REPAIR_S: Final = 300.0
LONG_S: Final = 300.0  # with a large backlog they read for longer than a worker's calls may take
INDEX_S: Final = 3600.0  # of a day of 3 billion rows; a build that is cut off has to begin anew
MEASURE_S: Final = 15.0  # a count of what waits reads every row of it
SWEEP_FOR_S: Final = 4.0  # at a time: it takes one of the worker's two connections from its messages
BATCH_STEP_S: Final = 1.0  # between steps of batches of dead letters, while one runs

_FAILURES: Final = (DatabaseAwayError, AnswerLostError, psycopg.Error, OSError)


class Housekeeper:
    """Takes part in housekeeping from start() to stop(); runs duties only while it holds the lease."""

    def __init__(
        self,
        connections: Connections,
        holder: str,
        *,
        repair_every_s: float = REPAIR_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder` names this process in outbox.housekeeping; `connections` must be open while it runs."""
        self._connections = connections
        self._holder = holder
        self._repair_every_s = repair_every_s
        self._now = monotonic
        self._held_until_s = float("-inf")
        self._log = structlog.stdlib.get_logger("outbox").bind(housekeeper=holder)
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._at_once: list[Job] = []
        self._slow: set[str] = set()
        # A long duty keeps one of the worker's two connections, two would keep both.
        self._long = asyncio.Lock()
        self._sweeps = False
        self._runs_batches = False

    @property
    def holds(self) -> bool:
        """Whether a duty may start now."""
        return self._now() < self._held_until_s

    def start(self) -> None:
        """Begin; needs a running event loop."""
        soon = datetime.now(UTC) + timedelta(seconds=1)
        self._scheduler.add_job(self._renew, "interval", seconds=RENEW_S, next_run_time=soon)
        for duty, every_s, at_once in (
            (self._make_partitions, PARTITIONS_S, True),
            (self._drop_history, RETENTION_S, False),
            (self._index_history, RETENTION_S, False),
            (self._measure, MEASURE_S, True),
            (self._repair, self._repair_every_s, True),
            (self._count_astray, self._repair_every_s, True),
        ):
            job = self._scheduler.add_job(duty, "interval", seconds=every_s, jitter=int(every_s / 10))
            if at_once:
                self._at_once.append(job)
        self._scheduler.start()

    async def stop(self) -> None:
        """End, and let the next holder begin at once."""
        self._scheduler.shutdown(wait=False)
        if self.holds:
            self._held_until_s = float("-inf")
            await self._try("leave_house", self._connections.call, "SELECT outbox.leave_house(%s)", [self._holder])

    async def _renew(self) -> None:
        asked_s = self._now()
        held = self.holds
        # Both in one statement: an idle worker asks for little.
        query = "SELECT outbox.keep_house(%s), outbox.sweep_is_due(), outbox.batch_is_due()"
        answer = await self._try("keep_house", self._connections.call, query, [self._holder])
        if answer is None:
            return
        # Reckoned from before the question: the database's lease never ends before ours.
        self._held_until_s = asked_s + HOLD_S if answer[0][0] else float("-inf")
        if self.holds and not held:
            self._log.info("keeps house")
            # As jobs of their own: the lease must be renewed while they run.
            for duty in self._at_once:
                duty.modify(next_run_time=datetime.now(UTC))
        if self.holds and answer[0][1] and not self._sweeps:
            self._scheduler.add_job(self._sweep)
        if self.holds and answer[0][2] and not self._runs_batches:
            self._scheduler.add_job(self._run_batches)

    async def _make_partitions(self) -> None:
        await self._duty("make_partitions", self._call_and_note, "SELECT outbox.make_partitions()")

    async def _drop_history(self) -> None:
        await self._duty("drop_history", self._call_and_note, "SELECT outbox.drop_history()")

    async def _index_history(self) -> None:
        until_s = self._now() + SWEEP_FOR_S
        while await self._duty("index_history", self._build, "SELECT outbox.index_history()"):
            if self._now() >= until_s:
                break

    async def _measure(self) -> None:
        query = "SELECT outbox.measure_queue(), outbox.measure_broadcasts()"
        await self._duty("measure", self._call_long, query)

    async def _sweep(self) -> None:
        self._sweeps = True
        try:
            until_s = self._now() + SWEEP_FOR_S
            # What is left after that, or when the lease is gone, is the next turn's.
            while await self._duty("sweep", self._call_and_note, "SELECT outbox.sweep()"):
                if self._now() >= until_s:
                    break
        finally:
            self._sweeps = False

    async def _run_batches(self) -> None:
        self._runs_batches = True
        try:
            # None: the lease is gone, or the database; the next renewal that finds a batch goes on.
            while (left := await self._duty("batches", self._step_batches, "SELECT outbox.batch_is_due()")) is not None:
                if not left:
                    break
                await asyncio.sleep(BATCH_STEP_S)
        finally:
            self._runs_batches = False

    async def _step_batches(self, duty: str, query: str) -> Any:
        until_s = self._now() + SWEEP_FOR_S
        while await self._step_batch(duty) is not None:
            if self._now() >= until_s:
                break
        return (await self._connections.call(query))[0][0]

    async def _step_batch(self, duty: str) -> Any:
        # Before the call: after one that failed it may be another batch's turn.
        [(in_turn,)] = await self._connections.call("SELECT outbox.batch_in_turn()")
        try:
            return await self._call_and_note(duty, "SELECT outbox.run_batches()")
        except (AnswerLostError, psycopg.Error) as error:
            # Rolled back: else the same batch would come first again, and nobody would know why nothing goes on.
            if in_turn is not None:
                await self._note("outbox.note_batch_error(%s, %s)", [in_turn, describe(error)])
            raise

    async def _repair(self) -> None:
        repaired = await self._duty("repair", self._call_long, "SELECT outbox.repair()")
        if repaired:
            self._log.error("wakeups were missing and have been filed: this means a bug", wakeups_repaired=repaired)

    async def _count_astray(self) -> None:
        astray = await self._duty("count_astray", self._call_and_note, "SELECT outbox.count_astray()")
        if astray:
            self._log.error(
                "messages are in no state, or in two: this means a bug. SELECT * FROM outbox.find_astray()",
                messages_astray=astray,
            )

    async def _duty(self, name: str, call: Callable[[str, str], Awaitable[Any]], query: str) -> Any:
        if not self.holds:
            return None
        return await self._try(name, call, name, query, failed=lambda error: self._note_failure(name, error))

    async def _call_and_note(self, duty: str, query: str) -> Any:
        rows = await self._connections.call(f"{query}, outbox.note_duty(%s, NULL)", [duty])
        return rows[0][0]

    async def _call_long(self, duty: str, query: str) -> Any:
        # In one statement where it does without its own timeout, which takes four.
        if duty not in self._slow:
            try:
                return await self._call_and_note(duty, query)
            except (psycopg.errors.QueryCanceled, AnswerLostError):
                self._slow.add(duty)
        async with self._long:
            if not self.holds:
                return None
            rows = await self._connections.call_long(f"{query}, outbox.note_duty(%s, NULL)", [duty], within_s=LONG_S)
        return rows[0][0]

    async def _build(self, duty: str, query: str) -> Any:
        if duty not in self._slow:
            try:
                return await self._call_and_note(duty, query)
            except (psycopg.errors.QueryCanceled, AnswerLostError):
                self._slow.add(duty)
        if not self.holds:
            return None
        # On a connection of its own: for an hour neither messages nor other long duties can do without one of the two.
        async with await self._connections.connect_alone() as connection, connection.transaction():
            await connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(round(INDEX_S * 1000))])
            cursor = await connection.execute(f"{query}, outbox.note_duty(%s, NULL)".encode(), [duty])
            [(built, _)] = await cursor.fetchall()
        if not built:
            self._slow.discard(duty)
        return built

    async def _note_failure(self, duty: str, error: BaseException) -> None:
        if not isinstance(error, DatabaseAwayError):
            await self._note("outbox.note_duty(%s, %s)", [duty, describe(error)])

    async def _note(self, call: str, parameters: list[Any]) -> None:
        # If this fails too, the log has the first error.
        with contextlib.suppress(*_FAILURES):
            await self._connections.call(f"SELECT {call}", parameters)

    async def _try(
        self,
        name: str,
        call: Callable[..., Awaitable[Any]],
        *arguments: Any,
        failed: Callable[[BaseException], Awaitable[None]] | None = None,
    ) -> Any:
        try:
            return await call(*arguments)
        except _FAILURES as error:
            self._log.warning("housekeeping failed, and is tried again", duty=name, error=describe(error))
            if failed is not None:
                await failed(error)
            return None
