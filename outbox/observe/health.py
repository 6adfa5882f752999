"""Whether this process is alive and does its work, for a supervisor: /healthz and /readyz ask it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

CLAIMED_WITHIN_S: Final = 30.0  # an idle worker claims every second


class Check(NamedTuple):
    """One thing that must be so: its name, whether it is, and what it looks like if not."""

    name: str
    is_well: bool
    finding: str


class ClaimHealth:
    """Whether a worker claims; told after a claim, some seconds late at most."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since_s = now()
        self._claimed_s: float | None = None

    def note_claim(self) -> None:
        self._claimed_s = self._now()

    def check(self, in_flight: int) -> Check:
        """Whether the last claim is lately, or messages are on their way, for which it may have to wait for room."""
        if self._claimed_s is None:
            is_young = self._now() - self._since_s < CLAIMED_WITHIN_S
            return Check("claiming", False, "has not claimed yet" if is_young else "has never claimed")
        age_s = self._now() - self._claimed_s
        found = f"claimed {age_s:.0f} s ago, {in_flight} in flight"
        return Check("claiming", age_s < CLAIMED_WITHIN_S or in_flight > 0, found)
