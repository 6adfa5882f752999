"""Cancels, collapse keys and targets in short scenes: the checks that the mutations share."""

from __future__ import annotations

from tests.invariants import scenes_wishes
from tests.invariants.stage import Stage


def test_a_cancel_behind_a_flight_is_applied_when_the_answer_comes(stage: Stage) -> None:
    scenes_wishes.a_cancel_behind_a_flight_is_applied_when_the_answer_comes(stage)


def test_a_cancelled_message_ends_before_its_time(stage: Stage) -> None:
    scenes_wishes.a_cancelled_message_ends_before_its_time(stage)


def test_a_cancel_follows_its_message_to_the_chats_new_id(stage: Stage) -> None:
    scenes_wishes.a_cancel_follows_its_message_to_the_chats_new_id(stage)


def test_a_tag_covers_what_was_inserted_until_then(stage: Stage) -> None:
    scenes_wishes.a_tag_covers_what_was_inserted_until_then(stage)


def test_a_tag_that_was_cancelled_before_the_first_message_covers_nothing(stage: Stage) -> None:
    scenes_wishes.a_tag_that_was_cancelled_before_the_first_message_covers_nothing(stage)


def test_sweep_leaves_what_is_in_flight(stage: Stage) -> None:
    scenes_wishes.sweep_leaves_what_is_in_flight(stage)


def test_lanes_that_claim_looks_at_and_does_not_take_keep_their_turn(stage: Stage) -> None:
    scenes_wishes.lanes_that_claim_looks_at_and_does_not_take_keep_their_turn(stage)


def test_the_newest_of_a_collapse_key_goes(stage: Stage) -> None:
    scenes_wishes.the_newest_of_a_collapse_key_goes(stage)


def test_the_newest_goes_in_the_oldest_ones_place(stage: Stage) -> None:
    scenes_wishes.the_newest_goes_in_the_oldest_ones_place(stage)


def test_one_whose_tag_was_cancelled_supersedes_nothing(stage: Stage) -> None:
    scenes_wishes.one_whose_tag_was_cancelled_supersedes_nothing(stage)


def test_a_follower_does_not_supersede_its_own_target(stage: Stage) -> None:
    scenes_wishes.a_follower_does_not_supersede_its_own_target(stage)


def test_a_follower_supersedes_no_message_of_its_own(stage: Stage) -> None:
    scenes_wishes.a_follower_supersedes_no_message_of_its_own(stage)


def test_a_follower_goes_behind_its_target(stage: Stage) -> None:
    scenes_wishes.a_follower_goes_behind_its_target(stage)


def test_a_number_that_telegram_gave_in_another_chat_is_none(stage: Stage) -> None:
    scenes_wishes.a_number_that_telegram_gave_in_another_chat_is_none(stage)


def test_hundreds_of_followers_hold_no_claim_for_long(stage: Stage) -> None:
    scenes_wishes.hundreds_of_followers_hold_no_claim_for_long(stage)
