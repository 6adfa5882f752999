"""The demo: a backlog that piled up while nothing ran, delivered under strict limits; and what can be read off it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, Final

import psycopg
from psycopg.types.json import Jsonb

from outbox.operate.stage import Simulator, simulator_process, worker_processes

MESSAGES: Final = 1200
CHATS: Final = 300
BUSY_CHAT: Final = 7
BUSY_CHAT_MESSAGES: Final = 30
WEIGHTS: Final = (1, 2, 4, 3)  # of the priorities
BUSY_WEIGHTS: Final = (1, 2, 0, 0)  # begun last, its 1 message a second would be all that is left to see
RATE: Final = 30  # messages a second, Telegram's limit for a bot
WORKERS: Final = 2
PRIORITIES: Final = ("critical", "high", "normal", "low")
LONGEST_S: Final = 3 * MESSAGES / RATE + 30
LOOK_S: Final = 0.5

_BACKLOG = """
    INSERT INTO outbox.message (chat_id, payload, priority, tag)
    SELECT chat_id, payload, priority, 'demo'
      FROM jsonb_to_recordset(%s) m (chat_id text, payload jsonb, priority smallint)
"""
_WAITS = """
    SELECT priority, count(*), percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
           ORDER BY extract(epoch FROM finished_at - created_at))
      FROM outbox.history WHERE status = 'sent' GROUP BY priority ORDER BY priority
"""

# Called with (messages delivered, seconds since the start, the simulator's stats).
Show = Callable[[int, float, dict[str, Any]], None]


@dataclass
class Report:
    """What the demo showed. Waits are in seconds from insert to delivery, per priority: (messages, p50, p99)."""

    sent: int
    left: int
    dead: int
    refused: int
    most_in_1s: int
    utilisation: float
    took_s: float
    out_of_order: list[str] = field(default_factory=list)
    waits: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Every promise that was not kept; empty when all were."""
        broken = []
        if self.sent != MESSAGES or self.left or self.dead:
            broken.append(f"{MESSAGES - self.sent} of {MESSAGES} messages were not delivered")
        if self.refused:
            broken.append(f"Telegram's limits were exceeded: {self.refused} x 429")
        if self.out_of_order:
            broken.append(f"out of order in {len(self.out_of_order)} chats, first in {self.out_of_order[0]}")
        return broken


def pile_up(connection: psycopg.Connection[Any], seed: int = 1) -> None:
    """Insert the backlog: 1,200 messages to 300 chats in all priorities, 30 of them to one chat."""
    rng = random.Random(seed)
    others = [chat for chat in range(1, CHATS + 1) if chat != BUSY_CHAT]
    rest = MESSAGES - BUSY_CHAT_MESSAGES
    chats = [BUSY_CHAT] * BUSY_CHAT_MESSAGES + others * (rest // len(others)) + rng.sample(others, rest % len(others))
    rng.shuffle(chats)
    rows = [
        {
            "chat_id": str(10_000 + chat),
            "payload": {"text": f"message {number}"},
            "priority": rng.choices(range(4), weights=BUSY_WEIGHTS if chat == BUSY_CHAT else WEIGHTS)[0],
        }
        for number, chat in enumerate(chats, start=1)
    ]
    connection.execute(_BACKLOG, [Jsonb(rows)])


def lane_orders(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return for each chat the texts that wait in it, in the order in which they must arrive."""
    orders: dict[str, list[str]] = defaultdict(list)
    for chat_id, text in connection.execute(
        "SELECT chat_id, payload ->> 'text' FROM outbox.message ORDER BY chat_id, priority, next_attempt_at, id"
    ):
        orders[chat_id].append(text)
    return dict(orders)


async def deliver_backlog(database_url: str, log: IO[bytes], show: Show) -> Report:
    """Run simulator and workers on a migrated, empty database until the backlog is gone.

    `log` takes the workers' log lines. `show` is called every half second.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        pile_up(connection)
        expected = lane_orders(connection)
        async with simulator_process("--jitter-ms", "0-30") as telegram:
            started_s = time.monotonic()
            async with worker_processes(database_url, *[telegram.url] * WORKERS, log=log):
                await _watch(connection, telegram, show, started_s)
            return await _report(connection, telegram, expected, time.monotonic() - started_s)


async def _watch(
    connection: psycopg.Connection[Any],
    telegram: Simulator,
    show: Show,
    started_s: float,
) -> None:
    while True:
        left = _count(connection, "SELECT count(*) FROM outbox.message")
        stats = await telegram.stats()
        took_s = time.monotonic() - started_s
        show(MESSAGES - left, took_s, stats)
        if not left or took_s > LONGEST_S:
            return
        await asyncio.sleep(LOOK_S)


async def _report(
    connection: psycopg.Connection[Any], telegram: Simulator, expected: dict[str, list[str]], took_s: float
) -> Report:
    stats = await telegram.stats()
    arrived: dict[str, list[str]] = defaultdict(list)
    for call in await telegram.log():
        if call["verdict"] == "accepted" and call["text"] is not None:
            arrived[str(call["chat"])].append(call["text"])
    return Report(
        sent=_count(connection, "SELECT count(*) FROM outbox.history WHERE status = 'sent'"),
        left=_count(connection, "SELECT count(*) FROM outbox.message"),
        dead=_count(connection, "SELECT count(*) FROM outbox.dead_letter"),
        refused=sum(stats["rejected"].values()),
        most_in_1s=stats["max_in_1s"],
        utilisation=stats["utilisation"] or math.nan,
        took_s=took_s,
        out_of_order=[chat for chat, texts in expected.items() if arrived[chat] != texts],
        waits={priority: (count, p50, p99) for priority, count, (p50, p99) in connection.execute(_WAITS)},
    )


def _count(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
