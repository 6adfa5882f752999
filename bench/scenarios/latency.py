"""From INSERT to the HTTP request in an idle system, and what an idle worker asks of the database.

A real worker process and a simulator without delays. 400 inserts to as many chats, each a transaction of its own,
50-250 ms apart at random. A wait runs from just before the INSERT is sent until the request's arrival at the
simulator, by the same machine's clock; so it holds the commit, with its fsync, as well.

Then nothing for 20 s: statements of the worker's database in pg_stat_statements, which are all the worker's (and its
housekeeping's), and its connections, looked at every half second.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure, percentile
from bench.server import Server, number
from bench.workers import workers
from outbox.operate.stage import Simulator, simulator_process

INSERTS: Final = 400
SETTLE_S: Final = 3.0  # the worker has passed its NOTIFY self-test and become idle
IDLE_S: Final = 20.0
STATEMENTS: Final = """
    SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s
"""
CONNECTIONS: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"


def _latency(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("latency") as url:
        waits_ms, inserts_ms = asyncio.run(_measure_waits(url, size.of(INSERTS, 20)))
    yield Figure(
        f"INSERT until the request arrives, p50 of {len(waits_ms)}", percentile(waits_ms, 0.5), "ms", at_most=6
    )
    yield Figure("INSERT until the request arrives, p99", percentile(waits_ms, 0.99), "ms", at_most=15)
    yield Figure("INSERT until the request arrives, most", max(waits_ms), "ms")
    yield Figure("thereof the INSERT with its commit, p50", percentile(inserts_ms, 0.5), "ms")


async def _measure_waits(url: str, inserts: int) -> tuple[list[float], list[float]]:
    rng = random.Random(1)
    inserted_at: dict[str, float] = {}
    inserts_ms: list[float] = []
    async with (
        simulator_process() as telegram,
        workers(url, telegram.url),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        await _insert(connection, "1", "warm-up")
        await until_accepted(telegram, 1)
        await asyncio.sleep(SETTLE_S)
        for chat in range(1000, 1000 + inserts):
            await asyncio.sleep(rng.uniform(0.05, 0.25))
            inserted_at[str(chat)] = time.time()
            await _insert(connection, str(chat), "hi")
            inserts_ms.append(1000 * (time.time() - inserted_at[str(chat)]))
        await until_accepted(telegram, inserts + 1)
        waits_ms = await waits_until_arrival_ms(telegram, inserted_at)
    return waits_ms, inserts_ms


async def _insert(connection: psycopg.AsyncConnection[Any], chat_id: str, text: str) -> None:
    await connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) VALUES (%s, jsonb_build_object('text', %s::text))",
        [chat_id, text],
    )


async def waits_until_arrival_ms(telegram: Simulator, inserted_at: dict[str, float]) -> list[float]:
    """Return the milliseconds from each insert, by chat, until the first request to that chat arrived."""
    arrived_at: dict[str, float] = {}
    for call in await telegram.log():
        if call["verdict"] == "accepted":
            arrived_at.setdefault(str(call["chat"]), call["arrived_at"])
    return [1000 * (arrived_at[chat] - at) for chat, at in inserted_at.items()]


def _idle(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("idle") as url:
        statements, connections = asyncio.run(_watch_idle(server, url))
    yield Figure("queries of an idle worker", statements / IDLE_S, "per s", at_most=2)
    yield Figure("connections of an idle worker, most", connections, "", at_most=3)


async def _watch_idle(server: Server, url: str) -> tuple[float, float]:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    async with simulator_process() as telegram, workers(url, telegram.url):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("""INSERT INTO outbox.message (chat_id, payload) VALUES ('1', '{"text": "hi"}')""")
        await until_accepted(telegram, 1)
        await asyncio.sleep(SETTLE_S)
        with server.connect() as outside:
            before = number(outside, STATEMENTS, [name])
            connections = 0.0
            until_s = time.monotonic() + IDLE_S
            while time.monotonic() < until_s:
                connections = max(connections, number(outside, CONNECTIONS, [name]))
                await asyncio.sleep(0.5)
            return number(outside, STATEMENTS, [name]) - before, connections


CASES: Final[dict[str, Case]] = {"latency": _latency, "idle": _idle}
