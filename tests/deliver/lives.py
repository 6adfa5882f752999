"""Lives of a worker as far as its results go: the spool alone, and complete with it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from outbox.deliver.complete import Completion
from outbox.deliver.connections import Connections, DatabaseAwayError
from outbox.deliver.events import Event
from outbox.deliver.lane import Result
from outbox.deliver.pace import now_s
from outbox.deliver.spool import Spool

KEY = "7412345678901234567-16384"


class Process:
    """One life of a worker, as far as the spool knows."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.events: list[Event] = []
        self.spool = Spool(folder, emit=self.events.append, **options)
        self._writing: asyncio.Task[None] | None = None

    async def start(self, key: str = KEY) -> list[Result]:
        """Open, and return what earlier lives left."""
        await self.spool.open(key)
        self._writing = asyncio.create_task(self.spool.write_for_ever())
        found: list[Result] = []
        while (results := await self.spool.take_over()) is not None:
            found.extend(results)
        return found

    async def keep(self, results: list[Result]) -> None:
        self.spool.keep(results)
        await self.until(lambda: self.spool.results >= len(results))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await self.spool.close()
        assert self._writing is not None
        await asyncio.wait_for(self._writing, 5)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def result_of(message_id: int, **more: Any) -> Result:
    return Result(
        **(
            {
                "incarnation": 3,
                "bot": "default",
                "chat_id": "42",
                "message_id": message_id,
                "attempt": 1,
                "outcome": "sent",
                "ended_s": now_s(),
                "telegram_message_id": 900 + message_id,
            }
            | more
        )
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


async def left_behind(folder: Path, results: list[Result], **options: Any) -> Path:
    """The file of a life that ended with these unknown to the database."""
    process = Process(folder, **options)
    await process.start()
    await process.keep(results)
    await process.stop()
    [path] = files(folder)
    return path


class Database:
    """Complete's side of it: away until it is told to be back."""

    def __init__(self) -> None:
        self.fault: Exception | None = DatabaseAwayError("no connection")
        self.refused: dict[int, Exception] = {}  # by message: what a call with it fails with
        self.hangs = False
        self.applied: list[int] = []

    async def call(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        await asyncio.sleep(0)
        if "database_key" in query:
            return [(KEY,)]
        if self.fault is not None:
            raise self.fault
        while self.hangs:
            await asyncio.sleep(0.005)
        told = json.loads(parameters[1])
        for one in told:
            if (refusal := self.refused.get(one["message_id"])) is not None:
                raise refusal
        self.applied += [one["message_id"] for one in told]
        return [(len(told),)]


class Life:
    """A Completion with its two loops."""

    def __init__(self, folder: Path | None, database: Database) -> None:
        self.events: list[Event] = []
        self.completion = Completion(
            cast("Connections", database),
            flushed=lambda: None,
            emit=self.events.append,
            spool=Spool(folder, emit=self.events.append),
        )
        self._loops = [
            asyncio.create_task(self.completion.flush_for_ever()),
            asyncio.create_task(self.completion.spool_for_ever()),
        ]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def end(self, within_s: float = 3.0) -> int:
        left = await self.completion.flush_last(within_s)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        return left
