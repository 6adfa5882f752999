"""The suite can fail: each mutation of the SQL is caught by the check that docs/mutations.md names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.invariants import interleave, interleave_cancel, interleave_order, scenes, scenes_wishes
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
MAKE_LANES = "INSERT INTO outbox.chat (chat_id, bot)"

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
    Mutation(
        "complete does not look at requests",
        "6_complete/complete.sql",
        scenes_wishes.a_cancel_behind_a_flight_is_applied_when_the_answer_comes,
        (("IF v_asked IS NOT NULL THEN", "IF false THEN"),),
    ),
    Mutation(
        "complete looks for requests before it locks",
        "6_complete/complete.sql",
        interleave_cancel.a_cancel_that_commits_while_complete_waits_for_the_lane_is_seen,
        (
            ("v_asked text[];", "v_asked text[]; v_any boolean;"),
            (LOCK, f"    v_any := EXISTS (SELECT FROM outbox.request);\n{LOCK}"),
            ("IF v_asked IS NOT NULL THEN", "IF v_any AND v_asked IS NOT NULL THEN"),
        ),
    ),
    Mutation(
        "claim does not look at requests",
        "2_claim/take_wakeups.sql",
        scenes_wishes.a_cancelled_message_ends_before_its_time,
        (("IF v_asked IS NOT NULL THEN", "IF false THEN"),),
    ),
    Mutation(
        "claim looks for requests only in the lane that they name",
        "2_claim/take_wakeups.sql",
        interleave_cancel.a_cancel_for_the_old_chat_is_not_overtaken_by_the_new_one,
        (("q.message_id = h.id LIMIT 1) IS NOT NULL AS ends", "q.message_id = h.id LIMIT 0) IS NOT NULL AS ends"),),
    ),
    Mutation(
        "a request does not follow its message",
        "6_complete/cancel_requested.sql",
        scenes_wishes.a_cancel_follows_its_message_to_the_chats_new_id,
        (("FROM found f WHERE f.chat_id <> f.asked_in)", "FROM found f WHERE false)"),),
    ),
    Mutation(
        "claim waits for a request that sweep drops",
        "6_complete/cancel_requested.sql",
        interleave_cancel.a_claim_does_not_wait_for_a_sweep_that_drops_its_request,
        (("LIMIT 100 FOR UPDATE SKIP LOCKED) k", "LIMIT 100) k"),),
    ),
    Mutation(
        "a tag covers what is inserted later",
        "2_claim/is_stopped.sql",
        scenes_wishes.a_tag_covers_what_was_inserted_until_then,
        ((" AND s.up_to_id >= p_id", ""),),
    ),
    Mutation(
        "a tag that was cancelled on an empty database covers the first message",
        "1_accept/cancel.sql",
        scenes_wishes.a_tag_that_was_cancelled_before_the_first_message_covers_nothing,
        (("CASE WHEN s.is_called THEN s.last_value ELSE 0 END", "s.last_value"),),
    ),
    Mutation(
        "sweep ends what is in flight",
        "8_operate/sweep.sql",
        scenes_wishes.sweep_leaves_what_is_in_flight,
        (("WHERE c.in_flight IS NULL);", "WHERE true);"),),
    ),
    Mutation(
        "sweep makes lanes without the bucket",
        "8_operate/sweep.sql",
        interleave_cancel.sweep_and_claim_that_make_the_same_lanes_do_not_wait_in_a_circle,
        (("ORDER BY b.bot\n                               FOR UPDATE SKIP LOCKED);", "ORDER BY b.bot);"),),
    ),
    Mutation(
        "sweep forgets a tag once nothing waits that it covers",
        "8_operate/sweep.sql",
        interleave_cancel.sweep_remembers_a_tag_while_what_it_covers_may_still_commit,
        (("s.xid < pg_snapshot_xmin(pg_current_snapshot())", "true"),),
    ),
    Mutation(
        "sweep looks at another lane than it holds",
        "8_operate/sweep.sql",
        interleave_cancel.what_moves_while_sweep_takes_its_lane_is_left_in_flight,
        (("m.id = u.id AND m.chat_id = u.chat_id AND m.bot = u.bot LIMIT 1", "m.id = u.id LIMIT 1"),),
    ),
    Mutation(
        "claim forgets lanes that it looked at and did not take",
        "2_claim/take_wakeups.sql",
        scenes_wishes.lanes_that_claim_looks_at_and_does_not_take_keep_their_turn,
        (("FROM turn t WHERE NOT t.goes)", "FROM turn t WHERE false)"),),
    ),
    Mutation(
        "claim gives lanes that it did not take a new turn",
        "2_claim/take_wakeups.sql",
        scenes_wishes.lanes_that_claim_looks_at_and_does_not_take_keep_their_turn,
        (("array_agg(t.priority), array_agg(t.due_at))", "array_agg(t.priority), array_agg(p_now))"),),
    ),
    Mutation(
        "the oldest supersedes the others",
        "6_complete/supersede.sql",
        scenes_wishes.the_newest_of_a_collapse_key_goes,
        (("SELECT max(d.id)", "SELECT min(d.id)"),),
    ),
    Mutation(
        "the newest keeps its own place",
        "6_complete/supersede.sql",
        scenes_wishes.the_newest_goes_in_the_oldest_ones_place,
        (("WHERE m.id = r.newest AND m.id <> h.id;", "WHERE false;"),),
    ),
    Mutation(
        "the newest goes into the place with the oldest one's time",
        "6_complete/supersede.sql",
        scenes_wishes.the_newest_goes_in_the_oldest_ones_place,
        ((" - interval '1 microsecond'", ""),),
    ),
    Mutation(
        "one whose tag was cancelled supersedes",
        "6_complete/supersede.sql",
        scenes_wishes.one_whose_tag_was_cancelled_supersedes_nothing,
        (("WHEN outbox.is_stopped(m.tag, p_bot, m.id) THEN 'cancelled'", ""),),
    ),
    Mutation(
        "claim looks for a newer one before it locks",
        "2_claim/take_wakeups.sql",
        interleave_order.a_newer_one_that_commits_before_claim_looks_goes,
        (
            ("v_want int;", "v_want int; v_newest bigint;"),
            (MAKE_LANES, f"v_newest := (SELECT max(m.id) FROM outbox.message m);\n        {MAKE_LANES}"),
            ("AND m.id <> h.id", "AND m.id <> h.id AND m.id <= v_newest"),
        ),
    ),
    Mutation(
        "a head collapses with what has another target",
        "2_claim/take_wakeups.sql",
        scenes_wishes.a_follower_does_not_supersede_its_own_target,
        ((" AND coalesce(m.target_id, 0) = coalesce(h.target_id, 0)", ""),),
    ),
    Mutation(
        "the newest supersedes what has another target",
        "6_complete/supersede.sql",
        scenes_wishes.a_follower_supersedes_no_message_of_its_own,
        ((" AND coalesce(m.target_id, 0) = coalesce(h.target_id, 0)", ""),),
    ),
    Mutation(
        "a follower does not go behind its target",
        "2_claim/take_wakeups.sql",
        scenes_wishes.a_follower_goes_behind_its_target,
        (("ended := ended + outbox.go_behind_targets(p_bot, r.behind, p_now, p_may_end - ended);", ""),),
    ),
    Mutation(
        "a follower does not wait for its target",
        "2_claim/take_wakeups.sql",
        scenes_wishes.a_follower_goes_behind_its_target,
        (("WHEN k.target = 'waits' THEN 'behind'", ""), ("WHEN k.target <> 'sent' THEN 'orphan' ", "")),
    ),
    Mutation(
        "a follower keeps its time when its target is put off",
        "6_complete/targets.sql",
        scenes_wishes.a_follower_goes_behind_its_target,
        (("next_attempt_at = greatest(m.next_attempt_at, t.next_attempt_at)", "next_attempt_at = m.next_attempt_at"),),
    ),
    Mutation(
        "a follower takes its number from any chat",
        "2_claim/target.sql",
        scenes_wishes.a_number_that_telegram_gave_in_another_chat_is_none,
        (("f.bot <> p_bot OR f.chat_id <> p_chat_id OR ", ""),),
    ),
    Mutation(
        "followers are treated until none is left",
        "2_claim/take_wakeups.sql",
        scenes_wishes.hundreds_of_followers_hold_no_claim_for_long,
        (("WHEN (k.collapses OR k.target <> 'sent') AND k.chat_id = ANY (v_cleared) THEN 'enough'", ""),),
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
