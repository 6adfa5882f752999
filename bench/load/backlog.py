"""A backlog at start-up: 10,000 messages wait when three workers start at once.

200 of them are critical, each to a chat of its own; the rest is spread over 2,000 chats in the other priorities.
Workers run for 40 s. The first message is timed twice: from when the processes were started, which holds what
Python takes to load, and from when the first of them had its place in outbox.worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.server import Server, number
from bench.workers import workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

RATE: Final = 30
MESSAGES: Final = 10_000
CRITICAL: Final = 200
CHATS: Final = 2_000
SECONDS: Final = 40.0
WORKERS: Final = 3
_REGISTERED: Final = "SELECT extract(epoch FROM min(started_at)) FROM outbox.worker"


@dataclass(frozen=True)
class Backlog:
    """What came of a run."""

    agreement: Agreement
    stats: dict[str, Any]
    since_start_s: float
    since_registered_s: float
    in_first_second: int
    last_critical: int
    """The place of the last critical message among all that arrived."""


async def start_behind_a_backlog(url: str, messages: int, critical: int, seconds: float, *, seed: int = 1) -> Backlog:
    """Let the workers begin together, and watch how for so long."""
    producer = Producer(url, seed)
    producer.insert(messages - critical, in_turn(10_000, CHATS), priorities=(1, 2, 3))
    urgent = {message.text for message in producer.insert(critical, in_turn(90_000, critical), priorities=(0,))}
    producer.close()
    async with simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram:
        started_at = time.time()
        async with workers(url, *[telegram.url] * WORKERS):
            first_at: float = (await until_accepted(telegram, 1))["first_at"]
            await asyncio.sleep(first_at + seconds - time.time())
        log = await telegram.log()
        accepted = [call for call in log if call["verdict"] == "accepted" and call["cost"]]
        with psycopg.connect(url, autocommit=True) as connection:
            return Backlog(
                agreement=check(connection, log, producer.accepted),
                stats=await telegram.stats(),
                since_start_s=first_at - started_at,
                since_registered_s=first_at - number(connection, _REGISTERED),
                in_first_second=sum(call["arrived_at"] < first_at + 1 for call in accepted),
                last_critical=max(
                    (place for place, call in enumerate(accepted, start=1) if call["text"] in urgent), default=0
                ),
            )


def _backlog(server: Server, size: Size) -> Iterator[Figure]:
    critical = size.of(CRITICAL, 20)
    with server.database("backlog") as url:
        seen = asyncio.run(
            start_behind_a_backlog(url, size.of(MESSAGES, 1_000), critical, size.span_s(SECONDS, 10), seed=size.seed)
        )
    yield Figure("first message since a worker registered", seen.since_registered_s, "s", at_most=1.0)
    yield Figure("first message since the processes were started", seen.since_start_s, "s")
    yield Figure("arrivals in the first second", seen.in_first_second, "", at_most=RATE)
    # Every tenth slot is reserved for the others in turn (DESIGN section 4).
    reserved = critical // 9 + 1
    yield Figure(f"place of the last of {critical} critical", seen.last_critical, "", at_most=critical + reserved)
    yield Figure("429s", sum(seen.stats["rejected"].values()), "", at_most=0)
    yield Figure("most in 1 s", seen.stats["max_in_1s"], "", at_most=RATE)
    yield Figure("most per chat in 1 s", seen.stats["max_per_chat_in_1s"], "", at_most=1)
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {"backlog": _backlog}
