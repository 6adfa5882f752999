"""A limit that nobody tells and that moves: how much of it is used, and what finding it costs in 429s.

The simulator draws the bot's limit anew from 20 to 30 a second every 60 s, for four minutes. Two workers, 900 chats
with more messages than can be sent. `used` is what was accepted over the limit summed over time, from the first
message to the end. A stretch is settled from 30 s after each move until the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, in_turn
from bench.server import Server
from bench.workers import workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

BETWEEN: Final = (20, 30)
EVERY_S: Final = 60.0
SECONDS: Final = 240.0
SETTLED_AFTER_S: Final = 30.0
CHATS: Final = 900


@dataclass(frozen=True)
class Stretch:
    """The time between two moves."""

    limit: int
    accepted: int
    refused: int
    seconds: float


@dataclass(frozen=True)
class Moving:
    """What came of a run."""

    agreement: Agreement
    whole: Sequence[Stretch]
    settled: Sequence[Stretch]


async def follow_a_moving_limit(url: str, seconds: float, every_s: float, *, seed: int = 1) -> Moving:
    """Send a backlog against the moving limit for so long."""
    producer = Producer(url, seed)
    producer.insert(round(BETWEEN[1] * seconds) + CHATS, in_turn(10_000, CHATS))
    producer.close()
    async with simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram:
        async with workers(url, telegram.url, telegram.url):
            moved_at = time.time()
            await telegram.add_faults([{"effect": "moving_limit", "between": list(BETWEEN), "every_s": every_s}])
            first_at: float = (await until_accepted(telegram, 1))["first_at"]
            await asyncio.sleep(moved_at + seconds - time.time())
        log = await telegram.log()
        with psycopg.connect(url, autocommit=True) as connection:
            agreement = check(connection, log, producer.accepted)
    spans = [(moved_at + start * every_s, every_s) for start in range(round(seconds / every_s))]
    return Moving(
        agreement,
        [_stretch(log, max(start, first_at), start + length) for start, length in spans],
        [_stretch(log, start + min(SETTLED_AFTER_S, length / 2), start + length) for start, length in spans],
    )


def _stretch(log: Sequence[Mapping[str, Any]], from_at: float, until_at: float) -> Stretch:
    calls = [call for call in log if from_at <= call["arrived_at"] < until_at and call["cost"]]
    # The rule was added a moment after the clock was read: a call of the last stretch may be the first.
    limits = [call["limit"] for call in calls if call["limit"] is not None]
    return Stretch(
        limit=max(set(limits), key=limits.count) if limits else BETWEEN[1],
        accepted=sum(call["cost"] for call in calls if call["verdict"] == "accepted"),
        refused=sum(call["verdict"] == "bot" for call in calls),
        seconds=until_at - from_at,
    )


def _used(stretches: Sequence[Stretch]) -> float:
    return sum(one.accepted for one in stretches) / sum(one.limit * one.seconds for one in stretches)


def _moving(server: Server, size: Size) -> Iterator[Figure]:
    # Not shorter: a stretch needs time to settle. More of them, or fewer.
    stretches = size.of(round(SECONDS / EVERY_S), 2)
    with server.database("moving") as url:
        seen = asyncio.run(follow_a_moving_limit(url, stretches * EVERY_S, EVERY_S, seed=size.seed))
    limits = ", ".join(str(one.limit) for one in seen.whole)
    yield Figure(f"used of the limit, which was {limits}", _used(seen.whole), "", at_least=0.9)
    yield Figure("used once settled", _used(seen.settled), "")
    yield Figure(
        "429s a minute once settled",
        60 * sum(one.refused for one in seen.settled) / sum(one.seconds for one in seen.settled),
        "",
        at_most=1.0,
    )
    yield Figure("429s in all", sum(one.refused for one in seen.whole), "")
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {"moving-limit": _moving}
