"""Slots for the replies that a bot sends itself, so that they and the queue together break no limit.

    from outbox.limit import Limiter

    async with Limiter("postgresql://…", bot="default") as limiter:
        async with limiter.slot(chat_id) as slot:
            answer = await bot.send_message(chat_id, "pong")

While the database is away it keeps a share of the limits by itself, in memory, and says so (docs/replies.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg_pool import AsyncConnectionPool

from outbox.limit.clock import now_s
from outbox.limit.local_limits import Limits, LocalLimits
from outbox.limit.procedures import AWAY, CONNECTIONS, Procedures
from outbox.limit.slots import Given, Result, Slot
from outbox.limit.untold import Untold

__all__ = ["Limiter", "Result", "Slot"]

STALE_AFTER_S: Final = 0.5  # half the arrival bound; the other half is for the way to Telegram
LOOK_AGAIN_S: Final = 1.0  # while the database is away
GIVEN_AHEAD_S: Final = 2.0  # a slot that the database gave lies no further ahead
CLOSING_S: Final = 2.0
CALLS_AT_ONCE: Final = CONNECTIONS // 2  # of each kind: more would only queue up for the bucket

log = logging.getLogger("outbox.limiter")


class Limiter:
    """Waits for slots of one bot; safe for any number of tasks of one event loop."""

    def __init__(
        self,
        database: str | AsyncConnectionPool[Any],
        bot: str = "default",
        *,
        local_share: float = 0.5,
        timeout_s: float = 2.0,
        on_change: Callable[[bool, str | None], None] | None = None,
    ) -> None:
        """Take a conninfo or URL, or an open pool whose connections are in autocommit mode.

        `local_share` is the part of the limits that this process may use by itself while the database is away: with n
        processes 1/n. No call to the database is waited for longer than `timeout_s`. `on_change(local, why)` is told
        each change, beside the log. Raises ValueError for a conninfo that cannot be read or a share not in (0, 1].
        """
        if not 0 < local_share <= 1:
            raise ValueError(f"local_share is {local_share}, not above 0 and up to 1. With n processes give 1 / n.")
        self._database = Procedures(database, bot, timeout_s)
        self._bot = bot
        self._share = local_share
        self._on_change = on_change
        self._limits = Limits()
        self._local: LocalLimits | None = None
        self._given = Given()
        self._untold = Untold(self._database, self._given, bot)
        self._is_open = False
        self._coming_back: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Start connecting; does not wait for the database beyond the timeout. Does nothing when it is open."""
        if self._is_open:
            return
        self._is_open = True
        # Many tasks wait here and not for a connection, where a long wait means that there is no database. One for each
        # kind: an answer need not wait behind all who ask.
        self._asking = asyncio.Semaphore(CALLS_AT_ONCE)
        self._settling = asyncio.Semaphore(CALLS_AT_ONCE)
        await self._database.open()
        if self._local is not None:
            self._coming_back = self._database.start(self._come_back())
            return
        try:
            await self._learn_limits()
            await self._untold.bring(self._limits)
        except AWAY as error:
            self._go_local(error)

    async def close(self) -> None:
        """Bring what is on its way or owed, for two seconds at most, and disconnect. Slots that are out run out."""
        self._is_open = False
        if self._coming_back is not None:
            self._coming_back.cancel()
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(CLOSING_S):
                await self._database.finish()
                if self._local is not None:
                    await self._untold.bring(self._limits)
        await self._database.close()

    @property
    def local(self) -> bool:
        """Whether slots are given without the database just now."""
        return self._local is not None

    @contextlib.asynccontextmanager
    async def slot(self, chat_id: int | str, cost: int = 1, timeout_s: float | None = None) -> AsyncIterator[Slot]:
        """Wait for a slot, send in the block; it is settled after it. An exception counts as no answer.

        A 429 is to be told: `slot.flooded(retry_after)`. See acquire() for what is raised.
        """
        slot = await self.acquire(chat_id, cost, timeout_s)
        try:
            yield slot
        except BaseException:
            slot.result = slot.result or "fail"
            raise
        finally:
            await self.settle(slot)

    async def acquire(self, chat_id: int | str, cost: int = 1, timeout_s: float | None = None) -> Slot:
        """Wait for a slot and return when it is time to send. Call settle() once the answer is there.

        `cost` is the number of messages that the call makes. Raises TimeoutError when the slot would come later than
        `timeout_s` from now (None: wait as long as it takes), and psycopg.Error for what the database refuses: a bot
        that does not exist, a chat_id that cannot be, a missing right. RuntimeError: the limiter is not open.
        """
        give_up_s = None if timeout_s is None else now_s() + timeout_s
        chat = str(chat_id).lower()
        too_late = "" if timeout_s is None else f"no slot for chat {chat} within {round(timeout_s, 2):g} s"
        if not self._is_open:
            raise RuntimeError("the limiter is not open. Call: await limiter.open(), or: async with limiter")
        while True:
            try:
                # The wait for a turn to ask, and not the call: given up too early it could not say that nobody answers.
                async with asyncio.timeout(None if give_up_s is None else give_up_s - now_s()):
                    await self._asking.acquire()
            except TimeoutError:
                raise TimeoutError(f"{too_late}: too many ask") from None
            try:
                slot, wait_until_s = await self._ask(chat, cost)
            finally:
                self._asking.release()
            if give_up_s is not None and wait_until_s > give_up_s:
                self._give_back(slot)
                raise TimeoutError(f"{too_late}: the next one is later")
            try:
                while (wait_s := wait_until_s - now_s()) > 0:  # noqa: ASYNC110 (a time is waited for, not an event)
                    await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                self._give_back(slot)
                raise
            if slot is None:
                continue
            if now_s() > slot._due_s + STALE_AFTER_S:
                # Asleep beyond its slot: sending late would be a burst.
                self._give_back(slot)
                continue
            return slot

    async def settle(self, slot: Slot, result: Result | None = None, retry_after_s: float | None = None) -> None:
        """Say how it went: ok (default), fail (no answer, or 5xx), flood (429, with its retry_after) or unsent.

        Does nothing the second time. Waits for the database no longer than the timeout; an answer that it could not be
        told is brought when it is back. Raises ValueError for a retry_after that is none.
        """
        if slot._settled:
            return
        result = result or slot.result or "ok"
        retry_after_s = slot.retry_after_s if retry_after_s is None else retry_after_s
        answered_s = now_s()
        slot._answer(result, retry_after_s, answered_s)
        if slot._ticket is None:
            self._settle_locally(slot, result, retry_after_s, answered_s)
            return
        owed = (slot._ticket, answered_s, result, retry_after_s)
        async with self._settling:
            if self._local is None:
                try:
                    await self._database.settle(*owed)
                except AWAY as error:
                    self._go_local(error)
                else:
                    return
        self._untold.answer(*owed)
        if result == "flood" and self._local is not None:
            self._local.block(slot.chat_id, answered_s + (retry_after_s or 1.0), answered_s)

    async def _ask(self, chat_id: str, cost: int) -> tuple[Slot | None, float]:
        """Return a slot and its time; or None and when to ask again."""
        if not self._is_open:
            raise RuntimeError("the limiter is closed")
        if self._local is None:
            try:
                ticket, at_s = await self._database.acquire(chat_id, cost)
            except AWAY as error:
                self._go_local(error)
            else:
                if ticket is None:
                    return None, at_s
                return self._give(Slot(chat_id, cost, False, _due_s=at_s, _ticket=ticket)), at_s
        if self._local is None:
            raise RuntimeError("the limiter is closed")
        asked_s = now_s()
        taken = self._local.take(chat_id, cost, asked_s)
        if isinstance(taken, float):
            # Looked at again soon: the database may be back.
            return None, min(taken, asked_s + LOOK_AGAIN_S)
        due_s, tokens = taken
        return self._give(Slot(chat_id, cost, True, _due_s=due_s, _tokens=tokens)), due_s

    def _give(self, slot: Slot) -> Slot:
        self._given.add(slot, self._limits, now_s())
        return slot

    def _settle_locally(self, slot: Slot, result: Result, retry_after_s: float | None, answered_s: float) -> None:
        if self._local is not None:
            wait_s = (1.0 if retry_after_s is None else retry_after_s) if result == "flood" else 0.0
            self._local.settle(slot.chat_id, slot._due_s, slot._tokens, answered_s, wait_s, result != "unsent")
            if result == "flood":
                self._untold.flood(slot.chat_id, answered_s + wait_s)

    def _give_back(self, slot: Slot | None) -> None:
        if slot is not None:
            self._database.start(self.settle(slot, "unsent"))

    async def _learn_limits(self) -> None:
        self._limits = await self._database.limits() or self._limits

    def _go_local(self, error: BaseException) -> None:
        if self._local is not None or not self._is_open:
            return
        # Slots that the database gave before it went may lie ahead, and count for one window.
        window_s = max(self._limits.rate_window_s, self._limits.chat_interval_s)
        quiet_until_s = self._database.contact_s + GIVEN_AHEAD_S + window_s
        self._local = LocalLimits(self._limits.scaled(self._share), quiet_until_s)
        # A group's window is too long to be quiet for: what went there from here counts on.
        for slot in self._given.counting(self._limits, now_s()):
            self._local.count(slot.chat_id, slot.cost, slot._sent_by_s)
        self._say(
            True, f"{type(error).__name__}: the database is away, {self._share:.0%} of the limits are kept locally"
        )
        self._coming_back = self._database.start(self._come_back())

    async def _come_back(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S * random.uniform(0.5, 1.0))
            try:
                await self._learn_limits()
                await self._untold.bring(self._limits)
            except AWAY:
                continue
            except psycopg.Error as error:  # the callers are to hear it
                log.warning("outbox limiter of bot %s: %s", self._bot, type(error).__name__)
            self._local = None
            self._say(False, None)
            return

    def _say(self, local: bool, why: str | None) -> None:
        if local:
            log.warning("outbox limiter of bot %s: %s", self._bot, why)
        else:
            log.info("outbox limiter of bot %s: the database is back", self._bot)
        if self._on_change is not None:
            with contextlib.suppress(Exception):
                self._on_change(local, why)
