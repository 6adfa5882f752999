"""A broadcast to 100,000 chats beside messages that matter, its cancel, and what outbox.broadcasts foretells of it.

`broadcast`: two workers, strict limits (30/s), jitter 0-30 ms. For 45 s two critical messages a second come, each to a
chat of its own; then one INSERT … SELECT brings 100,000 messages of low priority with a tag, and for 45 s the critical
ones go on beside them, and while the tag is cancelled. A wait runs from just before the INSERT until the request
arrives. After the cancel's commit: when the last message of the broadcast arrives, and when all are `cancelled`. The
same once more with 1,000 chats: the size must not matter.

`broadcast-progress`: the bot's limit opened to 2,000/s, the simulator's taken away; the same broadcast goes to its
end. Every 3 s outbox.broadcasts is read: its progress is compared with what had ended by then, its ETA with when the
last one ended, for as long as 5 s or more were left. Two cores that workers, simulator and PostgreSQL share are full
then, and the pace is whatever they have left; `broadcast-steady` is 30,000 messages at 500/s, which they hold.
`broadcast-strict` is the first with the simulator's limit at 2,000/s too: what a full machine sends late crowds into
a window.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import until_accepted
from bench.figure import Figure, percentile
from bench.load.producer import Producer
from bench.server import Server, number, rows
from bench.workers import workers
from outbox.operate.stage import Simulator, simulator_process

CHATS: Final = 100_000
FEW_CHATS: Final = 1_000
SECONDS: Final = 45.0
CRITICAL_PER_S: Final = 2.0
CLOSE_MS: Final = 200.0
STOPS_S: Final = 0.25
"""The horizon of 100 ms, up to which slots were given; the claim that was under way; 30 ms of jitter, and a machine
whose two cores all share."""
OPEN_RATE: Final = 2_000
STEADY_RATE: Final = 500
STEADY_CHATS: Final = 30_000
LOOK_S: Final = 3.0
LEFT_S: Final = 5.0
RIGHT: Final = 0.05
_BROADCAST: Final = """
    INSERT INTO outbox.message (chat_id, payload, priority, tag)
    SELECT (1000000 + g)::text, jsonb_build_object('text', %s::text || ' ' || g), 3, %s FROM generate_series(1, %s) g
"""
_WAITS: Final = "SELECT EXISTS (SELECT FROM outbox.message WHERE tag = %s)::int"
_TOLD: Final = """
    SELECT extract(epoch FROM outbox.clock())::float8, progress, eta_s, ended_per_s, waiting
      FROM outbox.broadcasts WHERE tag = %s
"""
_TRUTH: Final = """
    SELECT extract(epoch FROM max(finished_at))::float8,
           ARRAY(SELECT count(*) FILTER (WHERE f.finished_at <= to_timestamp(t.at))
                   FROM unnest(%s::float8[]) WITH ORDINALITY t (at, place) CROSS JOIN outbox.finished f
                  WHERE f.tag = %s GROUP BY t.place ORDER BY t.place)
      FROM outbox.finished WHERE tag = %s
"""
_STATES: Final = """
    SELECT sent, cancelled, accepted FROM outbox.broadcasts WHERE tag = %s
"""


@asynccontextmanager
async def trickle(
    producer: Producer, chats: Iterator[int], per_s: float, priority: int
) -> AsyncIterator[dict[str, float]]:
    """Insert a message to the next chat so often for as long as the block lasts; yield when each, by text, was."""
    inserted_at: dict[str, float] = {}

    async def insert() -> None:
        started_s = time.monotonic()
        for turn in itertools.count(1):
            at = time.time()
            # In a thread: a busy database must not stop the clock of the others.
            [message] = await asyncio.to_thread(producer.insert, 1, lambda: next(chats), priorities=(priority,))
            inserted_at[message.text] = at
            await asyncio.sleep(max(0.0, started_s + turn / per_s - time.monotonic()))

    inserting = asyncio.create_task(insert())
    try:
        yield inserted_at
    finally:
        inserting.cancel()
        await asyncio.gather(inserting, return_exceptions=True)


def waits_ms(log: Sequence[Mapping[str, Any]], inserted_at: Mapping[str, float]) -> list[float]:
    """Return the milliseconds from each insert until its request arrived; what never arrived has no place in it."""
    return [
        1000 * (call["arrived_at"] - inserted_at[call["text"]])
        for call in log
        if call["verdict"] == "accepted" and call["text"] in inserted_at
    ]


async def until_none_waits(connection: psycopg.Connection[Any], tag: str, timeout_s: float) -> float:
    """Wait until nothing with the tag waits; return the seconds it took. Raises TimeoutError."""
    started_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while await asyncio.to_thread(number, connection, _WAITS, [tag]):
            await asyncio.sleep(0.1)
    return time.monotonic() - started_s


@dataclass(frozen=True)
class Cancel:
    """How a broadcast ended."""

    last_after_s: float
    """From the cancel's commit until the last message of the broadcast arrived; 0: none arrived after it."""
    all_after_s: float
    """From the commit until none waited any more."""
    sent: int
    cancelled: int
    accepted: int


