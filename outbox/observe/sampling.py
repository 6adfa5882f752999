"""Which log lines are written when there are more than anybody reads: a few a second of each kind, and how many not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PER_S: Final = 1.0  # of each kind; a line takes 0.2 to 0.4 ms, timed by hand: more than the metrics of 100 messages
BURST: Final = 20.0


class Kind:
    """The token bucket of one kind of line."""

    __slots__ = ("_at_s", "_burst", "_left_out", "_now", "_per_s", "_quiet_until_s", "_tokens")

    def __init__(self, per_s: float, burst: float, now: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._now = now
        self._tokens = burst
        self._at_s = now()
        self._quiet_until_s = self._at_s
        self._left_out = 0

    def leave_out(self) -> bool:
        """Whether this line is left out without a further look: most of a busy worker's are."""
        if self._now() < self._quiet_until_s:
            self._left_out += 1
            return True
        return False

    def take(self) -> int | None:
        """Return None to leave this line out, else how many were left out since the last one."""
        if self.leave_out():
            return None
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._at_s) * self._per_s)
        self._at_s = now
        if self._tokens < 1.0:
            self._quiet_until_s = now + (1.0 - self._tokens) / self._per_s
            self._left_out += 1
            return None
        self._tokens -= 1.0
        left_out, self._left_out = self._left_out, 0
        return left_out


class Sampler:
    """A token bucket per kind of line."""

    def __init__(self, per_s: float = PER_S, burst: float = BURST, now: Callable[[], float] = time.monotonic) -> None:
        """`per_s` lines a second of each kind are written, after `burst` at once."""
        self._per_s = per_s
        self._burst = burst
        self._now = now
        self._kinds: dict[str, Kind] = {}

    def kind(self, name: str) -> Kind:
        """Return the bucket of the lines called `name`."""
        found = self._kinds.get(name)
        if found is None:
            found = self._kinds[name] = Kind(self._per_s, self._burst, self._now)
        return found

    def take(self, name: str) -> int | None:
        """Return None to leave this line out, else how many of its kind were left out since the last one."""
        return self.kind(name).take()
