"""What being watched costs: CPU time per message end to end, with metrics and sampled logs on against off.

Two worker processes at a time, one watched and one not, take turns on the same database against the same simulator,
without limits, at the pace at which messages are inserted: 200 a second, and 30, the limit of a bot. In each round both
send for 30 s, in random order. CPU time is what the kernel counts for the worker's process, and for PostgreSQL with all
of its backends, which is told apart. The watched worker is scraped every 15 s and is the exporter, which one process of
all is: it reads the database's numbers every 15 s. All figures are printed with their spread: the share, and
microseconds per message (paired by round).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
import psycopg

from bench.case import Case, Size
from bench.figure import Figure
from bench.server import Server
from outbox.operate.stage import Simulator, simulator_process, stop_process

ROUNDS: Final = 5
ROUND_S: Final = 30.0
WARM_S: Final = 3.0
SCRAPE_EVERY_S: Final = 15.0
MOST_SHARE: Final = 0.01
MOST_US: Final = 15.0
_INSERT: Final = """
    INSERT INTO outbox.message (chat_id, payload, correlation_id)
    SELECT (1000 + g %% 500)::text, '{"text": "hi there"}', 'order-' || g FROM generate_series(%s::int, %s::int) g
"""


class Cost(NamedTuple):
    """CPU microseconds per message of one turn."""

    worker: float
    server: float

    @property
    def both(self) -> float:
        return self.worker + self.server


def _overhead(server: Server, size: Size, per_s: int) -> Iterator[Figure]:
    with server.database("overhead") as url:
        off, on = asyncio.run(_measure(url, size, per_s))
    yield from _spread("CPU per message, worker and PostgreSQL, nobody watching", [one.both for one in off])
    extra = [b.both - a.both for a, b in zip(off, on, strict=True)]
    base = statistics.median(one.both for one in off)
    share = statistics.median(extra) / base
    # Either will do: Telegram's own time is far more than both.
    yield from _spread("watched, end to end: more per message", extra)
    yield Figure("  as a share", share, "", at_most=max(MOST_SHARE, MOST_US / base))
    yield from _spread("  of this the worker", [b.worker - a.worker for a, b in zip(off, on, strict=True)])
    yield from _spread("  of this PostgreSQL", [b.server - a.server for a, b in zip(off, on, strict=True)])
    worker = statistics.median(one.worker for one in off)
    more = statistics.median(b.worker - a.worker for a, b in zip(off, on, strict=True))
    yield Figure("  the worker's as a share of its own", more / worker, "")


def _spread(label: str, values: list[float]) -> Iterator[Figure]:
    yield Figure(label, statistics.median(values), "us")
    yield Figure("    least and most of the rounds", min(values), "us")
    yield Figure("", max(values), "us")


async def _measure(url: str, size: Size, per_s: int) -> tuple[list[Cost], list[Cost]]:
    rng = random.Random(size.seed)
    off: list[Cost] = []
    on: list[Cost] = []
    rounds = size.of(ROUNDS, 2)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")
        async with simulator_process("--rate", "0", "--chat-interval-s", "0") as telegram:
            for number in range(rounds):
                for watched in rng.sample([True, False], 2):
                    name = f"w{number}-{watched}"
                    cost = await _turn(url, telegram, connection, per_s, watched=watched, name=name)
                    (on if watched else off).append(cost)
    return off, on


async def _turn(
    url: str, telegram: Simulator, connection: psycopg.Connection[object], per_s: int, *, watched: bool, name: str
) -> Cost:
    server = _parent(connection.info.backend_pid)
    async with _worker(url, telegram.url, watched=watched, name=name) as (pid, metrics):
        await _feed(connection, WARM_S, per_s, metrics)
        sent_before = (await telegram.stats())["accepted"]
        before = _cpu_s(pid), _cpu_of_all_s(server)
        await _feed(connection, ROUND_S, per_s, metrics)
        after = _cpu_s(pid), _cpu_of_all_s(server)
        sent = (await telegram.stats())["accepted"] - sent_before
    worker_s, server_s = (b - a for a, b in zip(before, after, strict=True))
    return Cost(1e6 * worker_s / sent, 1e6 * server_s / sent)


async def _feed(connection: psycopg.Connection[object], seconds: float, per_s: int, metrics: str | None) -> None:
    started_s = time.monotonic()
    inserted = 0
    scraped_s = float("-inf")
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        wanted = int(elapsed_s * per_s)
        if wanted > inserted:
            connection.execute(_INSERT, [inserted + 1, wanted])
            inserted = wanted
        if metrics is not None and time.monotonic() - scraped_s >= SCRAPE_EVERY_S:
            scraped_s = time.monotonic()
            async with aiohttp.ClientSession() as session, session.get(metrics) as answer:
                answer.raise_for_status()
                await answer.read()
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _worker(url: str, api_url: str, *, watched: bool, name: str) -> AsyncIterator[tuple[int, str | None]]:
    environment = os.environ | {"OUTBOX_DATABASE_URL": url, "OUTBOX_API_URL": api_url}
    with tempfile.TemporaryDirectory(prefix="outbox-bench-") as folder:
        with Path(folder, "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.watched", "on" if watched else "off", name,
                env=environment, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdout is not None
        try:
            metrics = json.loads(await process.stdout.readline())["metrics"]
            yield process.pid, metrics
        finally:
            await stop_process(process)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _cpu_s(pid: int) -> float:
    # stat counts in clock ticks, too coarse for a turn; the scheduler counts nanoseconds, of each thread.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _cpu_of_all_s(server: int) -> float:
    """Of PostgreSQL's main process, its living children, and those that have ended."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
    ended_s = sum(int(field) for field in _stat(server)[13:15]) / os.sysconf("SC_CLK_TCK")
    return ended_s + _cpu_s(server) + sum(_cpu_s(int(pid)) for pid in children)


def _at(per_s: int) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        yield from _overhead(server, size, per_s)

    return measure


CASES: Final[dict[str, Case]] = {"200 a second": _at(200), "30 a second": _at(30)}
