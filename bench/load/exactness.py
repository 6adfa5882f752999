"""Exactness: the queue and a bot's own replies share strict limits, with 1, 2 and 8 workers, joined and killed. No 429.

30/s, 1/s per chat, 20/min per group, jitter of 0-30 ms before each verdict. Chats are drawn by Zipf's law from 2,000,
5 % of them groups. A producer keeps more waiting than can be sent; half of the traffic are replies that take their
slots by outbox.acquire, to chats of the same draw. In the middle of the runs without kills one more worker joins. In
the run with kills there are four, and every 10 s one gets SIGKILL and another joins.

Utilisation is what the simulator accepted over what 30/s allow, from 3 s after the first message until the replies
end. `but for the 3 s after a kill` leaves those out. How many chats had something to send is looked at every second:
the mark on utilisation supposes that there were always enough.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure, percentile
from bench.load.agreement import agreement_figures
from bench.load.producer import Producer, zipf
from bench.load.replies import Replies
from bench.server import Server, number
from bench.workers import kill, one_more, workers
from outbox.operate.stage import simulator_process
from tests.chaos.checker import Agreement, check

RATE: Final = 30
CHATS: Final = 2_000
SECONDS: Final = 40.0
SECONDS_WITH_KILLS: Final = 65.0
FIRST_S: Final = 3.0
KILL_EVERY_S: Final = 10.0
AFTER_A_KILL_S: Final = 3.0
ENOUGH: Final = 2 * RATE  # chats: as many again as a second's messages need
JOINS_AFTER: Final = 0.5  # of the run
_READY: Final = "SELECT count(DISTINCT chat_id) FROM outbox.due"


@dataclass
class Exactness:
    """What came of a run. Times are unix seconds."""

    agreement: Agreement
    stats: dict[str, Any]
    arrivals: Sequence[float]
    from_at: float
    until_at: float
    replies: Replies
    replies_share: float
    """Of what arrived between the two."""
    fewest_chats: int
    """Chats with something due, at the emptiest moment."""
    kills: list[float] = field(default_factory=list)

    def utilisation(self, blind_s: float = 0.0) -> float:
        """Accepted over allowed, without so many seconds after each kill."""
        blind = [(at, at + blind_s) for at in self.kills if blind_s]
        blind_total_s = sum(max(0.0, min(end, self.until_at) - max(begin, self.from_at)) for begin, end in blind)
        seen = sum(
            self.from_at <= at < self.until_at and not any(begin <= at < end for begin, end in blind)
            for at in self.arrivals
        )
        return seen / (RATE * (self.until_at - self.from_at - blind_total_s))


async def share_the_limit(
    url: str, number_of_workers: int, seconds: float, *, kill_every_s: float | None = None, seed: int = 1
) -> Exactness:
    """Send queue and replies side by side for so long. Without kills one more worker joins on the way."""
    producer = Producer(url, seed)
    chat = zipf(producer.rng, CHATS)
    producer.insert(40 * RATE, chat)
    rng = random.Random(f"exactness {seed}")
    async with simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram:
        async with workers(url, *[telegram.url] * number_of_workers) as running:
            first_at: float = (await until_accepted(telegram, 1))["first_at"]
            replies = Replies(url, telegram.url, chat, RATE / 2, seed)
            kills: list[float] = []
            fewest = CHATS
            joined = False
            async with asyncio.TaskGroup() as group:
                replying = group.create_task(replies.run(first_at + seconds - time.time()))
                # As long as replies come; those that still wait at the end finish by themselves.
                while (passed_s := time.time() - first_at) < seconds and not replying.done():
                    producer.insert(RATE, chat)
                    fewest = min(fewest, await asyncio.to_thread(_ready_chats, url))
                    if kill_every_s is None and not joined and passed_s > JOINS_AFTER * seconds:
                        joined = True
                        running.append(await one_more(url, telegram.url, "joined"))
                    if kill_every_s is not None and passed_s > kill_every_s * (len(kills) + 1):
                        victim = rng.randrange(number_of_workers)
                        kills.append(time.time())
                        await kill(running[victim])
                        running[victim] = await one_more(url, telegram.url, f"w{victim + 1}")
                    await asyncio.sleep(1 - (time.time() - first_at) % 1)
                until_at = time.time()
            producer.close()
        log = await telegram.log()
        with psycopg.connect(url, autocommit=True) as connection:
            agreement = check(connection, log, producer.accepted, others=replies.sent, waited=False)
        return Exactness(
            agreement=agreement,
            stats=await telegram.stats(),
            arrivals=[call["arrived_at"] for call in log if call["verdict"] == "accepted" and call["cost"]],
            from_at=first_at + FIRST_S,
            until_at=until_at,
            replies=replies,
            replies_share=_share_of(replies.sent, log, first_at + FIRST_S, until_at),
            fewest_chats=fewest,
            kills=kills,
        )


def _share_of(texts: Collection[str], log: Sequence[Mapping[str, Any]], from_at: float, until_at: float) -> float:
    arrived = [call["text"] for call in log if call["cost"] and from_at <= call["arrived_at"] < until_at]
    return sum(text in texts for text in arrived) / max(1, len(arrived))


def _ready_chats(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        return int(number(connection, _READY))


def _exactness(number_of_workers: int) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        with server.database("exactness") as url:
            seen = asyncio.run(share_the_limit(url, number_of_workers, size.span_s(SECONDS, 10), seed=size.seed))
        yield Figure("utilisation", seen.utilisation(), "", at_least=0.97)
        yield from _figures(seen)

    return measure


def _with_kills(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("exactness") as url:
        seen = asyncio.run(
            share_the_limit(url, 4, size.span_s(SECONDS_WITH_KILLS, 25), kill_every_s=KILL_EVERY_S, seed=size.seed)
        )
    yield Figure("workers killed", len(seen.kills), "", at_least=1)
    yield Figure("utilisation", seen.utilisation(), "", at_least=0.93)
    yield Figure("utilisation but for the 3 s after a kill", seen.utilisation(AFTER_A_KILL_S), "", at_least=0.97)
    yield from _figures(seen)


def _figures(seen: Exactness) -> Iterator[Figure]:
    yield Figure("429s", sum(seen.stats["rejected"].values()), "", at_most=0)
    yield Figure("most in 1 s", seen.stats["max_in_1s"], "", at_most=RATE)
    yield Figure("most per chat in 1 s", seen.stats["max_per_chat_in_1s"], "", at_most=1)
    yield Figure("most per group in 60 s", seen.stats["max_per_group_in_60s"], "", at_most=20)
    yield Figure("share of replies among what arrived", seen.replies_share, "")
    yield Figure("from the wish to reply until its slot, p50", percentile(seen.replies.waits_s, 0.5), "s")
    yield Figure("from the wish to reply until its slot, p99", percentile(seen.replies.waits_s, 0.99), "s")
    yield Figure("calls of acquire per reply", seen.replies.asked / len(seen.replies.waits_s), "")
    yield Figure("chats with something due, fewest", seen.fewest_chats, "", at_least=ENOUGH)
    yield from agreement_figures(seen.agreement)


CASES: Final[dict[str, Case]] = {
    "exactness-1": _exactness(1),
    "exactness-2": _exactness(2),
    "exactness-8": _exactness(8),
    "exactness-kills": _with_kills,
}
