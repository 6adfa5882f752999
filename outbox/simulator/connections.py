"""Connections that the other end closes: by age, even busy ones, and by idleness, unseen until the next call."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from outbox.simulator.waiting import Sleep


@dataclass(slots=True)
class _Seen:
    opened_s: float
    used_s: float
    open_calls: int = 0


class Connections:
    """Ages of the connections that carry API calls; times are seconds of `clock`. 0 switches a limit off.

    A connection opens with its first call: clients open one when they need it.
    """

    def __init__(self, age_s: float, idle_s: float, clock: Callable[[], float], sleep: Sleep) -> None:
        self._age_s = age_s
        self._idle_s = idle_s
        self._clock = clock
        self._sleep = sleep
        self._seen: dict[asyncio.Transport, _Seen] = {}
        self._closers: set[asyncio.Task[None]] = set()

    @property
    def _is_off(self) -> bool:
        return not (self._age_s or self._idle_s)

    def enter(self, request: web.BaseRequest) -> bool:
        """A call begins. False: its connection had been given up, so it must be reset and not executed."""
        transport = request.transport
        if self._is_off or transport is None:
            return True
        now_s = self._clock()
        seen = self._seen.get(transport)
        if seen is None:
            self._seen = {one: ages for one, ages in self._seen.items() if not one.is_closing()}
            seen = self._seen[transport] = _Seen(now_s, now_s)
            if self._age_s:
                closer = asyncio.create_task(self._close(transport))
                self._closers.add(closer)
                closer.add_done_callback(self._closers.discard)
        elif self._idle_s and not seen.open_calls and now_s - seen.used_s >= self._idle_s:
            return False
        seen.open_calls += 1
        return True

    def leave(self, transport: asyncio.Transport | None) -> None:
        """The call on that connection has ended: from now on it is idle."""
        seen = None if transport is None else self._seen.get(transport)
        if seen is not None:
            seen.open_calls = max(0, seen.open_calls - 1)
            seen.used_s = self._clock()

    async def stop(self) -> None:
        for closer in list(self._closers):
            closer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closer

    async def _close(self, transport: asyncio.Transport) -> None:
        await self._sleep(self._age_s)
        # Answers that were written arrive; a call that is open loses its own.
        if not transport.is_closing():
            transport.abort()
        self._seen.pop(transport, None)
