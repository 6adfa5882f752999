"""When to claim: at a NOTIFY, when the last claim said so, when something needs to be brought, or at the poll."""

import asyncio
from collections import deque
from collections.abc import Callable

from outbox.deliver.pace import now_s

BUSY_POLL_S = 0.05  # half the horizon: a slot is then claimed before it is due
IDLE_POLL_S = 1.0
DEAF_POLL_S = 0.1  # when NOTIFY does not reach us (a transaction pooler)
BUSY_MESSAGES_PER_S = 50  # above it NOTIFY would serialise commits for nothing
SATURATED_CLAIMS = 2
BACKLOGGED_CLAIMS = 4  # a lone message never makes this many claims in a row ask for more
CALM_S = 1.0


class Alarm:
    """Ends one sleep: at once, or at the earliest of the times it was asked for. One waiter."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """End the sleep now, or the next one if nobody sleeps."""
        self._rung.set()

    def within(self, delay_s: float) -> None:
        """End the sleep in delay_s seconds at the latest."""
        if delay_s <= 0:
            self.ring()
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self.ring)

    async def sleep(self, delay_s: float) -> None:
        """Sleep for delay_s seconds at most. What rings afterwards ends the next sleep."""
        self.within(delay_s)
        try:
            await self._rung.wait()
        finally:
            self._rung.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


class Mood:
    """Idle or busy, with hysteresis: busy polls, idle is rung for. Decides only; the caller tells the database."""

    def __init__(self, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self.idle = True
        self._idle_since_s = now()
        self._last_pressure_s = 0.0
        self._saturated = 0
        self._backlogged = 0
        self._claimed: deque[tuple[float, int]] = deque()
        self._claimed_last_second = 0

    def note(self, lanes: int, wanted: int, ask_again_s: float | None) -> bool:
        """Learn from one claim; return whether the mood should change now."""
        now = self._now()
        if wanted == 0:
            # No room: whatever the reason, not calm.
            self._last_pressure_s = now
            return False
        if lanes:
            self._claimed.append((now, lanes))
            self._claimed_last_second += lanes
        while self._claimed and now - self._claimed[0][0] > 1.0:
            self._claimed_last_second -= self._claimed.popleft()[1]
        self._saturated = self._saturated + 1 if lanes >= wanted else 0
        more = lanes > 0 and ask_again_s is not None and ask_again_s <= 2 * BUSY_POLL_S
        self._backlogged = self._backlogged + 1 if more else 0
        pressed = (
            self._saturated >= SATURATED_CLAIMS
            or self._backlogged >= BACKLOGGED_CLAIMS
            or self._claimed_last_second > BUSY_MESSAGES_PER_S
        )
        if pressed:
            self._last_pressure_s = now
        if self.idle:
            return pressed
        return now - self._last_pressure_s >= CALM_S

    def change(self) -> None:
        """The database knows of the new mood."""
        self.idle = not self.idle
        self._idle_since_s = self._now()

    def poll_s(self, bell_works: bool) -> float:
        """Seconds to the next claim when nothing else is known to wait for."""
        if not self.idle:
            return BUSY_POLL_S
        # A transaction that inserted while all were busy rang no bell; it may commit a moment after we became idle.
        if self._now() - self._idle_since_s < CALM_S:
            return BUSY_POLL_S
        return IDLE_POLL_S if bell_works else DEAF_POLL_S