@dataclass
class Beside:
    """Critical messages without a broadcast, beside it, and while it is cancelled."""

    quiet_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)
    cancelling_ms: list[float] = field(default_factory=list)
    missing: int = 0
    insert_s: float = 0.0
    cancels: list[Cancel] = field(default_factory=list)
    refused: int = 0


async def cancel_a_broadcast(
    url: str, chats: Sequence[int], seconds: float, *, few_s: float = 3.0, seed: int = 1
) -> Beside:
    """Send beside broadcasts to so many chats, one after the other, and cancel each; the first after `seconds`."""
    seen = Beside()
    phases: list[tuple[list[float], Mapping[str, float]]] = []
    cancelled_at: dict[str, tuple[float, float]] = {}
    producer, to = Producer(url, seed, "critical"), itertools.count(10_000)
    with psycopg.connect(url, autocommit=True) as connection:
        async with (
            simulator_process("--jitter-ms", "0-30", "--seed", str(seed)) as telegram,
            workers(url, telegram.url, telegram.url),
        ):
            producer.insert(10, lambda: next(to))
            await until_accepted(telegram, 10)
            async with trickle(producer, to, CRITICAL_PER_S, 0) as inserted_at:
                await asyncio.sleep(seconds)
            phases.append((seen.quiet_ms, inserted_at))
            for number_, count in enumerate(chats):
                tag = f"sale-{number_}"
                async with trickle(producer, to, CRITICAL_PER_S, 0) as inserted_at:
                    started_s = time.monotonic()
                    await asyncio.to_thread(connection.execute, _BROADCAST, [tag, tag, count])
                    seen.insert_s = seen.insert_s or time.monotonic() - started_s
                    await asyncio.sleep(few_s if number_ else seconds)
                phases.append((seen.beside_ms, inserted_at))
                async with trickle(producer, to, CRITICAL_PER_S, 0) as inserted_at:
                    await asyncio.to_thread(connection.execute, "SELECT outbox.cancel(p_tag => %s)", [tag])
                    at = time.time()
                    cancelled_at[tag] = (at, await until_none_waits(connection, tag, 120))
                phases.append((seen.cancelling_ms, inserted_at))
            await asyncio.sleep(1)
            log = await telegram.log()
            seen.refused = sum((await telegram.stats())["rejected"].values())
            for waits, phase in phases:
                waits += waits_ms(log, phase)
                seen.missing += len(phase)
            seen.missing -= len(seen.quiet_ms) + len(seen.beside_ms) + len(seen.cancelling_ms)
        for tag, (at, all_after_s) in cancelled_at.items():
            arrived = [call["arrived_at"] for call in log if str(call["text"]).startswith(f"{tag} ")]
            [states] = rows(connection, _STATES, [tag])
            seen.cancels.append(Cancel(max(0.0, max(arrived, default=at) - at), all_after_s, *states))
    producer.close()
    return seen


def _broadcast(server: Server, size: Size) -> Iterator[Figure]:
    chats = (size.of(CHATS, 2_000), FEW_CHATS)
    with server.database("broadcast") as url:
        seen = asyncio.run(cancel_a_broadcast(url, chats, size.span_s(SECONDS, 10), seed=size.seed))
    quiet_ms, beside_ms = percentile(seen.quiet_ms, 0.99), percentile(seen.beside_ms, 0.99)
    yield Figure(f"INSERT … SELECT of {chats[0]:,} messages", seen.insert_s, "s")
    yield Figure(f"critical without a broadcast, p50 of {len(seen.quiet_ms)}", percentile(seen.quiet_ms, 0.5), "ms")
    yield Figure("critical without a broadcast, p99", quiet_ms, "ms")
    yield Figure(f"critical beside it, p50 of {len(seen.beside_ms)}", percentile(seen.beside_ms, 0.5), "ms")
    yield Figure("critical beside it, p99", beside_ms, "ms", at_most=quiet_ms + CLOSE_MS)
    yield Figure("critical while it is cancelled, most", max(seen.cancelling_ms, default=0.0), "ms")
    yield Figure("critical that did not arrive", seen.missing, "", at_most=0)
    for count, cancel in zip(chats, seen.cancels, strict=True):
        words = f"cancel of {count:,}"
        yield Figure(f"{words}: the last message after the commit", cancel.last_after_s, "s", at_most=STOPS_S)
        yield Figure(f"{words}: all cancelled after the commit", cancel.all_after_s, "s")
        lost = count - cancel.sent - cancel.cancelled
        yield Figure(f"{words}: neither sent ({cancel.sent}) nor cancelled", lost, "", at_least=0, at_most=0)
    yield Figure("429s", seen.refused, "", at_most=0)


