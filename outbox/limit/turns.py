"""A bot's own calls: in a chat one after another, each in its slot, and again after a 429."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import psycopg

from outbox.limit.clock import now_s
from outbox.limit.counted import Counted
from outbox.limit.limiter import Limiter
from outbox.limit.slots import RETRY_AFTER_MAX_S, Result, Slot

MAX_RETRIES: Final = 3  # a 429 again and again says something else than "too fast"

log = logging.getLogger("outbox.limiter")

T = TypeVar("T")

# The first part of an album that fails gives the whole its answer: a 400 that quotes the part's.
_PART_FLOODED: Final = re.compile(r'[^"]*failed to \w+ \w+ #\d+[^"]*"too many requests: retry after (\d{1,8})"', re.I)


@dataclass(frozen=True, slots=True)
class End:
    """How a call ended that raised."""

    result: Result
    retry_after_s: float | None = None
    again: bool = False
    """Nothing of it was executed, and it may go again."""


Judge = Callable[[BaseException], End]


def flooded(retry_after_s: float) -> End:
    """A 429 with this retry_after."""
    return End("flood", _bounded(retry_after_s), again=True)


def refused(text: str) -> End:
    """Another answer of Telegram's. The flood of a part is its chat's; the other parts may have been sent."""
    part = _PART_FLOODED.match(text)
    return End("ok") if part is None else End("flood", _bounded(float(part.group(1))))


def _bounded(retry_after_s: float) -> float:
    return min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S)


class Turns:
    """The calls of one bot in one process."""

    def __init__(self, limiter: Limiter, max_retries: int = MAX_RETRIES, timeout_s: float | None = None) -> None:
        """`max_retries` is how often a call goes again after a 429, `timeout_s` how long it waits in all.

        Raises ValueError when `max_retries` is negative.
        """
        if max_retries < 0:
            raise ValueError(f"max_retries is {max_retries}. Give 0 to have each 429 raised, or more to send again.")
        self._limiter = limiter
        self._max_retries = max_retries
        self._timeout_s = timeout_s
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self, call: Counted | None, send: Callable[[], Awaitable[T]], judge: Judge, max_retries: int | None = None
    ) -> T:
        """Send when it is the call's turn and return its answer; a call that does not count goes at once.

        What `send` raises is raised as it is, a 429 once its retries or its time are used up. Raises TimeoutError when
        the turn does not come in time, and what Limiter.acquire raises.
        """
        if call is None:
            return await send()
        give_up_s = None if self._timeout_s is None else now_s() + self._timeout_s
        left = self._max_retries if max_retries is None else max_retries
        async with self._lane(call, give_up_s):
            slot = await self._slot(call, give_up_s)
            while True:
                try:
                    answer = await send()
                except BaseException as error:
                    end = judge(error)
                    await self._settle(call, slot, end)
                    if not end.again or left <= 0:
                        raise
                    left -= 1
                    log.info("outbox limiter: 429 in %s, to be sent again in %s s", call.lane, end.retry_after_s)
                    with contextlib.suppress(TimeoutError):
                        await self._pause(call, end, give_up_s)
                        slot = await self._slot(call, give_up_s)
                        continue
                    raise
                else:
                    await self._settle(call, slot, End("ok"))
                    return answer

    @contextlib.asynccontextmanager
    async def _lane(self, call: Counted, give_up_s: float | None) -> AsyncIterator[None]:
        # Kept alive by those who hold or wait for it. First come, first served.
        lane = self._lanes.setdefault(call.lane, asyncio.Lock())
        try:
            async with asyncio.timeout(_left_s(give_up_s)):
                await lane.acquire()
        except TimeoutError:
            message = f"no turn in {call.lane} within {self._timeout_s:g} s: earlier calls wait"
            raise TimeoutError(message) from None
        try:
            yield
        finally:
            lane.release()

    async def _slot(self, call: Counted, give_up_s: float | None) -> Slot | None:
        if call.chat_id is None:
            return None
        return await self._limiter.acquire(call.chat_id, call.cost, _left_s(give_up_s))

    async def _settle(self, call: Counted, slot: Slot | None, end: End) -> None:
        if slot is None:
            return
        try:
            await self._limiter.settle(slot, end.result, end.retry_after_s)
        except psycopg.Error as error:  # what was sent was sent, and an error is the library's
            log.warning("outbox limiter: %s: the slot of a call in %s runs out", type(error).__name__, call.lane)

    async def _pause(self, call: Counted, end: End, give_up_s: float | None) -> None:
        """Wait out a 429 where no slot does."""
        if call.chat_id is not None or end.retry_after_s is None:
            return
        if give_up_s is not None and now_s() + end.retry_after_s > give_up_s:
            raise TimeoutError
        await asyncio.sleep(end.retry_after_s)


def _left_s(give_up_s: float | None) -> float | None:
    return None if give_up_s is None else give_up_s - now_s()
