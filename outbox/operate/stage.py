"""A simulator and workers as processes of their own: for the demo, the benches and the tests of dying processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any, Final

import aiohttp
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

TOKEN: Final = "1000001:a-token-that-only-the-simulator-takes"  # noqa: S105
STOP_TIMEOUT_S: Final = 20.0


@contextlib.contextmanager
def scratch_database(server_url: str, name: str) -> Iterator[str]:
    """Yield the URL of a new, empty database beside the one of `server_url`; it is dropped after the block.

    Raises psycopg.Error when the user may not create databases.
    """
    identifier = sql.Identifier(name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        try:
            yield make_conninfo(server_url, dbname=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


class Simulator:
    """The Bot API of a stage, as seen through its /_sim routes."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def stats(self) -> dict[str, Any]:
        """What it accepted and refused, and the highest counts in its windows."""
        return dict(await self._get("stats"))

    async def log(self) -> list[dict[str, Any]]:
        """Every call in order of arrival."""
        return list(await self._get("log"))

    async def faults(self) -> list[dict[str, Any]]:
        """The rules, with how often each was hit."""
        return list(await self._get("faults"))

    async def add_faults(self, rules: list[dict[str, Any]]) -> None:
        """Make it answer by these rules from now on; see docs/simulator.md."""
        async with self._session.post(f"{self.url}/_sim/faults", json=rules) as answer:
            answer.raise_for_status()

    async def reset(self) -> None:
        """Forget the calls so far and empty the windows."""
        async with self._session.post(f"{self.url}/_sim/reset") as answer:
            answer.raise_for_status()

    async def _get(self, name: str) -> Any:
        async with self._session.get(f"{self.url}/_sim/{name}") as answer:
            answer.raise_for_status()
            return await answer.json()


@contextlib.asynccontextmanager
async def simulator_process(*options: str) -> AsyncIterator[Simulator]:
    """Run `outbox simulator` on a free port with these options. Raises RuntimeError when it does not come up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox.simulator", "--port", "0", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().split()
        if not line:
            raise RuntimeError("the simulator did not start")
        async with aiohttp.ClientSession() as session:
            yield Simulator(line[-1], session)
    finally:
        await stop_process(process)


async def start_worker(
    database_url: str,
    api_url: str,
    *,
    name: str,
    tokens: dict[str, str] | None = None,
    options: tuple[str, ...] = (),
    log: IO[bytes] | None = None,
) -> Process:
    """Start `outbox worker` as a process of its own; the caller ends it with stop_process().

    `tokens` are environment variables; `log` takes its log lines instead of stderr.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")}
    environment |= {"OUTBOX_DATABASE_URL": database_url, "OUTBOX_API_URL": api_url}
    # Several on one machine: a port that one of them listens on would be taken for the next.
    environment |= {"OUTBOX_METRICS_ADDR": "off"} | (tokens or {"OUTBOX_TOKEN": TOKEN})
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox", "worker", "--name", name, *options, env=environment, stderr=log
    )


@contextlib.asynccontextmanager
async def worker_processes(
    database_url: str, *api_urls: str, options: tuple[str, ...] = (), log: IO[bytes] | None = None
) -> AsyncIterator[list[Process]]:
    """Run one `outbox worker` per API URL, and stop them all after the block."""
    workers: list[Process] = []
    try:
        for number, api_url in enumerate(api_urls, start=1):
            name = f"worker-{number}"
            workers.append(await start_worker(database_url, api_url, name=name, options=options, log=log))
        yield workers
    finally:
        await asyncio.gather(*(stop_process(worker) for worker in workers))


async def stop_process(process: Process) -> int:
    """Ask a process to end, and see to it that it does. Returns its exit status."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode
