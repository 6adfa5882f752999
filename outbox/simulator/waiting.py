"""Waits that end early."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[None]]


async def wait_for_event(event: asyncio.Event, sleep: Sleep, most_s: float | None) -> None:
    """Wait for the event, at most `most_s` seconds by `sleep` (None: however long it takes)."""
    waits: list[Awaitable[object]] = [event.wait()]
    if most_s is not None:
        waits.append(sleep(most_s))
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
