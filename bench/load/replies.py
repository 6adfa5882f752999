"""A bot that answers its users by itself: a slot by outbox.acquire, one call to the Bot API, outbox.settle."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from psycopg_pool import AsyncConnectionPool

from outbox.operate.stage import TOKEN

CONNECTIONS: Final = 8
_ACQUIRE: Final = "CALL outbox.acquire('default', %s::text, 1, NULL, NULL, NULL)"
_SETTLE: Final = "CALL outbox.settle(%s::bigint, %s::float8, %s::text, %s::float8)"
LATE_S: Final = 0.5  # acquire: a slot is good for half a second, then it goes back


class Replies:
    """Replies begin `per_s` times a second, at random like users write; at most one waits in each chat."""

    def __init__(self, url: str, api_url: str, chat: Callable[[], int], per_s: float, seed: int) -> None:
        self._url = url
        self._api_url = api_url
        self._chat = chat
        self._per_s = per_s
        self._rng = random.Random(f"replies {seed}")
        self._numbers = itertools.count(1)
        self._waiting: set[int] = set()
        self.sent: set[str] = set()
        """Texts."""
        self.given_back = 0
        self.asked = 0
        """Calls of acquire."""
        self.waits_s: list[float] = []
        """From the wish to reply until its slot."""

    async def run(self, seconds: float) -> None:
        """Reply for so long, then finish what has begun."""
        pool = AsyncConnectionPool(
            self._url, min_size=CONNECTIONS, max_size=CONNECTIONS, open=False, kwargs={"autocommit": True}
        )
        connector = aiohttp.TCPConnector(limit=0)
        async with pool, aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as replies:
            until_s = time.monotonic() + seconds
            next_s = time.monotonic()
            while next_s < until_s:
                await asyncio.sleep(next_s - time.monotonic())
                next_s += self._rng.expovariate(self._per_s)
                chat = self._chat()
                while chat in self._waiting:
                    chat = self._chat()
                self._waiting.add(chat)
                replies.create_task(self._reply(pool, session, chat))

    async def _reply(self, pool: AsyncConnectionPool[Any], session: aiohttp.ClientSession, chat: int) -> None:
        try:
            while True:
                ticket, go_s = await self._acquire(pool, chat)
                await asyncio.sleep(go_s - time.monotonic())
                if time.monotonic() - go_s <= LATE_S:
                    break
                self.given_back += 1
                await self._settle(pool, ticket, 0.0, "unsent", None)
            text = f"reply {next(self._numbers)}"
            self.sent.add(text)
            async with session.post(
                f"{self._api_url}/bot{TOKEN}/sendMessage", json={"chat_id": chat, "text": text}
            ) as response:
                answered_s = time.monotonic()
                answer = await response.json()
            retry_after_s = answer["parameters"]["retry_after"] if response.status == 429 else None
            result = "ok" if response.status == 200 else "flood" if response.status == 429 else "fail"
            await self._settle(pool, ticket, time.monotonic() - answered_s, result, retry_after_s)
        finally:
            self._waiting.discard(chat)

    async def _settle(
        self, pool: AsyncConnectionPool[Any], ticket: int, age_s: float, result: str, retry_after_s: float | None
    ) -> None:
        async with pool.connection() as connection:
            await connection.execute(_SETTLE, [ticket, age_s, result, retry_after_s])

    async def _acquire(self, pool: AsyncConnectionPool[Any], chat: int) -> tuple[int, float]:
        """Ask until there is a ticket; return it and when, on the monotonic clock, its slot is."""
        wished_s = time.monotonic()
        while True:
            self.asked += 1
            async with pool.connection() as connection:
                cursor = await connection.execute(_ACQUIRE, [str(chat)])
                row = await cursor.fetchone()
            answered_s = time.monotonic()
            assert row is not None
            ticket, _, delay_s = row
            if ticket is not None:
                self.waits_s.append(answered_s + float(delay_s) - wished_s)
                return int(ticket), answered_s + float(delay_s)
            await asyncio.sleep(float(delay_s))
