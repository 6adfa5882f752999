"""What the database could not be told while it was away, and what was sent without it: it counts when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

import psycopg

from outbox.limit.clock import now_s
from outbox.limit.local_limits import Limits, is_group
from outbox.limit.procedures import AWAY, Procedures
from outbox.limit.slots import Given, Result, Slot

KEPT_ANSWERS: Final = 1000
COUNTING_S: Final = 3.0  # a chat that cools is asked again for so long
COST_MAX: Final = 100  # of one call of acquire

log = logging.getLogger("outbox.limiter")


class Untold:
    """Answers to slots that the database gave, local sends and local 429s, until bring() has told them."""

    def __init__(self, database: Procedures, given: Given, bot: str) -> None:
        self._database = database
        self._given = given
        self._bot = bot
        self._answers: deque[tuple[int, float, Result, float | None]] = deque(maxlen=KEPT_ANSWERS)
        self._floods: dict[str, float] = {}

    def answer(self, ticket: int, answered_s: float, result: Result, retry_after_s: float | None) -> None:
        """Keep how a slot of the database went."""
        self._answers.append((ticket, answered_s, result, retry_after_s))

    def flood(self, chat_id: str, until_s: float) -> None:
        """Keep until when a chat waits because of a 429 to a local slot."""
        self._floods[chat_id] = until_s

    async def bring(self, limits: Limits) -> None:
        """Tell all of it. Raises one of AWAY: what is left is told the next time."""
        ask_until_s = now_s() + COUNTING_S
        while True:  # slots are given and settled meanwhile
            if self._answers:
                await self._unless_refused(self._database.settle(*self._answers[0]))
                self._answers.popleft()
            elif unknown := self._unknown(limits):
                # All of a chat at once: after one of them it would cool. Where it does, only a group counts for longer.
                chat_id = unknown[0].chat_id
                cost = min(sum(slot.cost for slot in unknown), COST_MAX)
                last_ask_s = ask_until_s if is_group(chat_id) else 0.0
                await self._unless_refused(self._count(chat_id, cost, "ok", None, last_ask_s))
                for slot in unknown:
                    slot._counted = True
            elif self._floods:
                chat_id, until_s = next(iter(self._floods.items()))
                await self._unless_refused(self._count(chat_id, 1, "flood", until_s, ask_until_s))
                del self._floods[chat_id]
            else:
                return

    def _unknown(self, limits: Limits) -> list[Slot]:
        """Some chat's slots that still count and that the database does not know."""
        unknown = [slot for slot in self._given.counting(limits, now_s()) if not slot._counted]
        return [slot for slot in unknown if slot.chat_id == unknown[0].chat_id]

    async def _count(
        self, chat_id: str, cost: int, result: Result, flood_until_s: float | None, ask_until_s: float
    ) -> None:
        while flood_until_s is None or flood_until_s > now_s():
            ticket, at_s = await self._database.acquire(chat_id, cost)
            if ticket is not None:
                wait_s = None if flood_until_s is None else max(flood_until_s - now_s(), 0.0)
                await self._database.settle(ticket, now_s(), result, wait_s)
                return
            if at_s > ask_until_s:
                return  # the chat waits anyway
            await asyncio.sleep(at_s - now_s())

    async def _unless_refused(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except AWAY:
            raise
        except psycopg.Error as error:  # the database is there, and would refuse it the next time too
            log.warning("outbox limiter of bot %s: %s, not told again", self._bot, type(error).__name__)
