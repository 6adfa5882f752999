"""Cancel and sweep beside claim and complete: scripted, with locks seen in the server as barriers."""

from __future__ import annotations

from tests.invariants import interleave_cancel
from tests.invariants.stage import Stage


def test_a_cancel_that_commits_between_claims_lock_and_its_look_is_not_lost(stage: Stage) -> None:
    interleave_cancel.a_cancel_that_commits_between_claims_lock_and_its_look_is_not_lost(stage)


def test_a_cancel_that_commits_while_complete_holds_the_lane_is_not_lost(stage: Stage) -> None:
    interleave_cancel.a_cancel_that_commits_while_complete_holds_the_lane_is_not_lost(stage)


def test_a_cancel_that_commits_while_complete_waits_for_the_lane_is_seen(stage: Stage) -> None:
    interleave_cancel.a_cancel_that_commits_while_complete_waits_for_the_lane_is_seen(stage)


def test_a_cancel_for_the_old_chat_is_not_overtaken_by_the_new_one(stage: Stage) -> None:
    interleave_cancel.a_cancel_for_the_old_chat_is_not_overtaken_by_the_new_one(stage)


def test_sweep_and_claim_that_make_the_same_lanes_do_not_wait_in_a_circle(stage: Stage) -> None:
    interleave_cancel.sweep_and_claim_that_make_the_same_lanes_do_not_wait_in_a_circle(stage)


def test_a_claim_goes_round_the_lanes_that_sweep_holds(stage: Stage) -> None:
    interleave_cancel.a_claim_goes_round_the_lanes_that_sweep_holds(stage)


def test_a_claim_does_not_wait_for_a_sweep_that_drops_its_request(stage: Stage) -> None:
    interleave_cancel.a_claim_does_not_wait_for_a_sweep_that_drops_its_request(stage)


def test_sweep_remembers_a_tag_while_what_it_covers_may_still_commit(stage: Stage) -> None:
    interleave_cancel.sweep_remembers_a_tag_while_what_it_covers_may_still_commit(stage)


def test_what_moves_while_sweep_takes_its_lane_is_left_in_flight(stage: Stage) -> None:
    interleave_cancel.what_moves_while_sweep_takes_its_lane_is_left_in_flight(stage)
