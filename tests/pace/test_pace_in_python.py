"""Slots of the database's clock, mapped to this machine's and waited for."""

import asyncio
from dataclasses import replace

import pytest

from outbox.deliver.lane import Lane
from outbox.deliver.pace import OFFSET_MEMORY_S, STALE_AFTER_S, Clock, is_stale, now_s, pace, place

LANE = Lane(
    incarnation=1,
    bot="default",
    chat_id="42",
    message_id=1,
    attempt=1,
    method="sendMessage",
    payload='{"text": "secret words"}',
    priority=2,
    on_uncertain="retry",
    correlation_id=None,
    slot=7,
    slot_at_s=1000.0,
    created_at_s=999.0,
    due_at_s=999.0,
    claimed_s=50.0,
)


class Hands:
    """A clock in the test's hands."""

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


def test_the_smallest_offset_of_the_last_minute_counts() -> None:
    clock = Clock()
    clock.observe(1000.0, 49.98, 50.02)
    assert clock.offset_s == pytest.approx(-949.98)
    clock.observe(1001.0, 50.999, 51.001)
    assert clock.offset_s == pytest.approx(-949.999)
    clock.observe(1002.0, 51.9, 52.3)
    assert clock.offset_s == pytest.approx(-949.999), "a slow call must not move slots"
    clock.observe(1063.0, 112.97, 113.03)
    assert OFFSET_MEMORY_S < 113.03 - 51.001
    assert clock.offset_s == pytest.approx(-949.97), "what is older than a minute is forgotten"


def test_a_worker_frozen_while_it_reads_an_answer_does_not_shift_its_slots() -> None:
    clock = Clock()
    clock.observe(1000.0, 50.0, 50.001)
    clock.observe(1001.0, 51.0, 59.0)
    assert clock.offset_s == pytest.approx(-949.999)


def test_a_worker_frozen_during_its_very_first_call_holds_its_slots_for_stale() -> None:
    clock = Clock()
    clock.observe(1000.0, 50.0, 55.0)
    placed = place(replace(LANE, slot_at_s=1000.05, claimed_s=55.0), clock)
    assert is_stale(placed, 55.0)


@pytest.mark.parametrize("step_s", [-3600.0, -5.0, 5.0, 3600.0])
def test_a_step_of_the_databases_clock_is_followed_at_once(step_s: float) -> None:
    clock = Clock()
    clock.observe(1000.0, 50.0, 50.001)
    clock.observe(1001.0 + step_s, 51.0, 51.001)
    assert clock.offset_s == pytest.approx(-949.999 - step_s)
    assert clock.doubt_s == pytest.approx(0.001)


def test_a_slot_is_never_early_and_stale_half_the_arrival_bound_later() -> None:
    clock = Clock()
    clock.observe(999.98, 50.0, 50.004)
    placed = place(LANE, clock)
    assert placed.due_s == pytest.approx(50.024), "as late as the offset may be"
    assert placed.stale_s == pytest.approx(50.02 + STALE_AFTER_S), "as early as the offset may be"
    assert not is_stale(placed, 50.5)
    assert is_stale(placed, 50.53)


def test_a_lane_without_a_slot_goes_at_once_and_is_never_stale() -> None:
    placed = place(replace(LANE, slot=None, slot_at_s=None), Clock())
    assert placed.due_s == LANE.claimed_s
    assert not is_stale(placed, 1e9)


async def test_pace_gives_a_stale_lane_back() -> None:
    hands = Hands(60.0)
    assert await pace(replace(LANE, due_s=50.0, stale_s=50.5), Clock(hands)) is None


async def test_pace_does_not_return_before_the_slot() -> None:
    for _ in range(20):
        due_s = now_s() + 0.003
        lane = replace(LANE, due_s=due_s, stale_s=due_s + 5)
        assert await pace(lane, Clock()) is lane
        assert now_s() >= due_s


async def test_pace_sleeps_again_when_a_timer_fires_early(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(10.0)
    slept: list[float] = []

    async def wake_early(delay_s: float) -> None:
        slept.append(delay_s)
        hands.at_s += delay_s * 0.9 if len(slept) == 1 else delay_s

    monkeypatch.setattr(asyncio, "sleep", wake_early)
    lane = replace(LANE, due_s=11.0, stale_s=11.5)
    assert await pace(lane, Clock(hands)) is lane
    assert slept == pytest.approx([1.0, 0.1])


def test_no_repr_shows_a_payload() -> None:
    assert "secret words" not in repr(LANE)
