"""Real worker processes of a bench."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from outbox.operate.stage import TOKEN, start_worker, stop_process

# Several workers share this machine: a port that one of them listens on would be taken for the next.
QUIET: Final = {"OUTBOX_METRICS_ADDR": "off", "OUTBOX_ADMIN_ADDR": "off"}


@contextlib.asynccontextmanager
async def workers(url: str, *api_urls: str) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Run a worker per API URL; more may be appended, or put in a dead one's place. All are stopped after the block."""
    running: list[asyncio.subprocess.Process] = []
    try:
        for api_url in api_urls:
            running.append(await one_more(url, api_url, f"w{len(running) + 1}"))
        yield running
    finally:
        await asyncio.gather(*(stop_process(worker) for worker in running))


async def one_more(url: str, api_url: str, name: str) -> asyncio.subprocess.Process:
    """Start a worker without metrics and admin page, whose log lines nobody wants."""
    environment = {"OUTBOX_TOKEN": TOKEN, "OUTBOX_DATA_DIR": _spools().name} | QUIET
    with Path(os.devnull).open("wb") as nowhere:
        return await start_worker(url, api_url, name=name, tokens=environment, log=nowhere)


async def kill(worker: asyncio.subprocess.Process) -> None:
    """SIGKILL it."""
    with contextlib.suppress(ProcessLookupError):
        worker.kill()
    await worker.wait()


@functools.cache
def _spools() -> tempfile.TemporaryDirectory[str]:
    """One folder for all workers of this process, as on one machine: the next one finds what a dead one left."""
    return tempfile.TemporaryDirectory(prefix="outbox-bench-")
