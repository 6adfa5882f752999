"""How long a critical message waits behind a saturating backlog of low priority.

30 messages a second, a real worker and a strict simulator without delays; 600 chats hold more low messages than the
run can send. A critical message to a chat of its own every 200-600 ms at random, 150 in all; each wait runs from just
before its INSERT until its request arrives. The wait is the horizon of 100 ms: slots given are not taken back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.delivery import fill, until_accepted
from bench.figure import Figure, percentile
from bench.scenarios.latency import waits_until_arrival_ms
from bench.server import Server
from bench.workers import workers
from outbox.operate.stage import simulator_process

INSERTS: Final = 150
EVERY_S: Final = (0.2, 0.6)
RATE: Final = 30
MOST_MS: Final = 200.0


def _critical(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("critical") as url:
        waits_ms, refused = asyncio.run(_measure(url, size.of(INSERTS, 10)))
    yield Figure(f"critical behind low, p50 of {len(waits_ms)}", percentile(waits_ms, 0.5), "ms")
    yield Figure("critical behind low, p99", percentile(waits_ms, 0.99), "ms", at_most=MOST_MS)
    yield Figure("critical behind low, most", max(waits_ms), "ms")
    yield Figure("429s meanwhile", refused, "", at_most=0)


async def _measure(url: str, inserts: int) -> tuple[list[float], int]:
    rng = random.Random(1)
    inserted_at: dict[str, float] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=round(inserts * sum(EVERY_S) / 2 * RATE) + 1_500, chats=600, priorities=[3])
        async with simulator_process() as telegram, workers(url, telegram.url):
            await until_accepted(telegram, 2 * RATE)
            for chat in range(1000, 1000 + inserts):
                await asyncio.sleep(rng.uniform(*EVERY_S))
                inserted_at[str(chat)] = time.time()
                connection.execute(
                    """INSERT INTO outbox.message (chat_id, payload, priority) VALUES (%s, '{"text": "now"}', 0)""",
                    [str(chat)],
                )
            await asyncio.sleep(3)
            refused = sum((await telegram.stats())["rejected"].values())
            return await waits_until_arrival_ms(telegram, inserted_at), refused


CASES: Final[dict[str, Case]] = {"critical": _critical}
