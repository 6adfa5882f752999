"""Which log lines are written when there are more than anybody reads: a few a second of each kind, and how many not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PER_S: Final = 2.0  # of each kind; a line costs some tenths of a millisecond, so a kind some 0.1 % of a core
BURST: Final = 20.0


class Sampler:
    """A token bucket per kind of line."""

    def __init__(self, per_s: float = PER_S, burst: float = BURST, now: Callable[[], float] = time.monotonic) -> None:
        """`per_s` lines a second of each kind are written, after `burst` at once."""
        self._per_s = per_s
        self._burst = burst
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}
        self._left_out: dict[str, int] = {}
        self._quiet_until_s: dict[str, float] = {}

    def take(self, kind: str) -> int | None:
        """Return None to leave this line out, else how many of its kind were left out since the last one."""
        now = self._now()
        if now < self._quiet_until_s.get(kind, now):
            self._left_out[kind] += 1
            return None
        tokens, at_s = self._buckets.get(kind, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at_s) * self._per_s)
        if tokens < 1.0:
            self._buckets[kind] = tokens, now
            self._quiet_until_s[kind] = now + (1.0 - tokens) / self._per_s
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        self._buckets[kind] = tokens - 1.0, now
        return self._left_out.pop(kind, 0)
