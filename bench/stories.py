"""What can happen to workers in the middle of a backlog; `bench load` runs them long, tests/story short."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

import psycopg

from bench.delivery import Verdict, fill, judge, lanes_of, until_accepted, until_empty
from bench.workers import one_more, workers
from outbox.operate.demo import lane_orders
from outbox.operate.stage import Simulator, simulator_process, stop_process

RATE: Final = 30
FROZEN_S: Final = 5.0
CRITICAL: Final = 20


async def start_after_downtime(url: str, messages: int) -> tuple[Verdict, int, int]:
    """Deliver a backlog, 20 of it critical.

    Returns verdict, arrivals in the first second, and the place of the last critical one among the arrivals.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=messages - CRITICAL, chats=messages // 2, priorities=[1, 2, 3])
        fill(connection, messages=CRITICAL, chats=CRITICAL, priorities=[0], first_chat=20_000)
        expected = lane_orders(connection)
        async with simulator_process() as telegram, workers(url, telegram.url):
            first_at = (await until_accepted(telegram, 1))["first_at"]
            await until_empty(connection, 60)
            log = [call for call in await telegram.log() if call["verdict"] == "accepted" and call["text"]]
            return (
                await judge(telegram, expected),
                sum(call["arrived_at"] < first_at + 1 for call in log),
                max(place for place, call in enumerate(log, start=1) if int(call["chat"]) >= 20_000),
            )


async def restart(url: str, messages: int) -> Verdict:
    """Stop the only worker by SIGTERM in the middle and start another at once."""
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=messages, chats=messages // 2)
        expected = lane_orders(connection)
        async with simulator_process("--jitter-ms", "0-30") as telegram, workers(url, telegram.url) as running:
            await until_accepted(telegram, messages // 2)
            await stop_process(running[0])
            running.append(await one_more(url, telegram.url, "restarted"))
            await until_empty(connection, messages / RATE + 60)
            return await judge(telegram, expected)


async def kill(url: str, messages: int, *, end_lease: bool = False) -> tuple[Verdict, int, float]:
    """SIGKILL one of two workers. Returns verdict, lanes it held, and the seconds until the last of them went on.

    `end_lease` lets its lease run out at once instead of in 20 s: the other's next heartbeat reaps it.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=messages, chats=messages // 2)
        expected = lane_orders(connection)
        # The far worker has requests under way whenever it dies.
        async with (
            simulator_process("--jitter-ms", "0-30") as telegram,
            workers(url, telegram.url + "/delay/300", telegram.url) as running,
        ):
            await until_accepted(telegram, messages // 4)
            while not lanes_of(connection, running[0].pid):
                await asyncio.sleep(0.01)
            signal_at = time.time()
            running[0].kill()
            await running[0].wait()
            held = lanes_of(connection, running[0].pid)
            if end_lease:
                connection.execute(
                    "UPDATE outbox.worker SET lease_until = outbox.clock() WHERE pid = %s AND ended_at IS NULL",
                    [running[0].pid],
                )
            await until_empty(connection, messages / RATE + 60)
            return await judge(telegram, expected), len(held), await _resumed_s(telegram, held, signal_at)


async def _resumed_s(telegram: Simulator, chats: list[str], killed_at: float) -> float:
    """Return the seconds until each of the chats had got something again; what was under way then does not count."""
    again: dict[str, float] = {}
    for call in await telegram.log():
        if call["chat"] in chats and call["arrived_at"] > killed_at + 0.5:
            again.setdefault(str(call["chat"]), call["arrived_at"] - killed_at)
    return max(again.values(), default=0.0)


async def freeze(url: str, messages: int, number: int) -> Verdict:
    """SIGSTOP the first of `number` workers for 5 s in the middle."""
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=messages, chats=messages // 2)
        expected = lane_orders(connection)
        async with (
            simulator_process("--jitter-ms", "0-30") as telegram,
            workers(url, *[telegram.url] * number) as running,
        ):
            await until_accepted(telegram, messages // 4)
            running[0].send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(FROZEN_S)
            finally:
                running[0].send_signal(signal.SIGCONT)
            await until_empty(connection, messages / RATE + 60)
            return await judge(telegram, expected)


async def deliver(url: str, messages: int, jitter_ms: str, *prefixes: str) -> Verdict:
    """Deliver a backlog to its end with a worker behind each of these simulator prefixes."""
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, messages=messages, chats=messages // 2)
        expected = lane_orders(connection)
        async with simulator_process("--jitter-ms", jitter_ms) as telegram:
            async with workers(url, *(telegram.url + prefix for prefix in prefixes)):
                await until_empty(connection, messages / RATE + 60)
            return await judge(telegram, expected)
