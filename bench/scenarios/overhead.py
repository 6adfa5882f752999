"""What being watched costs: CPU time per message end to end, with metrics and sampled logs on against off.

One worker sends at the pace at which messages are inserted, without limits: 200 a second, and 30, the limit of a bot.
Every second its events go to the metrics and the sampled log, or to nobody, in turn; neighbouring seconds make a pair,
so that a machine whose speed swings within seconds does not matter. Then, at rest, what comes every 15 s at any pace is
measured by itself: a scrape, and the exporter's read of the database's numbers, PostgreSQL's share included. Their sum
is set against what a message costs unwatched, the worker and PostgreSQL with all of its backends. The exporter is one
process of all; another worker costs less. The spread is that of the pairs.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import psycopg

from bench.case import Case, Size
from bench.figure import Figure, percentile
from bench.server import Server
from bench.watched import READS, SCRAPES, WARM_S
from outbox.operate.stage import simulator_process, stop_process

TURNS_S: Final = 300.0  # so that the median of the pairs is known to some 20 us at 200 a second, 50 at 30
REST_S: Final = 3.0
EVERY_S: Final = 15.0  # a scrape, a read
MOST_SHARE: Final = 0.01
MOST_US: Final = 15.0
_INSERT: Final = """
    INSERT INTO outbox.message (chat_id, payload, correlation_id)
    SELECT (1000 + g %% 500)::text, '{"text": "hi there"}', 'order-' || g FROM generate_series(%s::int, %s::int) g
"""


class Measured(NamedTuple):
    """Of one run. CPU time in microseconds: per message, per scrape, per read."""

    extra: list[float]
    worker: float
    server: float
    scrape: float
    read: float
    read_server: float


def _at(per_s: int) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        with server.database("overhead") as url:
            m = asyncio.run(_measure(url, per_s, size.span_s(TURNS_S, 4.0)))
        base = m.worker + m.server
        events = statistics.median(m.extra)
        at_times = (m.scrape + m.read + m.read_server) / (EVERY_S * per_s)
        yield Figure("CPU per message unwatched, the worker", m.worker, "us")
        yield Figure("  and PostgreSQL", m.server, "us")
        yield Figure("metrics and sampled logs: more per message", events, "us")
        yield Figure("    lower quartile of the pairs", percentile(m.extra, 0.25), "us")
        yield Figure("    upper quartile of the pairs", percentile(m.extra, 0.75), "us")
        within = [sorted(m.extra)[place] for place in _sure(len(m.extra))]
        for text, value in zip(("from", "to"), within, strict=True):
            yield Figure(f"    the median, with 95 %: {text}", value, "us")
        yield Figure("a scrape", m.scrape, "us")
        yield Figure("a read of the database's numbers, the exporter", m.read, "us")
        yield Figure("  and PostgreSQL", m.read_server, "us")
        yield Figure("scrapes and reads: more per message", at_times, "us")
        yield Figure("watched, all together: more per message", events + at_times, "us")
        # Either mark will do.
        share = (events + at_times) / base
        yield Figure("  as a share", share, "", at_most=max(MOST_SHARE, MOST_US / base))
        yield Figure("    with the upper end of the median's 95 %", (within[1] + at_times) / base, "")

    return measure


async def _measure(url: str, per_s: int, seconds: float) -> Measured:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")
        connection.execute("SELECT outbox.make_partitions()")
        server = _parent(connection.info.backend_pid)
        async with simulator_process("--rate", "0", "--chat-interval-s", "0") as telegram:
            environment = os.environ | {"OUTBOX_DATABASE_URL": url, "OUTBOX_API_URL": telegram.url}
            with tempfile.TemporaryDirectory(prefix="outbox-bench-") as folder, Path(folder, "log").open("wb") as log:
                worker = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.watched", "w1", str(seconds)),
                    env=environment,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=1 << 20,
                )
                try:
                    feeding = asyncio.create_task(_feed(connection, WARM_S + seconds + 60, per_s))
                    await asyncio.sleep(WARM_S)
                    server_s, sent = _cpu_of_all_s(server), (await telegram.stats())["accepted"]
                    turns = await _said(worker)
                    server_s = _cpu_of_all_s(server) - server_s
                    sent = (await telegram.stats())["accepted"] - sent
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
                    await asyncio.sleep(REST_S)
                    await _scrape(await _ask(worker))
                    scrape = await _ask(worker)
                    connection.execute("SELECT outbox.measure_queue(), outbox.measure_broadcasts()")
                    await _ask(worker)
                    rest_s = _cpu_of_all_s(server)
                    read = await _ask(worker)
                    read_server = (_cpu_of_all_s(server) - rest_s) / READS
                finally:
                    await stop_process(worker)
    return Measured(
        extra=_pairs(turns),
        worker=1e6 * statistics.median(turn["cpu_s"] / turn["sent"] for turn in turns if not turn["is_on"]),
        server=1e6 * server_s / sent,
        scrape=1e6 * scrape,
        read=1e6 * read,
        read_server=1e6 * read_server,
    )


def _pairs(turns: list[dict[str, Any]]) -> list[float]:
    """Microseconds per message more in each second that was watched than in its neighbours, on average of the two."""
    cost = [1e6 * turn["cpu_s"] / turn["sent"] for turn in turns]
    return [
        cost[i] - (cost[i - 1] + cost[i + 1]) / 2
        for i in range(1, len(turns) - 1)
        if turns[i]["is_on"] and not turns[i - 1]["is_on"]
    ]


def _sure(count: int) -> tuple[int, int]:
    """The places, in order of size, between which the median lies with 95 %: a binomial's, by its normal neighbour."""
    # 0.98 for pairs that know nothing of each other; these share a neighbour.
    aside = 1.08 * math.sqrt(count)
    return max(0, math.floor(count / 2 - aside)), min(count - 1, math.ceil(count / 2 + aside))


async def _said(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def _ask(process: asyncio.subprocess.Process) -> Any:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await process.stdin.drain()
    return await _said(process)


async def _scrape(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(SCRAPES):
            async with session.get(url) as answer:
                answer.raise_for_status()
                await answer.read()


async def _feed(connection: psycopg.Connection[object], seconds: float, per_s: int) -> None:
    started_s = time.monotonic()
    inserted = 0
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        wanted = int(elapsed_s * per_s)
        if wanted > inserted:
            connection.execute(_INSERT, [inserted + 1, wanted])
            inserted = wanted
        await asyncio.sleep(0.02)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _cpu_of_all_s(server: int) -> float:
    """Of PostgreSQL's main process, its living children, and those that have ended."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
    ended_s = sum(int(field) for field in _stat(server)[13:15]) / os.sysconf("SC_CLK_TCK")
    # stat counts in clock ticks, too coarse for a read; the scheduler counts nanoseconds.
    files = [Path(f"/proc/{pid}/schedstat") for pid in (server, *children)]
    return ended_s + sum(int(file.read_text(encoding="ascii").split()[0]) for file in files) / 1e9


CASES: Final[dict[str, Case]] = {"200 a second": _at(200), "30 a second": _at(30)}
