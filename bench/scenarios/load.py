"""The long runs (make load): limits, faults, outages, killed workers, a crashing database, each with its marks.

Real worker processes, a real PostgreSQL with fsync on, and the simulator as the judge: what it executed is compared
with what outbox.history and outbox.attempt tell, message by message (tests/chaos/checker.py). The scenarios say in
their first lines what they do and measure: bench/load/. tests/chaos and tests/story run them in short forms.
"""

from __future__ import annotations

from typing import Final

from bench.case import Case
from bench.load import (
    backlog,
    breaker,
    broadcast,
    cancel,
    chaos,
    dead_letters,
    degradation,
    eventual,
    exactness,
    moving_limit,
    steady,
)

CASES: Final[dict[str, Case]] = {
    **exactness.CASES,
    **moving_limit.CASES,
    **eventual.CASES,
    **backlog.CASES,
    **chaos.CASES,
    **degradation.CASES,
    **dead_letters.CASES,
    **breaker.CASES,
    **broadcast.CASES,
    **cancel.CASES,
    **steady.CASES,
}
