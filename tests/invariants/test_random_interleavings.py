"""Every invariant after every step of random lives. OUTBOX_PROPERTY_EXAMPLES=2000 looks longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Database
from tests.invariants.machine import Machine
from tests.invariants.world import World

SHORT = 160
OFTEN_ENOUGH = {  # per example
    "completed": 4,
    "repeated": 0.25,
    "late": 0.08,
    "ended superseded": 0.3,
    "ended cancelled": 1,
    "cancelled behind a flight": 0.05,
    "swept": 0.2,
    "followed": 0.5,
    "moved": 0.5,
    "migrated": 0.05,
    "followed its chat": 0.006,  # once; scripted interleavings hold it
}
EXAMPLES = int(os.environ.get("OUTBOX_PROPERTY_EXAMPLES", "0"))


def test_no_interleaving_breaks_an_invariant(db: Database) -> None:
    world = World(db.connect)
    try:
        run_state_machine_as_test(
            lambda: Machine(world),
            settings=settings(
                max_examples=EXAMPLES or SHORT,
                stateful_step_count=50,
                deadline=None,
                derandomize=not EXAMPLES,  # the short run is the same for everybody; the long one looks elsewhere
                database=None,
                # Shrinking takes minutes: OUTBOX_PROPERTY_SHRINK=1 when a failure is too long to read.
                phases=[Phase.generate] + [Phase.shrink] * ("OUTBOX_PROPERTY_SHRINK" in os.environ),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
        for what, at_least in OFTEN_ENOUGH.items():
            assert world.happened[what] >= at_least * (EXAMPLES or SHORT), f"the run tests too little: {world.happened}"
    finally:
        world.close()