@dataclass(frozen=True)
class Told:
    """What outbox.broadcasts said at a moment, and what was true."""

    progress: float
    true_progress: float
    eta_s: float | None
    left_s: float
    """Until the last one ended."""


async def follow_a_broadcast(
    url: str,
    chats: int,
    rate: int,
    *,
    limit: int = 0,
    every_s: float = LOOK_S,
    number_of_workers: int = 2,
    seed: int = 1,
) -> tuple[list[Told], float, dict[str, Any]]:
    """Send it to its end, `rate` a second, and read its progress; `limit` is the simulator's, 0 none.

    Returns what was told, messages a second, the simulator's figures.
    """
    tag = "sale"
    told: list[tuple[float, float, float | None]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE outbox.bot SET rate = %s", [rate])
        async with (
            simulator_process("--rate", str(limit), "--seed", str(seed)) as telegram,
            workers(url, *[telegram.url] * number_of_workers),
        ):
            await _warm(connection, telegram)
            await asyncio.to_thread(connection.execute, _BROADCAST, [tag, tag, chats])
            first_at = time.time()
            waiting = chats
            while waiting:
                await asyncio.sleep(every_s)
                [(at, progress, eta_s, _, waiting)] = await asyncio.to_thread(rows, connection, _TOLD, [tag])
                told.append((at, progress, eta_s))
            stats = await telegram.stats()
        [(last_at, ended)] = rows(connection, _TRUTH, [[at for at, *_ in told], tag, tag])
    return (
        [
            Told(progress, true / chats, eta_s, last_at - at)
            for (at, progress, eta_s), true in zip(told, ended, strict=True)
        ],
        chats / (last_at - first_at),
        stats,
    )


async def _warm(connection: psycopg.Connection[Any], telegram: Simulator) -> None:
    connection.execute(_BROADCAST, ["warm", None, 200])
    await until_accepted(telegram, 200)


def eta_errors(told: Sequence[Told], left_s: float = LEFT_S) -> list[float]:
    """Return how wrong each ETA was, as a share of what was really left; of the last moments none."""
    return [abs(one.eta_s - one.left_s) / one.left_s for one in told if one.eta_s is not None and one.left_s >= left_s]


def _progress(chats: int, rate: int, limit: int) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        count = size.of(chats, 5_000)
        with server.database("progress") as url:
            told, per_s, stats = asyncio.run(follow_a_broadcast(url, count, rate, limit=limit, seed=size.seed))
        errors = eta_errors(told)
        yield Figure(f"{count:,} messages at {rate:,}/s at most: reached", per_s, "msg/s")
        wrong = max(abs(one.progress - one.true_progress) for one in told)
        yield Figure(f"error of the progress, most of {len(told)}", wrong, "share", at_most=RIGHT)
        without = sum(one.eta_s is None and one.left_s >= LEFT_S for one in told)
        yield Figure("times without an ETA", without, "", at_most=0)
        for words, share, most in (("p50", 0.5, None), ("p90", 0.9, RIGHT), ("most", 1.0, None)):
            yield Figure(
                f"error of the ETA, {words} of {len(errors)}", percentile(errors, share), "share", at_most=most
            )
        yield Figure("429s", sum(stats["rejected"].values()), "", at_most=0)

    return measure


CASES: Final[dict[str, Case]] = {
    "broadcast": _broadcast,
    "broadcast-progress": _progress(CHATS, OPEN_RATE, 0),
    "broadcast-steady": _progress(STEADY_CHATS, STEADY_RATE, 0),
    "broadcast-strict": _progress(CHATS, OPEN_RATE, OPEN_RATE),
}
