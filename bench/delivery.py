"""A backlog, real workers and a strict simulator; and what the simulator saw of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import psycopg
from psycopg.types.json import Jsonb

from outbox.operate.stage import Simulator

LOOK_S: Final = 0.1

_FILL: Final = """
    INSERT INTO outbox.message (chat_id, payload, priority)
    SELECT chat_id, payload, priority FROM jsonb_to_recordset(%s) m (chat_id text, payload jsonb, priority smallint)
"""


def fill(
    connection: psycopg.Connection[Any],
    *,
    messages: int,
    chats: int,
    priorities: Sequence[int] = (0, 1, 2, 3),
    first_chat: int = 10_000,
    seed: int = 1,
) -> None:
    """Insert messages round the chats, in priorities drawn from `priorities`, in one statement."""
    rng = random.Random(seed)
    rows = [
        {
            "chat_id": str(first_chat + number % chats),
            "payload": {"text": f"message {first_chat}-{number}"},
            "priority": rng.choice(priorities),
        }
        for number in range(messages)
    ]
    connection.execute(_FILL, [Jsonb(rows)])


@dataclass(frozen=True)
class Verdict:
    """What the simulator saw, against what waited when it began."""

    refused: int  # 429s
    max_in_1s: int
    max_in_flight: int  # requests to one chat open at once
    out_of_order: tuple[str, ...]  # chats
    missing: int  # messages that never arrived
    repeated: int  # arrivals of a text that had arrived before: at-least-once after a worker's death


async def judge(telegram: Simulator, expected: Mapping[str, Sequence[str]]) -> Verdict:
    """Compare what arrived with `expected`, texts by chat in order; a chat may be underway, but not out of order."""
    stats = await telegram.stats()
    arrived: dict[str, list[str]] = defaultdict(list)
    for call in await telegram.log():
        if call["verdict"] == "accepted" and call["text"] is not None:
            arrived[str(call["chat"])].append(call["text"])
    # The same text twice in a row is a repetition, which the chat's order survives.
    once = {chat: [text for text, _ in itertools.groupby(texts)] for chat, texts in arrived.items()}
    wrong = [chat for chat, texts in expected.items() if once.get(chat, []) != list(texts[: len(once.get(chat, []))])]
    return Verdict(
        refused=sum(stats["rejected"].values()),
        max_in_1s=stats["max_in_1s"],
        max_in_flight=stats["max_in_flight_per_chat"],
        out_of_order=tuple(wrong),
        missing=sum(len(set(texts) - set(arrived[chat])) for chat, texts in expected.items()),
        repeated=sum(len(texts) - len(set(texts)) for texts in arrived.values()),
    )


async def stats_between(telegram: Simulator, after: float, before: float) -> dict[str, Any]:
    """Return the simulator's figures of a span of unix times."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{telegram.url}/_sim/stats", params={"after": str(after), "before": str(before)}) as answer,
    ):
        answer.raise_for_status()
        return dict(json.loads(await answer.text()))


async def faults(telegram: Simulator) -> list[dict[str, Any]]:
    """Return the rules in force with what they did so far."""
    async with aiohttp.ClientSession() as session, session.get(f"{telegram.url}/_sim/faults") as answer:
        answer.raise_for_status()
        return list(await answer.json())


async def clear_faults(telegram: Simulator) -> None:
    """End every fault and what it began."""
    async with aiohttp.ClientSession() as session, session.delete(f"{telegram.url}/_sim/faults") as answer:
        answer.raise_for_status()


async def until_accepted(telegram: Simulator, count: int, timeout_s: float = 30.0) -> dict[str, Any]:
    """Wait until the simulator has accepted so many calls; return its figures. Raises TimeoutError."""
    return await _until(telegram, "accepted", count, timeout_s)


async def until_broken(telegram: Simulator, count: int, timeout_s: float = 30.0) -> dict[str, Any]:
    """Wait until its faults have hit so many calls; return its figures. Raises TimeoutError."""
    return await _until(telegram, "errors", count, timeout_s)


async def _until(telegram: Simulator, figure: str, count: int, timeout_s: float) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while (stats := await telegram.stats())[figure] < count:
            await asyncio.sleep(LOOK_S)
        return stats


async def until_empty(connection: psycopg.Connection[Any], timeout_s: float) -> float:
    """Wait until no message is left; return the seconds it took. Raises TimeoutError."""
    started_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while connection.execute("SELECT FROM outbox.message LIMIT 1").rowcount:
            await asyncio.sleep(LOOK_S)
    return time.monotonic() - started_s


def lanes_of(connection: psycopg.Connection[Any], pid: int) -> list[str]:
    """Return the chats in flight for the worker process of that id on this machine."""
    return [
        str(chat)
        for (chat,) in connection.execute(
            "SELECT c.chat_id FROM outbox.chat c JOIN outbox.worker w ON w.id = c.worker WHERE w.pid = %s", [pid]
        )
    ]
