"""A running bot as a process of its own, which calls to each chat faster than it may.

    python -m tests.limit.bot_process LIBRARY NAME DATABASE_URL API_URL CHAT …

LIBRARY is with_aiogram or with_telegram. It says "ready", begins at the next line of its input and ends at SIGTERM. Its
texts are NAME:CHAT:NUMBER, numbered in the order of its calls; to the group -1 it sends albums. The one named a polls.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import signal
import sys
from typing import Any

from outbox.limit import Limiter

AT_ONCE = 3  # calls to one chat that wait
ALBUM = 10
ALBUMS_TO = "-1"


async def run(library: str, name: str, database_url: str, api_url: str, *chats: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    running = importlib.import_module(f"tests.limit.{library}").running
    async with running(Limiter(database_url), api_url, polls=name == "a") as bot:
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        writing = [asyncio.create_task(_write_to(bot, name, chat)) for chat in chats]
        ended = asyncio.create_task(stop.wait())
        failed, _ = await asyncio.wait([ended, *writing], return_when=asyncio.FIRST_COMPLETED)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        for task in failed:
            task.result()


async def _write_to(bot: Any, name: str, chat: str) -> None:
    """Call without waiting for the answer to the call before, as handlers do that run side by side."""
    under_way: set[asyncio.Task[Any]] = set()
    try:
        for number in itertools.count():
            text = f"{name}:{chat}:{number}"
            call = bot.album(int(chat), ALBUM) if chat == ALBUMS_TO else bot.send(int(chat), text)
            under_way.add(asyncio.create_task(call))
            if len(under_way) == AT_ONCE:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
