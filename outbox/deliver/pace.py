"""When a claimed lane may be sent, on a clock that nobody can turn.

Slots are absolute times of the database's clock (I5): `Clock` maps them to this machine's, `pace` waits.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from outbox.deliver.lane import Lane

ARRIVAL_BOUND_S = 1.0  # A of DESIGN section 4: the ring gives a token again only after the window and this bound
STALE_AFTER_S = ARRIVAL_BOUND_S / 2  # the other half is for the way to Telegram
OFFSET_MEMORY_S = 60.0  # long enough to see one undisturbed call, short enough for 100 ppm of drift to stay below 6 ms
STEP_S = 1.0  # no drift does that within the memory: someone set the database's clock


if hasattr(time, "CLOCK_BOOTTIME"):

    def now_s() -> float:
        """Seconds on a clock that only runs forward, also while the machine sleeps: slots go stale meanwhile."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover

    def now_s() -> float:
        """Seconds on a clock that only runs forward."""
        return time.monotonic()


class Clock:
    """The database's clock seen from here: ours minus theirs lies between two offsets.

    A call read theirs some time between asking and its answer, so `asked - theirs` is too small and `received - theirs`
    too large. The tightest of the last 60 s count: a frozen moment in one call does not move slots.
    """

    def __init__(self, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._upper: deque[tuple[float, float]] = deque()  # (seen at, offset), offsets rising: the head is the smallest
        self._lower: deque[tuple[float, float]] = deque()  # offsets falling: the head is the largest

    def now_s(self) -> float:
        return self._now()

    def observe(self, clock_at_s: float, asked_s: float, received_s: float) -> None:
        """Learn from one call: theirs, in seconds since 1970, was read between asked_s and received_s of ours."""
        lower, upper = asked_s - clock_at_s, received_s - clock_at_s
        if self._upper and (lower > self._upper[0][1] + STEP_S or upper < self._lower[0][1] - STEP_S):
            self._upper.clear()
            self._lower.clear()
        while self._upper and self._upper[-1][1] >= upper:
            self._upper.pop()
        self._upper.append((received_s, upper))
        while self._lower and self._lower[-1][1] <= lower:
            self._lower.pop()
        self._lower.append((received_s, lower))
        for seen in (self._upper, self._lower):
            while received_s - seen[0][0] > OFFSET_MEMORY_S:
                seen.popleft()

    @property
    def offset_s(self) -> float:
        """Ours minus theirs, never too small: no slot mapped with it is early. IndexError before observe."""
        return self._upper[0][1]

    @property
    def doubt_s(self) -> float:
        """By how much the offset may be too large; infinite before the first observe."""
        if not self._upper:
            return float("inf")
        return max(0.0, self._upper[0][1] - self._lower[0][1])


def place(lane: Lane, clock: Clock) -> Lane:
    """The lane with its slot on our clock: due as late as the offset may be, stale as early as it may be."""
    if lane.slot_at_s is None:
        return replace(lane, due_s=lane.claimed_s, stale_s=None)
    due_s = lane.slot_at_s + clock.offset_s
    if lane.slot is None:
        return replace(lane, due_s=due_s, stale_s=None)
    return replace(lane, due_s=due_s, stale_s=due_s - clock.doubt_s + STALE_AFTER_S)


def is_stale(lane: Lane, at_s: float) -> bool:
    """Whether sending at at_s (pace's clock) would be later than the ring allows (I6)."""
    return lane.stale_s is not None and at_s > lane.stale_s


async def pace(lane: Lane, clock: Clock) -> Lane | None:
    """Sleep until the lane's slot. None: the slot is stale, give it back (sending late is a burst, I6)."""
    # Again after each sleep: a timer may fire a fraction of a millisecond early.
    while (wait_s := lane.due_s - clock.now_s()) > 0:  # noqa: ASYNC110 (a time is waited for, not an event)
        await asyncio.sleep(wait_s)
    return None if is_stale(lane, clock.now_s()) else lane
