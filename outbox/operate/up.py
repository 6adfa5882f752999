"""Wires the parts of one process: the worker, and housekeeping beside it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Coroutine
from typing import Any

from outbox.deliver.connections import Connections
from outbox.deliver.tokens import TokensFile
from outbox.deliver.worker import Worker, run_worker
from outbox.operate.housekeeping import Housekeeper
from outbox.settings import Settings, read_tokens


def follow_tokens(settings: Settings) -> TokensFile | None:
    """Return what tells when OUTBOX_TOKENS_FILE changes. Make it before reading the tokens: no change is missed."""
    if settings.tokens_file is None:
        return None
    return TokensFile(settings.tokens_file, lambda: read_tokens(os.environ, settings.tokens_file))


async def work_and_keep_house(worker: Worker, holder: str) -> None:
    """Deliver and take part in housekeeping until SIGTERM or SIGINT. `holder` names this process."""
    housekeeper = Housekeeper(worker.connections, _alone(holder))
    housekeeper.start()

    async def leave_house() -> None:
        await worker.until_stopping()
        await housekeeper.stop()

    leaving = asyncio.create_task(leave_house())
    try:
        await run_worker(worker)
    finally:
        await leaving


async def keep_house(database_url: str, holder: str) -> None:
    """Only take part in housekeeping, until SIGTERM or SIGINT: there is no bot token to deliver with."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    connections = Connections(database_url, f"outbox {holder}")
    await connections.open()
    housekeeper = Housekeeper(connections, _alone(holder))
    housekeeper.start()
    try:
        await stopping.wait()
    finally:
        await housekeeper.stop()
        await connections.close()


def _alone(holder: str) -> str:
    """Containers of one host name are all host:1, and a lease that several hold is none."""
    return f"{holder}:{secrets.token_hex(4)}"


def run(running: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(running)
    else:
        uvloop.run(running)
