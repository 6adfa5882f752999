"""An application that cancels and stays in its transaction: nobody waits for it.

A worker, strict limits; ten messages a second come, each to a chat of its own, and one a second to a chat that also
holds a scheduled message. After 15 s a transaction cancels that message by its id, and 1,000 others by their tag, and
stays open for 10 s, while the messages go on. A wait runs from just before the INSERT until the request arrives. Then
it commits, and what it cancelled must end.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure, percentile
from bench.load.broadcast import trickle, until_none_waits, waits_ms
from bench.load.producer import Producer
from bench.server import Server, number
from bench.workers import workers
from outbox.operate.stage import simulator_process

BEFORE_S: Final = 15.0
OPEN_S: Final = 10.0
PER_S: Final = 10.0
SAME_CHAT: Final = 77
SAME_CHAT_PER_S: Final = 0.7  # a chat gets one a second, so that each waits for nothing else
CLOSE_MS: Final = 50.0
TAGGED: Final = 1_000
_SCHEDULED: Final = """
    INSERT INTO outbox.message (chat_id, payload, tag, next_attempt_at)
    SELECT (%s + g)::text, '{"text": "later"}', 'later', now() + interval '1 d' FROM generate_series(0, %s) g
"""


@dataclass(frozen=True)
class OpenCancel:
    """Milliseconds of the others, and of those to the chat whose message is being cancelled."""

    before_ms: list[float]
    during_ms: list[float]
    same_chat_before_ms: list[float]
    same_chat_during_ms: list[float]
    missing: int
    ended_after_s: float
    """From the commit until all that was cancelled had ended."""
    cancelled: int
    refused: int


async def stay_in_a_cancel(url: str, before_s: float, open_s: float, *, seed: int = 1) -> OpenCancel:
    """Watch the others before and while a transaction with a cancel is open."""
    others, same = Producer(url, seed, "other"), Producer(url, seed, "same chat")
    chats, one_chat = itertools.count(10_000), itertools.repeat(SAME_CHAT)
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url) as application,
    ):
        connection.execute(_SCHEDULED, [SAME_CHAT, TAGGED])
        async with simulator_process("--seed", str(seed)) as telegram, workers(url, telegram.url):
            others.insert(10, lambda: next(chats))
            await until_accepted(telegram, 10)
            async with trickle(others, chats, PER_S, 2) as before, trickle(same, one_chat, SAME_CHAT_PER_S, 2) as one:
                await asyncio.sleep(before_s)
            await asyncio.sleep(1.5)  # the next one to the same chat must not wait for its interval
            await asyncio.to_thread(
                application.execute,
                "SELECT outbox.cancel((SELECT id FROM outbox.message WHERE chat_id = %s AND tag = 'later')),"
                "       outbox.cancel(p_tag => 'later')",
                [str(SAME_CHAT)],
            )
            async with (
                trickle(others, chats, PER_S, 2) as during,
                trickle(same, one_chat, SAME_CHAT_PER_S, 2) as meanwhile,
            ):
                await asyncio.sleep(open_s)
            await asyncio.sleep(2)
            waiting = number(connection, "SELECT count(*) FROM outbox.message WHERE tag = 'later'")
            if waiting != TAGGED + 1:
                raise RuntimeError(f"{TAGGED + 1 - waiting:.0f} messages were cancelled before the commit")
            application.commit()
            committed_s = time.monotonic()
            await until_none_waits(connection, "later", 60)
            ended_after_s = time.monotonic() - committed_s
            log = await telegram.log()
            stats = await telegram.stats()
        cancelled = number(connection, "SELECT count(*) FROM outbox.finished WHERE status = 'cancelled'")
    others.close()
    same.close()
    inserted_at = {**before, **during, **one, **meanwhile}
    return OpenCancel(
        before_ms=waits_ms(log, before),
        during_ms=waits_ms(log, during),
        same_chat_before_ms=waits_ms(log, one),
        same_chat_during_ms=waits_ms(log, meanwhile),
        missing=len(inserted_at) - len(waits_ms(log, inserted_at)),
        ended_after_s=ended_after_s,
        cancelled=int(cancelled),
        refused=sum(stats["rejected"].values()),
    )


def _open_cancel(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("opencancel") as url:
        seen = asyncio.run(stay_in_a_cancel(url, size.span_s(BEFORE_S, 3), size.span_s(OPEN_S, 3), seed=size.seed))
    for words, before_ms, during_ms in (
        ("others", seen.before_ms, seen.during_ms),
        ("the same chat", seen.same_chat_before_ms, seen.same_chat_during_ms),
    ):
        p99_ms = percentile(before_ms, 0.99)
        yield Figure(f"{words} before, p50 of {len(before_ms)}", percentile(before_ms, 0.5), "ms")
        yield Figure(f"{words} before, p99", p99_ms, "ms")
        yield Figure(f"{words} while it is open, p50 of {len(during_ms)}", percentile(during_ms, 0.5), "ms")
        yield Figure(f"{words} while it is open, p99", percentile(during_ms, 0.99), "ms", at_most=p99_ms + CLOSE_MS)
    yield Figure("messages that did not arrive", seen.missing, "", at_most=0)
    yield Figure("cancelled messages that ended as such", seen.cancelled, "", at_least=TAGGED + 1, at_most=TAGGED + 1)
    yield Figure("  all of them after the commit", seen.ended_after_s, "s")
    yield Figure("429s", seen.refused, "", at_most=0)


CASES: Final[dict[str, Case]] = {"open-cancel": _open_cancel}
