"""Slots for the replies that a bot sends itself, so that they and the queue together break no limit.

    from outbox.accept.limiter import Limiter

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
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from outbox.accept.local_limits import Limits, LocalLimits, is_group
from outbox.accept.slots import Given, Result, Slot

__all__ = ["Limiter", "Result", "Slot"]

Params = tuple[Any, ...]

STALE_AFTER_S: Final = 0.5  # half the arrival bound; the other half is for the way to Telegram
LOOK_AGAIN_S: Final = 1.0  # while the database is away
GIVEN_AHEAD_S: Final = 2.0  # a slot that the database gave lies no further ahead
OWED_SETTLEMENTS: Final = 1000
COUNTING_S: Final = 3.0  # a chat that cools is asked again for so long
COST_MAX: Final = 100  # of one call of acquire
CLOSING_S: Final = 2.0
CALLS_AT_ONCE: Final = 2  # of each kind: more would only queue up for the bucket

# The database cannot be had; what it says about the call itself goes to the caller. A demoted primary is no database.
AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    OSError,
    TimeoutError,
)

log = logging.getLogger("outbox.limiter")

if hasattr(time, "CLOCK_BOOTTIME"):

    def _now_s() -> float:
        """Seconds on a clock that only runs forward, also while the machine sleeps: slots go stale meanwhile."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover
    _now_s = time.monotonic


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
        if isinstance(database, str):
            try:
                conninfo_to_dict(database)
            except psycopg.ProgrammingError:  # its text quotes the conninfo, password included
                raise ValueError("the conninfo cannot be read. Use postgresql://USER:PASSWORD@HOST/NAME") from None
            self._own_pool: AsyncConnectionPool[Any] | None = AsyncConnectionPool(
                database,
                kwargs={"autocommit": True, "prepare_threshold": None, "application_name": "outbox limiter"},
                min_size=1,
                max_size=2 * CALLS_AT_ONCE,
                open=False,
                reconnect_timeout=4.0,
                name="outbox limiter",
            )
            self._pool = self._own_pool
        else:
            self._own_pool, self._pool = None, database
        self._bot = bot
        self._share = local_share
        self._timeout_s = timeout_s
        self._on_change = on_change
        self._limits = Limits()
        self._local: LocalLimits | None = None
        self._given = Given()
        self._local_floods: dict[str, float] = {}
        self._owed: deque[tuple[int, float, Result, float | None]] = deque(maxlen=OWED_SETTLEMENTS)
        self._contact_s = _now_s()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._coming_back: asyncio.Task[None] | None = None
        # Many tasks wait here and not for a connection, where a long wait means that there is no database. One for each
        # kind: an answer need not wait behind all who ask.
        self._asking = asyncio.Semaphore(CALLS_AT_ONCE)
        self._settling = asyncio.Semaphore(CALLS_AT_ONCE)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Start connecting; does not wait for the database beyond the timeout."""
        if self._own_pool is not None:
            await self._own_pool.open(wait=False)
        try:
            await self._learn_limits()
        except AWAY as error:
            self._go_local(error)

    async def close(self) -> None:
        """Bring what is on its way or owed, for two seconds at most, and disconnect. Slots that are out run out."""
        if self._coming_back is not None:
            self._coming_back.cancel()
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(CLOSING_S):
                while self._tasks:
                    await asyncio.wait(self._tasks)
                if self._local is not None:
                    await self._account()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._own_pool is not None:
            await self._own_pool.close(timeout=1.0)

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
        that does not exist, a chat_id that cannot be, a missing right.
        """
        give_up_s = None if timeout_s is None else _now_s() + timeout_s
        chat = str(chat_id).lower()
        while True:
            try:
                # The wait for a turn to ask, and not the call: given up too early it could not say that nobody answers.
                async with asyncio.timeout(None if give_up_s is None else give_up_s - _now_s()):
                    await self._asking.acquire()
            except TimeoutError:
                raise TimeoutError(f"no slot for chat {chat} within {timeout_s:g} s: too many ask") from None
            try:
                slot, wait_until_s = await self._ask(chat, cost)
            finally:
                self._asking.release()
            if give_up_s is not None and wait_until_s > give_up_s:
                self._give_back(slot)
                raise TimeoutError(f"no slot for chat {chat} within {timeout_s:g} s: the next one is later")
            try:
                while (wait_s := wait_until_s - _now_s()) > 0:  # noqa: ASYNC110 (a time is waited for, not an event)
                    await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                self._give_back(slot)
                raise
            if slot is None:
                continue
            if _now_s() > slot._due_s + STALE_AFTER_S:
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
        answered_s = _now_s()
        slot._answer(result, retry_after_s, answered_s)
        if slot._ticket is None:
            self._settle_locally(slot, result, retry_after_s, answered_s)
            return
        owed = (slot._ticket, answered_s, result, retry_after_s)
        async with self._settling:
            if self._local is None:
                try:
                    await self._settle_ticket(*owed)
                except AWAY as error:
                    self._go_local(error)
                else:
                    return
        self._owed.append(owed)
        if result == "flood" and self._local is not None:
            self._local.block(slot.chat_id, answered_s + (retry_after_s or 1.0), answered_s)

    async def _ask(self, chat_id: str, cost: int) -> tuple[Slot | None, float]:
        """Return a slot and its time; or None and when to ask again."""
        if self._local is None:
            try:
                row = await self._call(
                    "CALL outbox.acquire(%s, %s, %s)", lambda: (self._bot, chat_id, cost), self._give_orphan_back
                )
            except AWAY as error:
                self._go_local(error)
            else:
                assert row is not None
                ticket, _, delay_s = row
                # From the moment the answer came: no slot is early, whatever the way to the database takes.
                at_s = _now_s() + delay_s
                if ticket is None:
                    return None, at_s
                return self._give(Slot(chat_id, cost, False, _due_s=at_s, _ticket=ticket)), at_s
        assert self._local is not None
        now_s = _now_s()
        taken = self._local.take(chat_id, cost, now_s)
        if isinstance(taken, float):
            # Looked at again soon: the database may be back.
            return None, min(taken, now_s + LOOK_AGAIN_S)
        due_s, tokens = taken
        return self._give(Slot(chat_id, cost, True, _due_s=due_s, _tokens=tokens)), due_s

    def _give(self, slot: Slot) -> Slot:
        self._given.add(slot, self._limits, _now_s())
        return slot

    def _settle_locally(self, slot: Slot, result: Result, retry_after_s: float | None, answered_s: float) -> None:
        if self._local is not None:
            wait_s = (1.0 if retry_after_s is None else retry_after_s) if result == "flood" else 0.0
            self._local.settle(slot.chat_id, slot._due_s, slot._tokens, answered_s, wait_s, result != "unsent")
            if result == "flood":
                self._local_floods[slot.chat_id] = answered_s + wait_s

    def _give_back(self, slot: Slot | None) -> None:
        if slot is not None:
            self._start(self.settle(slot, "unsent"))

    async def _settle_ticket(self, ticket: int, answered_s: float, result: Result, retry_after_s: float | None) -> None:
        await self._call(
            "CALL outbox.settle(%s, %s, %s, %s)",
            lambda: (ticket, min(max(_now_s() - answered_s, 0.0), 86400.0), result, retry_after_s),
        )

    async def _learn_limits(self) -> None:
        row = await self._call("SELECT * FROM outbox.reply_limits(%s)", lambda: (self._bot,))
        if row is not None:
            self._limits = Limits(*row)

    async def _call(
        self,
        query: str,
        params: Callable[[], Params],
        orphaned: Callable[[asyncio.Task[Params | None]], None] | None = None,
    ) -> Params | None:
        """Run one statement on a pooled connection. Raises one of AWAY or what the database says about the call.

        `orphaned` is told the call's end if the caller was cancelled meanwhile.
        """

        async def run() -> Params | None:
            async with self._pool.connection(self._timeout_s) as connection:
                cursor = await connection.execute(query, params(), prepare=False)
                row: Params | None = await cursor.fetchone() if cursor.description else None
                return row

        task: asyncio.Task[Params | None] = self._start(run())
        try:
            # Not wait_for: it would wait until the cancelled call has ended, and a server that is gone says nothing.
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            if orphaned is not None:
                task.add_done_callback(orphaned)
            raise
        if not done:
            task.cancel()
            raise TimeoutError(f"the database did not answer within {self._timeout_s:g} s")
        row = task.result()
        self._contact_s = _now_s()
        return row

    def _give_orphan_back(self, task: asyncio.Task[Params | None]) -> None:
        if (
            not task.cancelled()
            and task.exception() is None
            and (row := task.result()) is not None
            and row[0] is not None
        ):
            self._start(self._settle_ticket(row[0], _now_s(), "unsent", None))

    def _go_local(self, error: BaseException) -> None:
        if self._local is not None:
            return
        # Slots that the database gave before it went may lie ahead, and count for one window.
        quiet_until_s = self._contact_s + GIVEN_AHEAD_S + max(self._limits.rate_window_s, self._limits.chat_interval_s)
        self._local = LocalLimits(self._limits.scaled(self._share), quiet_until_s)
        # A group's window is too long to be quiet for: what went there from here counts on.
        for slot in self._given.counting(self._limits, _now_s()):
            self._local.count(slot.chat_id, slot.cost, slot._sent_by_s)
        self._say(
            True, f"{type(error).__name__}: the database is away, {self._share:.0%} of the limits are kept locally"
        )
        self._coming_back = self._start(self._come_back())

    async def _come_back(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S * random.uniform(0.5, 1.0))
            try:
                await self._learn_limits()
                await self._account()
            except AWAY:
                continue
            except psycopg.Error as error:  # the callers are to hear it
                log.warning("outbox limiter of bot %s: %s", self._bot, type(error).__name__)
            self._local = None
            self._say(False, None)
            return

    async def _account(self) -> None:
        """Bring what the database could not be told, and let it count what was sent without it."""
        ask_until_s = _now_s() + COUNTING_S
        while True:  # slots are given and settled meanwhile
            if self._owed:
                await self._unless_refused(self._settle_ticket(*self._owed[0]))
                self._owed.popleft()
            elif unknown := [slot for slot in self._given.counting(self._limits, _now_s()) if not slot._counted]:
                # All of a chat at once: after one of them it would cool. Where it does, only a group counts for longer.
                chat_id = unknown[0].chat_id
                slots = [slot for slot in unknown if slot.chat_id == chat_id]
                cost = min(sum(slot.cost for slot in slots), COST_MAX)
                last_ask_s = ask_until_s if is_group(chat_id) else 0.0
                await self._unless_refused(self._count(chat_id, cost, "ok", None, last_ask_s))
                for slot in slots:
                    slot._counted = True
            elif self._local_floods:
                chat_id, until_s = next(iter(self._local_floods.items()))
                await self._unless_refused(self._count(chat_id, 1, "flood", until_s, ask_until_s))
                del self._local_floods[chat_id]
            else:
                return

    async def _unless_refused(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except AWAY:
            raise
        except psycopg.Error as error:  # the database is there, and would refuse it the next time too
            log.warning("outbox limiter of bot %s: %s, not told again", self._bot, type(error).__name__)

    async def _count(
        self, chat_id: str, cost: int, result: Result, flood_until_s: float | None, ask_until_s: float
    ) -> None:
        while flood_until_s is None or flood_until_s > _now_s():
            row = await self._call("CALL outbox.acquire(%s, %s, %s)", lambda: (self._bot, chat_id, cost))
            assert row is not None
            ticket, _, delay_s = row
            if ticket is not None:
                now_s = _now_s()
                wait_s = None if flood_until_s is None else max(flood_until_s - now_s, 0.0)
                await self._settle_ticket(ticket, now_s, result, wait_s)
                return
            if _now_s() + delay_s > ask_until_s:
                return  # the chat waits anyway
            await asyncio.sleep(delay_s)

    def _say(self, local: bool, why: str | None) -> None:
        if local:
            log.warning("outbox limiter of bot %s: %s", self._bot, why)
        else:
            log.info("outbox limiter of bot %s: the database is back", self._bot)
        if self._on_change is not None:
            with contextlib.suppress(Exception):
                self._on_change(local, why)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: a call that nobody waits for any more may fail
