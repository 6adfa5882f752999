"""What the limiter costs: database time of claim + complete per message, in bulk and as a bot of 30/s really claims.

`cost`: pg_stat_statements with track = top: total_exec_time of the two calls, divided by the messages; commits,
parsing and the network do not count. Once without a limit, and once through the ring of tokens with every answer
settled, as a worker does it: 30 tokens (100 for batches of 100), with a window of 10 ms so that the ring does not
slow the bench. Each run has 2,000 chats with a backlog that outlasts it. `round trips and commits included` is the
wall-clock time of the same calls as the caller waits for them, Python's JSON included.

`real`: a worker of its own, a strict simulator, and more messages than 30/s can send: the batches are as small as
they really are, and claims that find nothing count as well. The same time per message, from 5 s after the first
message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.delivery import fill, until_accepted
from bench.figure import Figure
from bench.noop import NoopWorker
from bench.server import Server, number, rows
from bench.workers import workers
from outbox.operate.stage import simulator_process

CHATS: Final = 2_000
MESSAGES: Final = {1: 3_000, 2: 4_000, 8: 12_000, 100: 30_000}
MOST_MS: Final = {("no limit", 8): 0.3, ("ring", 8): 0.3, ("no limit", 100): 0.1}
MOST_WALL_MS: Final = 2.0
RATE: Final = 30
REAL_S: Final = 40.0
SETTLE_S: Final = 5.0
REAL_MOST_MS: Final = 0.6
_OF_BOTH: Final = """
    SELECT {} FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     WHERE d.datname = %s AND (query LIKE '%%outbox.claim(%%' OR query LIKE '%%outbox.complete(%%')
"""
COST: Final = _OF_BOTH.format("sum(total_exec_time)")
CLAIMS: Final = _OF_BOTH.format("sum(calls) FILTER (WHERE query LIKE '%%outbox.claim(%%')")


def _cost(server: Server, size: Size) -> Iterator[Figure]:
    for pacing in ("no limit", "ring"):
        for batch, messages in MESSAGES.items():
            ms, wall_ms = _ms_per_message(server, batch, size.of(messages, 200), ring=pacing == "ring")
            name = f"claim + complete, batches of {batch}, {pacing}"
            yield Figure(name, ms, "ms/msg", at_most=MOST_MS.get((pacing, batch)))
            yield Figure("  round trips and commits included", wall_ms, "ms/msg", at_most=MOST_WALL_MS)


def _ms_per_message(server: Server, batch: int, messages: int, *, ring: bool) -> tuple[float, float]:
    """Return the database's and the caller's time."""
    with (
        server.database("cost") as url,
        server.connect() as outside,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute(
            "UPDATE outbox.bot SET rate = %s, rate_window_s = 0.01, chat_interval_s = 0, group_limit = NULL",
            [max(30, batch) if ring else None],
        )
        connection.execute(
            """INSERT INTO outbox.message (chat_id, payload)
               SELECT (1000 + g %% %s)::text, '{"text": "hi there"}' FROM generate_series(1, %s) g""",
            [CHATS, messages + 10 * CHATS],
        )
        worker = NoopWorker(connection, batch)
        for _ in range(20):  # plans and caches of this connection
            worker.turn()
        rows(outside, "SELECT pg_stat_statements_reset()")
        done = 0
        wall_s = 0.0
        while done < messages:
            started_s = time.perf_counter()
            lanes = len(worker.turn())
            # A turn that found no slot free yet is the bench's haste: a worker waits until claim says.
            wall_s += time.perf_counter() - started_s if lanes else 0.0
            done += lanes
        return number(outside, COST, [connection.info.dbname]) / done, 1000 * wall_s / done


def _real(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("real") as url:
        ms, per_claim = asyncio.run(_watch_a_worker(server, url, size.span_s(REAL_S, 10)))
    yield Figure("claim + complete of a worker at 30/s", ms, "ms/msg", at_most=REAL_MOST_MS)
    yield Figure("messages per claim, those that find nothing included", per_claim, "")


async def _watch_a_worker(server: Server, url: str, seconds: float) -> tuple[float, float]:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=round(2 * RATE * (seconds + SETTLE_S)), chats=600)
    async with simulator_process("--jitter-ms", "0-30") as telegram, workers(url, telegram.url):
        await until_accepted(telegram, 1)
        await asyncio.sleep(SETTLE_S)
        with server.connect() as outside:
            before = (await telegram.stats())["accepted"]
            rows(outside, "SELECT pg_stat_statements_reset()")
            await asyncio.sleep(seconds)
            ms, claims = number(outside, COST, [name]), number(outside, CLAIMS, [name])
            sent = (await telegram.stats())["accepted"] - before
    return ms / sent, sent / claims


CASES: Final[dict[str, Case]] = {"cost": _cost, "real": _real}
