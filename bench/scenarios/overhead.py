"""What being watched costs: CPU time of a worker per message, with metrics and sampled logs on against off.

Two worker processes at a time, one watched and one not, take turns on the same database against the same simulator,
without limits, at the pace at which messages are inserted: 200 a second, far below what the machine can do. In each
round both send for 10 s, in random order; CPU time is what the kernel counts for the worker's process. The watched
one is scraped every 5 s and reads the database's numbers every 3 s, as the exporter does every 15 s. Both figures are
printed with their spread: the share, and microseconds per message (paired by round).
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
from typing import Final

import aiohttp
import psycopg

from bench.case import Case, Size
from bench.figure import Figure
from bench.server import Server
from outbox.operate.stage import Simulator, simulator_process, stop_process

ROUNDS: Final = 8
ROUND_S: Final = 10.0
WARM_S: Final = 3.0
PER_S: Final = 200
SCRAPE_EVERY_S: Final = 5.0
MOST_SHARE: Final = 0.01
MOST_US: Final = 15.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_INSERT: Final = """
    INSERT INTO outbox.message (chat_id, payload, correlation_id)
    SELECT (1000 + g %% 500)::text, '{"text": "hi there"}', 'order-' || g FROM generate_series(%s::int, %s::int) g
"""


def _overhead(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("overhead") as url:
        off, on = asyncio.run(_measure(url, size))
    extra = [b - a for a, b in zip(off, on, strict=True)]
    base = statistics.median(off)
    cost = statistics.median(extra)
    yield Figure("CPU of a worker per message, nobody watching", base, "us")
    yield Figure("  of the rounds, least and most", min(off), "us")
    yield Figure("", max(off), "us")
    yield Figure("watched: metrics, sampled logs, scrapes: more per message", cost, "us", at_most=MOST_US)
    yield Figure("  of the rounds, least and most", min(extra), "us")
    yield Figure("", max(extra), "us")
    yield Figure("  as a share", cost / base, "", at_most=MOST_SHARE)


async def _measure(url: str, size: Size) -> tuple[list[float], list[float]]:
    rng = random.Random(size.seed)
    off: list[float] = []
    on: list[float] = []
    rounds = size.of(ROUNDS, 2)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")
        async with simulator_process("--rate", "0", "--chat-interval-s", "0") as telegram:
            for number in range(rounds):
                for watched in rng.sample([True, False], 2):
                    us = await _turn(url, telegram, connection, watched=watched, name=f"w{number}-{watched}")
                    (on if watched else off).append(us)
    return off, on


async def _turn(
    url: str, telegram: Simulator, connection: psycopg.Connection[object], *, watched: bool, name: str
) -> float:
    """CPU microseconds per message of one worker's turn."""
    async with _worker(url, telegram.url, watched=watched, name=name) as (pid, metrics):
        await _feed(connection, WARM_S, metrics)
        sent_before = (await telegram.stats())["accepted"]
        cpu_before = _cpu_s(pid)
        await _feed(connection, ROUND_S, metrics)
        cpu_s = _cpu_s(pid) - cpu_before
        sent = (await telegram.stats())["accepted"] - sent_before
    return 1e6 * cpu_s / float(sent)


async def _feed(connection: psycopg.Connection[object], seconds: float, metrics: str | None) -> None:
    started_s = time.monotonic()
    inserted = 0
    scraped_s = started_s
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        wanted = int(elapsed_s * PER_S)
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


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


CASES: Final[dict[str, Case]] = {"overhead": _overhead}
