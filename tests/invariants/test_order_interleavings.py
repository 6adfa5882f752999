"""Collapse keys and targets beside claim and complete: scripted, with locks seen in the server as barriers."""

from __future__ import annotations

from tests.invariants import interleave_order
from tests.invariants.stage import Stage


def test_a_second_claim_beside_a_collapse_sends_nothing_of_it(stage: Stage) -> None:
    interleave_order.a_second_claim_beside_a_collapse_sends_nothing_of_it(stage)


def test_a_newer_one_that_commits_before_claim_looks_goes(stage: Stage) -> None:
    interleave_order.a_newer_one_that_commits_before_claim_looks_goes(stage)


def test_a_newer_one_that_commits_after_claim_looked_goes_next(stage: Stage) -> None:
    interleave_order.a_newer_one_that_commits_after_claim_looked_goes_next(stage)


def test_a_newer_one_that_commits_late_still_takes_the_place_of_one_that_is_tried_again(stage: Stage) -> None:
    interleave_order.a_newer_one_that_commits_late_still_takes_the_place_of_one_that_is_tried_again(stage)


def test_a_target_that_turns_out_as_sent_after_its_follower_died_is_there_for_a_retry(stage: Stage) -> None:
    interleave_order.a_target_that_turns_out_as_sent_after_its_follower_died_is_there_for_a_retry(stage)


def test_a_target_that_turns_out_as_sent_while_its_follower_is_claimed_changes_nothing_half_way(stage: Stage) -> None:
    interleave_order.a_target_that_turns_out_as_sent_while_its_follower_is_claimed_changes_nothing_half_way(stage)


def test_a_target_that_commits_after_its_follower_was_claimed_is_unknown_to_it(stage: Stage) -> None:
    interleave_order.a_target_that_commits_after_its_follower_was_claimed_is_unknown_to_it(stage)
