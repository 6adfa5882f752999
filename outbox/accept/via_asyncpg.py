"""Steps on an asyncpg connection, its own or one that a pool lends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

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
    drive_async,
)

if TYPE_CHECKING:
    from outbox.accept.door import AsyncpgConnection


def run(connection: AsyncpgConnection, steps: Steps[T]) -> Awaitable[T]:
    """Do the steps in the caller's transaction; see outbox.accept.door.run."""
    return drive_async(steps, lambda query: _rows(connection, query))


async def run_idle(connection: AsyncpgConnection, steps: IdleSteps[T]) -> T:
    """Do the steps in transactions of their own; see outbox.accept.door.run_idle."""
    if connection.is_in_transaction():
        raise RuntimeError(IN_A_TRANSACTION)
    return await drive_async(steps, _Idle(connection))


async def _rows(connection: AsyncpgConnection, query: Query) -> Rows:
    rows: Rows = await connection.fetch(query.text, *query.parameters)
    return rows


class _Idle:
    """Does steps. asyncpg hands a notification to every listener of its channel: nobody else's are touched."""

    def __init__(self, connection: AsyncpgConnection) -> None:
        self._connection = connection
        self._heard: Listen | None = None
        self._listens = False
        self._bell = asyncio.Event()

    async def __call__(self, step: IdleStep) -> Rows:
        match step:
            case Query():
                return await _rows(self._connection, step)
            case Listen():
                self._heard = step
                await self._connection.add_listener(step.channel, self._hear)
                self._listens = True
            case Pause():
                try:
                    async with asyncio.timeout(step.seconds):
                        await self._bell.wait()
                except TimeoutError:
                    pass
                self._bell.clear()
            case StopListening():
                if self._heard is not None and not self._connection.is_closed():
                    if not self._listens:  # interrupted: the server may listen, and asyncpg not know it
                        await self._connection.add_listener(self._heard.channel, self._hear)
                    await self._connection.remove_listener(self._heard.channel, self._hear)
        return ()

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        if self._heard is not None and payload == self._heard.payload:
            self._bell.set()
