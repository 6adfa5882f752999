"""Steps on a psycopg connection, sync and async."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import aclosing, closing
from functools import partial
from typing import Any, Final

from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from outbox.accept.steps import (
    IN_A_TRANSACTION,
    IdleStep,
    IdleSteps,
    Listen,
    Pause,
    Query,
    Rows,
    Steps,
    StopListening,
    T,
    drive,
    drive_async,
)

LISTENS: Final = Query("SELECT 1 FROM pg_listening_channels() LIMIT 1")
BUSY: Final = {TransactionStatus.ACTIVE, TransactionStatus.INTRANS, TransactionStatus.INERROR}


def run(connection: Connection[Any] | AsyncConnection[Any], steps: Steps[T]) -> T | Awaitable[T]:
    """Do the steps in the caller's transaction; see outbox.accept.door.run."""
    if isinstance(connection, AsyncConnection):
        return drive_async(steps, partial(_rows_async, connection))
    return drive(steps, partial(_rows, connection))


def run_idle(connection: Connection[Any] | AsyncConnection[Any], steps: IdleSteps[T]) -> T | Awaitable[T]:
    """Do the steps in transactions of their own; see outbox.accept.door.run_idle."""
    if isinstance(connection, AsyncConnection):
        return _run_idle_async(connection, steps)
    _refuse_the_busy(connection)
    return drive(steps, _Idle(connection))


async def _run_idle_async(connection: AsyncConnection[Any], steps: IdleSteps[T]) -> T:
    _refuse_the_busy(connection)
    return await drive_async(steps, _AsyncIdle(connection))


def _rows(connection: Connection[Any], query: Query) -> Rows:
    # Not connection.cursor(): its class and row factory are the caller's.
    with RawCursor(connection, row_factory=tuple_row) as cursor:
        return cursor.execute(query.text.encode(), query.parameters, prepare=False).fetchall()


async def _rows_async(connection: AsyncConnection[Any], query: Query) -> Rows:
    async with AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(query.text.encode(), query.parameters, prepare=False)
        return await cursor.fetchall()


def _refuse_the_busy(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    if connection.info.pipeline_status != PipelineStatus.OFF:
        raise RuntimeError(
            "this connection is in pipeline mode, which notifications do not come through. Leave it first."
        )
    if connection.info.transaction_status in BUSY:
        raise RuntimeError(IN_A_TRANSACTION)


class _Idle:
    """Does steps. psycopg gives a notification to one reader only: who listens already keeps them, and we just look."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._heard: Listen | None = None

    def __call__(self, step: IdleStep) -> Rows:
        match step:
            case Query():
                rows = _rows(self._connection, step)
                self._connection.commit()
                return rows
            case Listen():
                if not self(LISTENS):
                    self._heard = step
                    self._command(f"LISTEN {step.channel}")
            case Pause():
                self._pause(step.seconds)
            case StopListening():
                self._stop()
        return ()

    def _command(self, text: str) -> None:
        with RawCursor(self._connection) as cursor:
            cursor.execute(text.encode(), prepare=False)
        self._connection.commit()

    def _pause(self, seconds: float) -> None:
        if self._heard is None:
            time.sleep(seconds)
            return
        with closing(self._connection.notifies(timeout=seconds)) as notifies:
            for notify in notifies:
                if notify.payload == self._heard.payload:
                    return

    def _stop(self) -> None:
        if self._connection.closed:
            return
        if self._connection.info.transaction_status in BUSY:  # a step was interrupted or failed
            self._connection.rollback()
        if self._heard is None:
            return
        self._command(f"UNLISTEN {self._heard.channel}")
        for _ in self._connection.notifies(timeout=0):
            pass


class _AsyncIdle:
    """The same, awaited."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._heard: Listen | None = None

    async def __call__(self, step: IdleStep) -> Rows:
        match step:
            case Query():
                rows = await _rows_async(self._connection, step)
                await self._connection.commit()
                return rows
            case Listen():
                if not await self(LISTENS):
                    self._heard = step
                    await self._command(f"LISTEN {step.channel}")
            case Pause():
                await self._pause(step.seconds)
            case StopListening():
                await self._stop()
        return ()

    async def _command(self, text: str) -> None:
        async with AsyncRawCursor(self._connection) as cursor:
            await cursor.execute(text.encode(), prepare=False)
        await self._connection.commit()

    async def _pause(self, seconds: float) -> None:
        if self._heard is None:
            await asyncio.sleep(seconds)
            return
        async with aclosing(self._connection.notifies(timeout=seconds)) as notifies:
            async for notify in notifies:
                if notify.payload == self._heard.payload:
                    return

    async def _stop(self) -> None:
        if self._connection.closed:
            return
        if self._connection.info.transaction_status in BUSY:
            await self._connection.rollback()
        if self._heard is None:
            return
        await self._command(f"UNLISTEN {self._heard.channel}")
        async for _ in self._connection.notifies(timeout=0):
            pass
