"""What a strict receiver could have seen: brute force over when each slot's request may have arrived (I6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

ARRIVAL_BOUND = timedelta(seconds=1)  # A: a request not on the wire half of this after its slot is given back


@dataclass
class Use:
    """A slot that was given, and what is known about its request."""

    slot: int
    slot_at: datetime
    answered_at: datetime | None = None
    unsent: bool = False


def most_in_a_window(uses: Iterable[Use], window_s: float, least_round_trip_s: float) -> int:
    """Return the most requests that may have arrived within one window.

    A request arrives half a round trip after its slot or later, and half a round trip before its answer or earlier, or
    up to the arrival bound after its slot when no answer is known.
    """
    half = timedelta(seconds=least_round_trip_s / 2)
    window = timedelta(seconds=window_s)
    spans = [
        (
            use.slot_at + half,
            use.slot_at + ARRIVAL_BOUND
            if use.answered_at is None
            else max(use.slot_at + half, min(use.answered_at - half, use.slot_at + ARRIVAL_BOUND)),
        )
        for use in uses
        if not use.unsent
    ]
    # A fullest window starts at the last moment at which one of its requests may arrive.
    return max(
        (sum(earliest < start + window and latest >= start for earliest, latest in spans) for _, start in spans),
        default=0,
    )
