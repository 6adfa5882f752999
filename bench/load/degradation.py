"""Degradation: twice as much is offered as can be sent, and what matters is sent in time all the same.

Two workers, 30/s. For the length of the run 60 messages a second come, one each from a chat that waits for nothing
else: 3 critical, 7 high, 20 normal and 30 low, of which the normal live 20 s and the low 10 s. What is late is
measured from just before the INSERT until the request arrives.

`pressure` is another run: 1,800 messages of all priorities are inserted at once, and every 4 s outbox.pressure is
read and a message of each priority inserted that shows how long it really took. Its error is |expected - real| over
what was real, for those that took 2 s or longer; the mark is on 9 in 10 of them.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure, percentile
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.server import Server, number
from bench.workers import workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Accepted, Agreement, check

RATE: Final = 30
SECONDS: Final = 45.0
OFFERED: Final = (3, 7, 20, 30)  # a second, by priority
LIVES_S: Final = (None, None, 20.0, 10.0)
CRITICAL_MS: Final = 200.0  # as behind a broadcast: python -m bench critical
HIGH_MS: Final = 400.0
BACKLOG: Final = 1_800
PROBES_EVERY_S: Final = 4.0
PROBES: Final = 12
LONG_ENOUGH_S: Final = 2.0
_PRESSURE: Final = "SELECT priority, expected_delay_s FROM outbox.pressure WHERE bot = 'default' ORDER BY priority"
_STATES: Final = "SELECT count(*) FROM outbox.history WHERE priority = %s AND status = %s"


@dataclass(frozen=True)
class Degradation:
    """What came of a run."""

    agreement: Agreement
    stats: Mapping[str, Any]
    waits_ms: Mapping[int, Sequence[float]]
    """By priority, of those that arrived."""
    expired: Mapping[int, int]
    accepted: Mapping[int, int]


async def offer_too_much(url: str, seconds: float, *, seed: int = 1) -> Degradation:
    """Insert twice the limit for so long, then wait until all has arrived or expired."""
    producer = Producer(url, seed)
    chats = itertools.count(10_000)
    inserted_at: dict[str, float] = {}
    turns = sorted((place / count, priority) for priority, count in enumerate(OFFERED) for place in range(count))
    async with simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram:
        async with workers(url, telegram.url, telegram.url):
            # A full second of traffic first: what a start costs is another scenario's subject.
            producer.insert(RATE, lambda: next(chats), priorities=(2,))
            await until_accepted(telegram, RATE)
            started_s = time.monotonic()
            for turn in range(round(seconds * len(turns))):
                await asyncio.sleep(started_s + turn / len(turns) - time.monotonic())
                priority = turns[turn % len(turns)][1]
                at = time.time()
                [message] = producer.insert(
                    1, lambda: next(chats), priorities=(priority,), expires_in_s=LIVES_S[priority]
                )
                inserted_at[message.text] = at
            with psycopg.connect(url, autocommit=True) as connection:
                async with asyncio.timeout(120):
                    while number(connection, "SELECT count(*) FROM outbox.message"):
                        await asyncio.sleep(0.5)
        log = await telegram.log()
        with psycopg.connect(url, autocommit=True) as connection:
            expired = {p: int(number(connection, _STATES, [p, "expired"])) for p in range(4)}
            agreement = check(connection, log, producer.accepted, waited=False)
        return Degradation(
            agreement,
            await telegram.stats(),
            _waits_ms(log, producer.accepted, inserted_at),
            expired,
            {p: sum(m.priority == p and m.text in inserted_at for m in producer.accepted) for p in range(4)},
        )


def _waits_ms(
    log: Sequence[Mapping[str, Any]], accepted: Sequence[Accepted], inserted_at: Mapping[str, float]
) -> Mapping[int, Sequence[float]]:
    priority_of = {message.text: message.priority for message in accepted}
    waits_ms: defaultdict[int, list[float]] = defaultdict(list)
    for call in log:
        if call["text"] in inserted_at:
            waits_ms[priority_of[call["text"]]].append(1000 * (call["arrived_at"] - inserted_at[call["text"]]))
    return waits_ms


def _degradation(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("degradation") as url:
        seen = asyncio.run(offer_too_much(url, size.span_s(SECONDS, 10), seed=size.seed))
    for priority, name, most_ms in ((0, "critical", CRITICAL_MS), (1, "high", HIGH_MS)):
        waits_ms = list(seen.waits_ms[priority])
        yield Figure(f"{name}, p50 of {len(waits_ms)}", percentile(waits_ms, 0.5), "ms")
        yield Figure(f"{name}, p99", percentile(waits_ms, 0.99), "ms", at_most=most_ms)
    for priority, name in enumerate(("critical", "high", "normal", "low")):
        share = seen.expired[priority] / seen.accepted[priority]
        yield Figure(f"{name} that expired", share, "share", at_most=0 if priority < 2 else None)
    yield Figure("429s", sum(seen.stats["rejected"].values()), "", at_most=0)
    yield from agreement_figures(seen.agreement)


async def believe_the_pressure(url: str, backlog: int, *, seed: int = 1) -> Sequence[tuple[int, float, float]]:
    """Read the pressure while a backlog is sent; return (priority, expected, real delay in seconds)."""
    producer = Producer(url, seed)
    producer.insert(backlog, in_turn(10_000, backlog // 2), priorities=(1, 2, 2, 3))
    chats = itertools.count(900_000)
    expected: list[tuple[Accepted, float, float]] = []
    async with (
        simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram,
        workers(url, telegram.url, telegram.url),
    ):
        await until_accepted(telegram, RATE)
        with psycopg.connect(url, autocommit=True) as connection:
            for _ in range(min(PROBES, round(backlog / RATE / PROBES_EVERY_S))):
                pressure: dict[int, float | None] = dict(connection.execute(_PRESSURE).fetchall())
                for priority, delay_s in pressure.items():
                    [message] = producer.insert(1, lambda: next(chats), priorities=(priority,))
                    expected.append((message, time.time(), math.inf if delay_s is None else delay_s))
                await asyncio.sleep(PROBES_EVERY_S)
            async with asyncio.timeout(2 * backlog / RATE + 30):
                while number(connection, "SELECT count(*) FROM outbox.message"):
                    await asyncio.sleep(0.5)
        arrived_at = {call["text"]: call["arrived_at"] for call in await telegram.log()}
    return [(message.priority, delay_s, arrived_at[message.text] - at) for message, at, delay_s in expected]


def _pressure(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("pressure") as url:
        delays = asyncio.run(believe_the_pressure(url, size.of(BACKLOG, 600), seed=size.seed))
    errors = [abs(told_s - real_s) / real_s for _, told_s, real_s in delays if real_s >= LONG_ENOUGH_S]
    yield Figure(f"error of the expected delay, p50 of {len(errors)}", percentile(errors, 0.5), "share")
    yield Figure("error of the expected delay, p90", percentile(errors, 0.9), "share", at_most=0.2)
    yield Figure("error of the expected delay, most", max(errors), "share")


CASES: Final[dict[str, Case]] = {"degradation": _degradation, "pressure": _pressure}
