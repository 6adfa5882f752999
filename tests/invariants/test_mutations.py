"""The suite can fail: each mutation of the SQL is caught by the check that docs/mutations.md names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.invariants import interleave, scenes
from tests.invariants.mutate import SQL, mutate
from tests.invariants.stage import Stage


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    caught_by: Callable[[Stage], None]
    substitutions: tuple[tuple[str, str], ...]


JUDGE = "v_results := outbox.judge_results(p_worker, p_results, v_now);"
LOCK = "    PERFORM FROM (SELECT DISTINCT r.chat_id"
LOOK_FOR_THE_REST = """v_left := ARRAY(
    SELECT r.message_id FROM jsonb_to_recordset(p_results) r (message_id bigint, chat_id text, bot text)
     WHERE (SELECT count(*) FROM outbox.message m
             WHERE m.chat_id = r.chat_id AND m.bot = r.bot AND m.priority > 0) > 1);"""
RESULTS_WITH_A_REST = "ARRAY(SELECT r FROM unnest(v_results) r WHERE r.message_id = ANY (v_left))"
FOLLOW_UP = "PERFORM outbox.file_follow_ups(v_results, outbox.clock());"

MUTATIONS = [
    Mutation(
        "complete judges before it locks",
        "6_complete/complete.sql",
        interleave.the_result_of_a_worker_reaped_meanwhile_leaves_the_next_flight_alone,
        ((JUDGE, ""), (LOCK, f"    v_now := outbox.clock();\n    {JUDGE}\n{LOCK}")),
    ),
    Mutation(
        "complete looks for what is left before it locks",
        "6_complete/complete.sql",
        interleave.the_wakeup_that_claim_drops_while_complete_waits_is_followed_up,
        (
            ("v_owned int;", "v_owned int; v_left bigint[];"),
            (LOCK, f"    {LOOK_FOR_THE_REST}\n{LOCK}"),
            (FOLLOW_UP, FOLLOW_UP.replace("v_results", RESULTS_WITH_A_REST)),
        ),
    ),
    Mutation(
        "complete files no follow-up",
        "6_complete/complete.sql",
        scenes.what_is_left_in_a_lane_goes_next,
        ((FOLLOW_UP, ""),),
    ),
    Mutation(
        "complete locks in the order of the batch",
        "6_complete/complete.sql",
        interleave.batches_in_opposite_order_do_not_wait_for_each_other_in_a_circle,
        (("SELECT DISTINCT r.chat_id", "SELECT r.chat_id"), (" ORDER BY 1, 2) u", ") u")),
    ),
    Mutation(
        "the reaper locks worker by worker",
        "6_complete/reap.sql",
        interleave.reap_and_complete_do_not_wait_for_each_other_in_a_circle,
        (("PERFORM FROM outbox.chat c WHERE c.worker = ANY (v_workers) ORDER BY c.chat_id, c.bot FOR UPDATE;", ""),),
    ),
    Mutation(
        "a wakeup entitles worse priorities",
        "2_claim/take_wakeups.sql",
        scenes.a_wakeup_entitles_no_worse_priority,
        (("WHEN k.priority > p_priority THEN 'worse'", "WHEN k.priority > p_priority THEN 'go'"),),
    ),
    Mutation(
        "anybody completes",
        "6_complete/judge_results.sql",
        scenes.only_the_owner_completes,
        (
            ("c.in_flight = r.message_id AND c.worker = p_worker", "c.in_flight = r.message_id"),
            ("AND c.attempt = r.attempt", ""),
        ),
    ),
    Mutation(
        "the attempt number is not part of ownership",
        "6_complete/judge_results.sql",
        scenes.an_unsent_brought_again_leaves_the_next_flight_alone,
        (("AND c.attempt = r.attempt", ""),),
    ),
    Mutation(
        "a settlement is not matched to its slot number",
        "3_pace/settle.sql",
        scenes.a_settlement_of_a_token_given_again_does_nothing,
        (("array_positions(b.used_by, s.slot)", "ARRAY[1 + (s.slot - 1) % cardinality(b.used_by)]::int[]"),),
    ),
    Mutation(
        "each worker reckons with its own round trip",
        "3_pace/settle.sql",
        scenes.a_near_and_a_far_worker_get_no_429,
        (("- outbox.least_round_trip_s(b)));", "- coalesce(s.round_trip_s, 0)));"),),
    ),
    Mutation(
        "the round trip is not forgotten when a worker joins",
        "2_claim/claim_lanes.sql",
        scenes.a_near_worker_that_joins_late_gets_no_429,
        (("b := outbox.forget_round_trip(b);", ""),),
    ),
    Mutation(
        "a token is free again one window after its slot",
        "3_pace/take_slots.sql",
        scenes.a_request_without_an_answer_keeps_its_token,
        (("v_bound_s CONSTANT float8 := 1;", "v_bound_s CONSTANT float8 := 0;"),),
    ),
    Mutation(
        "slots above a hundred per window are spaced exactly",
        "3_pace/offer_slots.sql",
        scenes.above_a_hundred_the_spacing_has_room_for_the_jitter,
        (("SELECT 1.035 * p_window_s / p_rate", "SELECT p_window_s / p_rate"),),
    ),
    Mutation(
        "claim forgets a lane that another holds",
        "2_claim/take_wakeups.sql",
        scenes.a_lane_that_another_session_holds_is_looked_at_again,
        (("IF cardinality(v_free) < cardinality(v_lanes) THEN", "IF false THEN"),),
    ),
    Mutation(
        "there is no reserve",
        "2_claim/assign_slots.sql",
        scenes.every_priority_has_its_share,
        (("IF v_number % 10 <> 0 OR", "IF true OR"),),
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(stage: Stage, mutation: Mutation) -> None:
    mutate(stage.connection, mutation.file, *mutation.substitutions)
    with pytest.raises(AssertionError):
        mutation.caught_by(stage)


def test_every_check_is_an_ordinary_test_too() -> None:
    """Otherwise a check that fails on the unbroken SQL as well would catch everything."""
    tests = [path.read_text() for path in (SQL.parent / "tests").glob("*/test_*.py")]
    checks = {mutation.caught_by.__name__ for mutation in MUTATIONS}
    assert {check for check in checks if not any(f".{check}(stage)" in text for text in tests)} == set()


def test_the_page_names_every_mutation_and_the_check_that_catches_it() -> None:
    page = (SQL.parent / "docs" / "mutations.md").read_text()
    missing = [m.name for m in MUTATIONS if f"| {m.name} |" not in page or m.caught_by.__name__ not in page]
    assert missing == []
