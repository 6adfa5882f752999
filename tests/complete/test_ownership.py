"""Only the owner completes (I7), and whoever completes looks for what is left (I1)."""

from __future__ import annotations

from tests.invariants import scenes
from tests.invariants.stage import Stage


def test_only_the_owner_completes(stage: Stage) -> None:
    scenes.only_the_owner_completes(stage)


def test_an_unsent_brought_again_leaves_the_next_flight_alone(stage: Stage) -> None:
    scenes.an_unsent_brought_again_leaves_the_next_flight_alone(stage)


def test_what_is_left_in_a_lane_goes_next(stage: Stage) -> None:
    scenes.what_is_left_in_a_lane_goes_next(stage)
