"""Steady load and the deaths of workers: strict limits, up to 4 workers, jitter, restarts and frozen processes. No 429.

Real worker processes and a real simulator with Telegram's limits (30/s per bot, 1/s per chat). The simulator's ledger
is the judge: 429s; most arrivals in any second; most requests to one chat open at once; chats whose messages came in
another order than (priority, next_attempt_at, id); and the utilisation of the limit, over the middle 80 % of a run.

Loads: 30 s of 600 chats with mixed priorities, more than can be sent. The rest deliver a backlog to its end:
`first-second` and critical first after a start, `restart` (SIGTERM, a new process), `kill` (SIGKILL of one of two; its
lanes must go on within lease, 20 s, and a heartbeat of the other, 5 s), `freeze` (SIGSTOP for 5 s).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.delivery import Verdict, fill, judge, stats_between, until_accepted
from bench.figure import Figure
from bench.server import Server
from bench.stories import CRITICAL, RATE, freeze, kill, restart, start_after_downtime
from bench.workers import workers
from outbox.operate.demo import lane_orders
from outbox.operate.stage import simulator_process

CHATS: Final = 600
SECONDS: Final = 30.0
RESUME_S: Final = 25.0
"""A lease of 20 s that was just renewed, and up to 5 s until another worker's heartbeat reaps."""


def verdict_figures(label: str, verdict: Verdict, *, all_delivered: bool) -> Iterator[Figure]:
    """Return what every run is judged by."""
    yield Figure(f"{label}: 429s", verdict.refused, "", at_most=0)
    yield Figure(f"{label}: most in 1 s", verdict.max_in_1s, "", at_most=RATE)
    yield Figure(f"{label}: most in flight per chat", verdict.max_in_flight, "", at_most=1)
    yield Figure(f"{label}: chats out of order", len(verdict.out_of_order), "", at_most=0)
    if all_delivered:
        yield Figure(f"{label}: not delivered", verdict.missing, "", at_most=0)


def _load(label: str, least: float, jitter_ms: str, *prefixes: str) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        with server.database("load") as url:
            verdict, middle, left = asyncio.run(_deliver_for(url, size.span_s(SECONDS, 10), jitter_ms, prefixes))
        yield Figure(f"{label}: utilisation", middle["utilisation"], "", at_least=least)
        yield from verdict_figures(label, verdict, all_delivered=False)
        yield Figure(f"{label}: messages left at the end", left, "", at_least=CHATS)

    return measure


async def _deliver_for(
    url: str, seconds: float, jitter_ms: str, prefixes: tuple[str, ...]
) -> tuple[Verdict, dict[str, Any], int]:
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=round(RATE * seconds * 1.05) + 3 * CHATS, chats=CHATS)
        expected = lane_orders(connection)
        async with simulator_process("--jitter-ms", jitter_ms) as telegram:
            async with workers(url, *(telegram.url + prefix for prefix in prefixes)):
                first_at = (await until_accepted(telegram, 1))["first_at"]
                await asyncio.sleep(first_at + seconds - time.time())
            middle = await stats_between(telegram, first_at + 0.1 * seconds, first_at + 0.9 * seconds)
            left = connection.execute("SELECT FROM outbox.message").rowcount
            return await judge(telegram, expected), middle, left


def _first_second(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("first") as url:
        verdict, in_first_second, last_critical = asyncio.run(start_after_downtime(url, size.of(300, 60)))
    yield Figure("start: arrivals in the first second", in_first_second, "", at_most=RATE)
    yield Figure("start: place of the last of 20 critical (2 are reserved)", last_critical, "", at_most=CRITICAL + 2)
    yield from verdict_figures("start", verdict, all_delivered=True)


def _restart(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("restart") as url:
        yield from verdict_figures("restart", asyncio.run(restart(url, size.of(600, 60))), all_delivered=True)


def _kill(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("kill") as url:
        verdict, held, resumed_s = asyncio.run(kill(url, size.of(900, 100)))
    yield Figure("kill: lanes the dead worker held", held, "", at_least=1)
    yield Figure("kill: until the last of them went on", resumed_s, "s", at_most=RESUME_S)
    yield Figure("kill: messages that arrived twice", verdict.repeated, "", at_most=held)
    yield from verdict_figures("kill", verdict, all_delivered=True)


def _freeze(number: int) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        with server.database("freeze") as url:
            verdict = asyncio.run(freeze(url, size.of(600, 100), number))
        yield from verdict_figures(f"freeze, 1 of {number}", verdict, all_delivered=True)

    return measure


CASES: Final[dict[str, Case]] = {
    "1-worker": _load("1 worker", 0.98, "0-0", ""),
    "1-worker-jitter": _load("1 worker, 0-30 ms", 0.97, "0-30", ""),
    "4-workers": _load("4 workers", 0.98, "0-0", *[""] * 4),
    "4-workers-jitter": _load("4 workers, 0-30 ms", 0.97, "0-30", *[""] * 4),
    "2-far-workers": _load("2 workers, 20 and 300 ms away", 0.85, "0-0", "/delay/20", "/delay/300"),
    "first-second": _first_second,
    "restart": _restart,
    "kill": _kill,
    "freeze-1-of-1": _freeze(1),
    "freeze-1-of-2": _freeze(2),
}
