"""When the worker sleeps, and for how long."""

import asyncio
import time

import pytest

from outbox.deliver.wake import BUSY_POLL_S, DEAF_POLL_S, IDLE_POLL_S, Alarm, Mood


class Hands:
    """A clock in the test's hands."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


async def test_the_earliest_time_asked_for_ends_the_sleep() -> None:
    alarm = Alarm()
    alarm.within(5.0)
    alarm.within(0.02)
    alarm.within(3.0)
    started_s = time.monotonic()
    await alarm.sleep(4.0)
    assert 0.015 <= time.monotonic() - started_s < 1.0


async def test_what_rings_before_the_sleep_ends_it_at_once() -> None:
    alarm = Alarm()
    alarm.ring()
    await asyncio.wait_for(alarm.sleep(60), 1)


async def test_an_ended_sleep_forgets_its_alarms() -> None:
    alarm = Alarm()
    alarm.within(0.05)
    alarm.ring()
    await alarm.sleep(60)
    started_s = time.monotonic()
    await alarm.sleep(0.2)
    assert time.monotonic() - started_s > 0.15


def test_two_saturated_claims_in_a_row_make_busy_and_one_does_not() -> None:
    mood = Mood(Hands())
    assert not mood.note(lanes=5, wanted=5, ask_again_s=0.0)
    assert not mood.note(lanes=4, wanted=5, ask_again_s=None)
    assert not mood.note(lanes=5, wanted=5, ask_again_s=None)
    assert mood.note(lanes=5, wanted=5, ask_again_s=None)


def test_more_than_fifty_messages_in_a_second_make_busy() -> None:
    hands = Hands()
    mood = Mood(hands)
    assert not mood.note(lanes=50, wanted=250, ask_again_s=None)
    hands.at_s += 1.1
    assert not mood.note(lanes=50, wanted=250, ask_again_s=None)
    assert mood.note(lanes=1, wanted=250, ask_again_s=None)


def test_a_paced_backlog_makes_busy_though_it_is_only_thirty_a_second() -> None:
    mood = Mood(Hands())
    changes = [mood.note(lanes=2, wanted=250, ask_again_s=0.05) for _ in range(4)]
    assert changes == [False, False, False, True]


def test_a_trickle_of_lone_messages_stays_idle() -> None:
    hands = Hands()
    mood = Mood(hands)
    for _ in range(100):
        hands.at_s += 0.05
        assert not mood.note(lanes=1, wanted=250, ask_again_s=0.001)
        assert not mood.note(lanes=0, wanted=249, ask_again_s=None)


def test_busy_ends_only_after_a_calm_second() -> None:
    hands = Hands()
    mood = Mood(hands)
    assert mood.note(lanes=60, wanted=250, ask_again_s=None)
    mood.change()
    assert not mood.idle
    hands.at_s += 0.9
    assert not mood.note(lanes=0, wanted=250, ask_again_s=None)
    hands.at_s += 1.2
    assert mood.note(lanes=0, wanted=250, ask_again_s=None)


@pytest.mark.parametrize(("bell_works", "slow_s"), [(True, IDLE_POLL_S), (False, DEAF_POLL_S)])
def test_who_just_became_idle_polls_fast_for_a_second(bell_works: bool, slow_s: float) -> None:
    hands = Hands()
    mood = Mood(hands)
    assert mood.poll_s(bell_works) == BUSY_POLL_S
    hands.at_s += 1.1
    assert mood.poll_s(bell_works) == slow_s
    mood.change()
    assert mood.poll_s(bell_works) == BUSY_POLL_S
    mood.change()
    assert mood.poll_s(bell_works) == BUSY_POLL_S
