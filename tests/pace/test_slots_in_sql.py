"""The slots of one claim: within the horizon, spaced, numbered; settling frees earlier and never later (I5, I6)."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from tests.invariants import scenes
from tests.invariants.calls import Connection, Lane, add_bot, claim, insert, register, settlement
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.stage import Stage

HORIZON = timedelta(milliseconds=100)
ARRIVAL_BOUND_S = 1.0
RING_STEP = 0.95  # of window / tokens (docs/decisions/0006)
GCRA_STEP = 1.035


def test_a_settlement_of_a_token_given_again_does_nothing(stage: Stage) -> None:
    scenes.a_settlement_of_a_token_given_again_does_nothing(stage)


@pytest.mark.parametrize(
    ("rate", "window_s", "step_s"),
    [
        (30, 1, RING_STEP / 30),
        (100, 1, RING_STEP / 100),
        (30, 0.5, RING_STEP * 0.5 / 30),
        (200, 1, GCRA_STEP / 200),
        (1000, 1, GCRA_STEP / 1000),
    ],
)
def test_slots_are_spaced_and_within_the_horizon(
    connection: Connection, frozen: FrozenClock, rate: int, window_s: float, step_s: float
) -> None:
    add_bot(connection, rate=rate, rate_window_s=window_s)
    worker = register(connection)
    fill(connection, 300)
    slots = []
    for _ in range(3):
        given = [lane.slot_at for lane in claim(connection, worker, n=200).lanes]
        assert given
        assert frozen.at <= given[0]
        assert given[-1] <= frozen.at + HORIZON
        slots += given
        frozen.advance(0.05)
    for earlier, later in pairwise(slots):
        # Intervals hold whole microseconds.
        assert (later - earlier).total_seconds() >= step_s - 2e-6


def test_slot_numbers_are_unique_and_rise_with_their_times(connection: Connection, frozen: FrozenClock) -> None:
    workers = [register(connection) for _ in range(3)]
    fill(connection, 100)
    lanes = []
    for i in range(30):
        lanes += claim(connection, workers[i % 3], n=1 + i % 4).lanes
        frozen.advance(0.05)
    assert [lane.slot for lane in lanes] == list(range(1, len(lanes) + 1))
    assert [lane.slot_at for lane in lanes] == sorted(lane.slot_at for lane in lanes)


def test_a_bot_without_a_limit_gets_no_slots(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=None)
    fill(connection, 500)
    lanes = claim(connection, register(connection), n=400).lanes
    assert len(lanes) == 400
    assert {(lane.slot, lane.slot_at) for lane in lanes} == {(None, None)}


def test_an_answer_frees_its_token_one_window_later(connection: Connection, frozen: FrozenClock) -> None:
    worker, first = use_the_only_token(connection)
    frozen.advance(0.3)
    claim(connection, worker, n=0, settlements=[settlement(first, age_s=0.1)])
    frozen.set(first.slot_at + timedelta(seconds=0.2 + 1 - 0.101))
    assert claim(connection, worker).lanes == []
    frozen.advance(0.101)
    [second] = claim(connection, worker).lanes
    assert second.slot_at == first.slot_at + timedelta(seconds=1.2005), "half a millisecond: timers are not exact"


def test_a_token_that_nobody_settles_frees_itself(connection: Connection, frozen: FrozenClock) -> None:
    worker, first = use_the_only_token(connection)
    frozen.set(first.slot_at + timedelta(seconds=1 + ARRIVAL_BOUND_S - 0.101))
    assert claim(connection, worker).lanes == []
    frozen.advance(0.101)
    assert len(claim(connection, worker).lanes) == 1


@pytest.mark.parametrize("result", ["ok", "fail", "flood"])
def test_an_answer_that_took_long_frees_its_token_no_later_than_none_at_all(
    connection: Connection, frozen: FrozenClock, result: str
) -> None:
    worker, first = use_the_only_token(connection)
    frozen.set(first.slot_at + timedelta(seconds=1.9))
    claim(connection, worker, n=0, settlements=[settlement(first, result)])
    frozen.set(first.slot_at + timedelta(seconds=1 + ARRIVAL_BOUND_S))
    assert len(claim(connection, worker).lanes) == 1


def test_an_unsent_slot_frees_its_token_at_once_and_only_once(connection: Connection, frozen: FrozenClock) -> None:
    worker, first = use_the_only_token(connection)
    frozen.advance(0.96)
    again = [settlement(first, "unsent"), settlement(first, "unsent")]
    [second] = claim(connection, worker, settlements=again).lanes
    assert second.slot_at == frozen.at
    frozen.advance(0.96)
    assert claim(connection, worker, settlements=again).lanes == [], "the token is the second's now"


def test_a_settlement_of_a_slot_that_never_was_does_nothing(connection: Connection, frozen: FrozenClock) -> None:
    worker, _ = use_the_only_token(connection)
    before = ring(connection)
    for slot in (0, -1, 99, 2**40):
        claim(connection, worker, n=0, settlements=[{"bot": "default", "slot": slot, "age_s": 5, "result": "unsent"}])
    assert ring(connection) == before


def test_settlements_without_room_to_claim_are_applied(connection: Connection, frozen: FrozenClock) -> None:
    worker, first = use_the_only_token(connection)
    answer = claim(connection, worker, n=0, settlements=[settlement(first, "unsent")])
    assert (answer.lanes, answer.settled) == ([], ["default"])


@pytest.mark.parametrize(("age_s", "settled"), [(0.2, []), (0.3, ["default"])])
def test_a_bot_without_work_is_visited_for_old_settlements_only(
    connection: Connection, frozen: FrozenClock, age_s: float, settled: list[str]
) -> None:
    worker = register(connection)
    insert(connection, 1)
    [lane] = claim(connection, worker).lanes
    frozen.advance(1)
    assert claim(connection, worker, settlements=[settlement(lane, age_s=age_s)]).settled == settled


def fill(connection: Connection, count: int) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT i::text, '{}' FROM generate_series(1, %s) i", [count]
    )


def ring(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT free_at, used_by, last_slot, last_slot_at FROM outbox.bucket").fetchall()


def use_the_only_token(connection: Connection) -> tuple[int, Lane]:
    """Claim with the one token of a bot that may send one message a second, while others wait."""
    add_bot(connection, rate=1)
    worker = register(connection)
    fill(connection, 5)
    [lane] = claim(connection, worker).lanes
    return worker, lane
