"""A worker in the test's own event loop, a simulator beside it, and what both saw."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from outbox.deliver.events import Event
from outbox.deliver.worker import Worker
from outbox.simulator.config import Config
from outbox.simulator.server import Running, serve

TOKEN = "1:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
DEADLINE_S = 15.0
E = TypeVar("E", bound=Event)


class Events:
    """What a worker emitted; a test awaits what it needs to see."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._more.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.all if isinstance(event, kind)]

    async def until(self, condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
        """Wait until the condition holds after some event. Fails with what was seen."""
        try:
            async with asyncio.timeout(deadline_s):
                while not condition():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail("not within {:g} s, but saw:\n{}".format(deadline_s, "\n".join(map(repr, self.all[-40:]))))

    async def first(self, kind: type[E], count: int = 1) -> E:
        """The count-th event of that kind."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@pytest.fixture
async def simulator() -> AsyncIterator[Running]:
    """The limits of Telegram, no delays."""
    async with serve(Config()) as running:
        yield running


@contextlib.asynccontextmanager
async def working(database_url: str, api_url: str, **options: Any) -> AsyncIterator[tuple[Worker, Events]]:
    """A worker that runs while the block does, then drains. A fault of its own fails the test."""
    seen = Events()
    tokens = options.pop("tokens", {"default": SecretStr(TOKEN)})
    worker = Worker(database_url, tokens, api_url, **({"name": "w1", "emit": seen, "grace_s": 3.0} | options))
    running = asyncio.create_task(worker.run())
    try:
        yield worker, seen
    finally:
        worker.stop()
        async with asyncio.timeout(20):
            await running
