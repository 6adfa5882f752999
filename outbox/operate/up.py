"""Wires the parts of one process: the worker, and housekeeping and the operator's page beside it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from outbox.deliver.connections import Connections
from outbox.deliver.tokens import TokensFile
from outbox.deliver.worker import Worker, run_worker
from outbox.operate.housekeeping import Housekeeper
from outbox.settings import Settings, UsageError, read_tokens


def follow_tokens(settings: Settings) -> TokensFile | None:
    """Return what tells when OUTBOX_TOKENS_FILE changes. Make it before reading the tokens: no change is missed."""
    if settings.tokens_file is None:
        return None
    return TokensFile(settings.tokens_file, lambda: read_tokens(os.environ, settings.tokens_file))


async def work_with_page(
    database_url: str, settings: Settings, worker: Worker | None, holder: str, say: Callable[[str], None]
) -> None:
    """Deliver, unless there is no worker, keep house and serve the page, until SIGTERM or SIGINT.

    Raises UsageError where the page cannot listen at an address that was set; at the default one, which a second
    process of this machine finds taken, it says so and goes on: messages come first.
    """
    async with _page(database_url, settings, say):
        if worker is None:
            await keep_house(database_url, holder)
        else:
            await work_and_keep_house(worker, holder)


@contextlib.asynccontextmanager
async def _page(database_url: str, settings: Settings, say: Callable[[str], None]) -> AsyncIterator[None]:
    if settings.admin_addr is None:
        yield
    elif importlib.util.find_spec("jinja2") is None:
        say("no page, because Jinja2 is not installed. Run: pip install Jinja2, or set OUTBOX_ADMIN_ADDR=off.")
        yield
    else:
        from outbox.operate.page.app import Page, serve  # here, because a worker does without Jinja2
        from outbox.operate.page.database import PageDatabase

        async with contextlib.AsyncExitStack() as stack:
            try:
                url = await stack.enter_async_context(serve(Page(settings, PageDatabase(database_url))))
            except UsageError as error:
                if settings.admin_addr != Settings.model_fields["admin_addr"].default:
                    raise
                say(f"no page: {error}")
            else:
                # Once signals are taken, which happens before anything is awaited: who reads this may send one.
                asyncio.get_running_loop().call_soon(say, f"the page is at {url}")
            yield


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
