import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from outbox.simulator.config import Config
from outbox.simulator.server import Running, serve


class Clock:
    """Seconds that move only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0
        self._changed = asyncio.Condition()

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Wait until a test has moved the time so far."""
        self._number += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, self._number, future))
        async with self._changed:
            self._changed.notify_all()
        await future

    async def advance(self, seconds: float) -> None:
        """Move the time, and wake what sleeps until then, each at its own moment."""
        target_s = self.now_s + seconds
        while self._sleepers and self._sleepers[0][0] <= target_s:
            self.now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        self.now_s = target_s

    async def sleepers(self, number: int) -> list[float]:
        """Wait until so many sleep; the seconds that each still has to."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self._asleep()) >= number)
        return sorted(round(wake_s - self.now_s, 6) for wake_s in self._asleep())

    def _asleep(self) -> list[float]:
        return [wake_s for wake_s, _, future in self._sleepers if not future.done()]


class Client:
    """A bot's view of a simulator, and a judge's."""

    def __init__(self, running: Running, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.running = running
        self.session = session
        self.clock = clock
        self.url = running.url

    async def call(self, method: str, token: str = "1:secret", **parameters: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.post(f"{self.url}/bot{token}/{method}", json=parameters) as response:
            return response.status, await response.json()

    async def send(self, chat: int | str, text: str = "hi", **parameters: Any) -> int:
        status, _ = await self.call("sendMessage", chat_id=chat, text=text, **parameters)
        return status

    async def add(self, *rules: dict[str, Any]) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/_sim/faults", json=list(rules)) as response:
            return response.status, await response.json()

    async def rules(self) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/_sim/faults") as response:
            listed: list[dict[str, Any]] = await response.json()
            return listed

    async def begin(self, chat: int | str, sleeping: int = 1, method: str = "sendMessage", **parameters: Any) -> Any:
        """Send, and return the running call once so many calls sleep in the simulator."""
        call = asyncio.create_task(self.call(method, chat_id=chat, **({"text": "hi"} | parameters)))
        await self.clock.sleepers(sleeping)
        return call

    async def log(self, query: str = "") -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/_sim/log{query}") as response:
            listed: list[dict[str, Any]] = await response.json()
            return listed

    async def stats(self, query: str = "") -> dict[str, Any]:
        async with self.session.get(f"{self.url}/_sim/stats{query}") as response:
            figures: dict[str, Any] = await response.json()
            return figures


@pytest.fixture
async def simulate(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Callable[..., Any]]:
    """Start a simulator and a client; `stopped=True` freezes its clock, so that only the test moves time; with
    `timed=True` its sleeps, too, are by that clock.

    Fails when the server logged an error: aiohttp turns an exception in a handler into a 500 that could be a fault's.
    """
    async with AsyncExitStack() as stack:

        async def start(stopped: bool = True, timed: bool = False, **options: Any) -> Client:
            clock = Clock()
            config = Config(**options)
            if timed:
                serving = serve(config, clock=clock, sleep=clock.sleep)
            else:
                serving = serve(config, clock=clock) if stopped else serve(config)
            running = await stack.enter_async_context(serving)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Client(running, session, clock)

        yield start
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
