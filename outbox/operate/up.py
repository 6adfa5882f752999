"""Wires the parts of one process: the worker, and housekeeping, metrics and the operator's page beside it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from outbox.deliver.connections import Connections
from outbox.deliver.worker import Worker, run_worker
from outbox.observe.monitor import Monitor
from outbox.operate.housekeeping import Housekeeper
from outbox.settings import Settings, UsageError


async def work_with_page(
    database_url: str,
    settings: Settings,
    worker: Worker | None,
    holder: str,
    monitor: Monitor,
    say: Callable[[str], None],
    ready: Callable[[str | None, str | None], None],
    end_at_once: Callable[[int], object],
) -> None:
    """Deliver, unless there is no worker, keep house, serve the page and the metrics, until SIGTERM or SIGINT.

    `ready` is told once where the page and the metrics are, None for none; `end_at_once` is called with the exit
    status at a second signal. Raises UsageError where they cannot listen at an address that was set; at the default
    one, which a second process of this machine finds taken, it says so and goes on: messages come first.
    """
    async with _page(database_url, settings, say) as url:
        told = functools.partial(ready, url)
        if worker is None:
            await keep_house(database_url, holder, monitor, settings, say, told, end_at_once)
        else:
            await work_and_keep_house(worker, holder, monitor, settings, say, told, end_at_once)


@contextlib.asynccontextmanager
async def _page(database_url: str, settings: Settings, say: Callable[[str], None]) -> AsyncIterator[str | None]:
    """Serve the page until the block ends; yield its URL, or None where there is none."""
    if settings.admin_addr is None:
        yield None
    elif importlib.util.find_spec("jinja2") is None:
        say("no page, because Jinja2 is not installed. Run: pip install Jinja2, or set OUTBOX_ADMIN_ADDR=off.")
        yield None
    else:
        from outbox.operate.page.app import Page, serve  # here, because a worker does without Jinja2
        from outbox.operate.page.database import PageDatabase

        url = None
        async with contextlib.AsyncExitStack() as stack:
            try:
                url = await stack.enter_async_context(serve(Page(settings, PageDatabase(database_url))))
            except UsageError as error:
                if settings.admin_addr != Settings.model_fields["admin_addr"].default:
                    raise
                say(f"no page: {error}")
            yield url


@contextlib.asynccontextmanager
async def _metrics(
    monitor: Monitor,
    settings: Settings,
    connections: Connections,
    worker: Worker | None,
    holder: str,
    say: Callable[[str], None],
) -> AsyncIterator[str | None]:
    """Serve /metrics until the block ends; yield its URL, or None where there is none."""
    if settings.metrics_addr is None:
        yield None
        return
    url = None
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(monitor.watch(settings.metrics_addr, connections, worker, holder))
        except UsageError as error:
            if settings.metrics_addr != Settings.model_fields["metrics_addr"].default:
                raise
            say(f"no metrics: {error}")
        yield url


async def work_and_keep_house(
    worker: Worker,
    holder: str,
    monitor: Monitor,
    settings: Settings,
    say: Callable[[str], None],
    ready: Callable[[str | None], None],
    end_at_once: Callable[[int], object] = os._exit,
) -> None:
    """Deliver and take part in housekeeping until SIGTERM or SIGINT. `holder` names this process.

    `monitor` is what the worker emits to; `ready` is told where /metrics is.
    """
    alone = _alone(holder)
    housekeeper = Housekeeper(worker.connections, alone)
    async with _metrics(monitor, settings, worker.connections, worker, alone, say) as url:
        # Once signals are taken, which happens before anything is awaited: who reads this may send one.
        asyncio.get_running_loop().call_soon(ready, url)
        await _work(worker, housekeeper, monitor, end_at_once)


async def _work(
    worker: Worker, housekeeper: Housekeeper, monitor: Monitor, end_at_once: Callable[[int], object]
) -> None:
    housekeeper.start()

    async def leave_house() -> None:
        await worker.until_stopping()
        await monitor.leave()
        await housekeeper.stop()

    leaving = asyncio.create_task(leave_house())
    try:
        await run_worker(worker, end_at_once)
    finally:
        await leaving


async def keep_house(
    database_url: str,
    holder: str,
    monitor: Monitor,
    settings: Settings,
    say: Callable[[str], None],
    ready: Callable[[str | None], None],
    end_at_once: Callable[[int], object] = os._exit,
) -> None:
    """Only take part in housekeeping, until SIGTERM or SIGINT: there is no bot token to deliver with."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if stopping.is_set():
            end_at_once(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    connections = Connections(database_url, f"outbox {holder}")
    await connections.open()
    alone = _alone(holder)
    housekeeper = Housekeeper(connections, alone)
    try:
        async with _metrics(monitor, settings, connections, None, alone, say) as url:
            ready(url)
            housekeeper.start()
            await stopping.wait()
            await housekeeper.stop()
    finally:
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
