"""The loop that most bots have instead of an outbox: send, sleep when told to, log what fails and go on.

It keeps 30 messages a second by sleeping between them, does not wait for one answer before it sends the next, and waits
out a 429 as told, five times. Any other failure is logged by its author and never looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from outbox.operate.stage import TOKEN, Simulator

PACE_S: Final = 1 / 30
TRIES: Final = 5
TIMEOUT_S: Final = 5.0  # python-telegram-bot's default


@dataclass(frozen=True)
class NaiveOutcome:
    """What became of its messages."""

    delivered_share: float
    duplicates: int


async def run_naive(telegram: Simulator, messages: Sequence[tuple[str, str]]) -> NaiveOutcome:
    """Send (chat, text) in turn until each was sent or given up; ask the simulator what arrived."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        sending = []
        for chat, text in messages:
            sending.append(asyncio.create_task(_send(session, telegram.url, chat, text)))
            await asyncio.sleep(PACE_S)
        await asyncio.gather(*sending)
    # What stalls is executed all the same.
    await asyncio.sleep(TIMEOUT_S)
    executed = [call["text"] for call in await telegram.log() if call["made"]]
    delivered = set(executed) & {text for _, text in messages}
    return NaiveOutcome(len(delivered) / len(messages), len(executed) - len(set(executed)))


async def _send(session: aiohttp.ClientSession, url: str, chat: str, text: str) -> None:
    for _ in range(TRIES):
        try:
            async with session.post(
                f"{url}/bot{TOKEN}/sendMessage", json={"chat_id": int(chat), "text": text}
            ) as response:
                answer: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return
        if response.status != 429:
            return
        await asyncio.sleep(answer["parameters"]["retry_after"])
