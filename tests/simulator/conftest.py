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

    def __call__(self) -> float:
        return self.now_s


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
    """Start a simulator and a client; `stopped=True` freezes its clock, so that only the test moves time.

    Fails when the server logged an error: aiohttp turns an exception in a handler into a 500 that could be a fault's.
    """
    async with AsyncExitStack() as stack:

        async def start(stopped: bool = True, **options: Any) -> Client:
            clock = Clock()
            config = Config(**options)
            running = await stack.enter_async_context(serve(config, clock=clock) if stopped else serve(config))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Client(running, session, clock)

        yield start
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
