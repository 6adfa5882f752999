"""Every invariant after every step of random lives. OUTBOX_PROPERTY_EXAMPLES=2000 looks longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Database
from tests.invariants.machine import Machine
from tests.invariants.world import World

SHORT = 160
# Per example. A third of what was seen and less: another version of Hypothesis draws other lives from the same seed.
OFTEN_ENOUGH = {
    "completed": 2,
    "repeated": 0.1,
    "late": 0.02,
    "ended superseded": 0.1,
    "ended cancelled": 0.4,
    "cancelled behind a flight": 0.02,
    "swept": 0.03,
    "followed": 0.15,
    "moved": 0.15,
    "migrated": 0.006,
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
