"""The bell: one connection that listens for NOTIFY, reconnects for ever, and knows whether it can hear."""

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Any

import psycopg

from outbox.deliver.connections import AnswerLostError, Backoff, Connections, DatabaseAwayError, describe
from outbox.deliver.events import BellTested, DatabaseFailed, Emit

WAKEUP_CHANNEL = "outbox_wakeup"
SELFTEST_CHANNEL = "outbox_selftest"
SELFTEST_TIMEOUT_S = 2.0
SELFTEST_AGAIN_S = 30.0  # while deaf: a pooler may have been reconfigured, and the test is cheap
SELFTEST_REPEAT_S = 600.0  # while hearing: a connection can die without a word


class Bell:
    """Rings `ring` for each wakeup of a bot we serve, and once after each connect: what came meanwhile is unknown."""

    def __init__(
        self, connections: Connections, serves: Callable[[str], bool], ring: Callable[[], None], emit: Emit
    ) -> None:
        self._connections = connections
        self._serves = serves
        self._ring = ring
        self._emit = emit
        self._heard: dict[str, asyncio.Event] = {}
        self.works = False

    async def listen(self) -> None:
        """Runs until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self._listen_once(backoff)
            except (psycopg.Error, OSError, TimeoutError) as error:
                self.works = False
                delay_s = backoff.next_s()
                self._emit(DatabaseFailed("listen", describe(error), delay_s))
                await asyncio.sleep(delay_s)

    async def _listen_once(self, backoff: Backoff) -> None:
        """Listen on one connection until it fails or falls silent."""
        async with await self._connections.connect_alone() as connection:
            await connection.execute(f"LISTEN {WAKEUP_CHANNEL}")
            await connection.execute(f"LISTEN {SELFTEST_CHANNEL}")
            self._ring()
            tasks = [asyncio.create_task(self._hear(connection, backoff)), asyncio.create_task(self._test_for_ever())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _hear(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], backoff: Backoff) -> None:
        async for notification in connection.notifies():
            backoff.reset()
            if notification.channel == SELFTEST_CHANNEL:
                if (heard := self._heard.get(notification.payload)) is not None:
                    heard.set()
            elif not notification.payload or self._serves(notification.payload):
                self._ring()

    async def _test_for_ever(self) -> None:
        """Returns only when a bell that worked falls silent: the connection may be dead."""
        while True:
            works, worked = await self._test(), self.works
            self.works = works
            self._emit(BellTested(works))
            if works != worked:
                self._ring()  # the poll depends on it
            if worked and not works:
                return
            await asyncio.sleep(random.uniform(0.9, 1.1) * (SELFTEST_REPEAT_S if works else SELFTEST_AGAIN_S))

    async def _test(self) -> bool:
        """Whether a NOTIFY through the pool comes back here."""
        payload = secrets.token_hex(8)
        heard = self._heard[payload] = asyncio.Event()
        try:
            async with asyncio.timeout(SELFTEST_TIMEOUT_S):
                await self._connections.call("SELECT pg_notify(%s, %s)", (SELFTEST_CHANNEL, payload))
                await heard.wait()
        except (DatabaseAwayError, AnswerLostError, psycopg.Error, TimeoutError):
            return False
        else:
            return True
        finally:
            del self._heard[payload]
