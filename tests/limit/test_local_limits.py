"""The limits that a bot's process keeps in memory while there is no database."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from outbox.limit.local_limits import Limits, LocalLimits


def test_a_share_of_the_limits_is_at_least_one_message() -> None:
    assert Limits(3, 1, 1, 1, 60).scaled(0.1) == Limits(1, 1, 10, 1, 60)
    assert Limits(None, 1, 1, None, 60).scaled(0.5) == Limits(None, 1, 2, None, 60)


def test_nothing_goes_before_what_was_sent_with_the_database_is_over() -> None:
    limits = LocalLimits(Limits(), 10)
    assert limits.take("1", 1, 3) == 10
    due_s, _ = limits.take("1", 1, 10)  # type: ignore[misc]
    assert due_s >= 10


@pytest.mark.parametrize("seed", range(5))
def test_no_window_sees_more_than_the_limits(seed: int) -> None:
    draw = random.Random(seed)
    limits = LocalLimits(Limits(10, 1, 1, 4, 20), 0)
    arrivals: list[tuple[float, str]] = []
    unsettled: list[tuple[float, str, float, list[int]]] = []
    now_s = 0.0
    while now_s < 60:
        now_s += draw.random() * 0.05
        for one in [one for one in unsettled if one[0] <= now_s]:
            unsettled.remove(one)
            answered_s, chat, due_s, tokens = one
            limits.settle(chat, due_s, tokens, answered_s, 0, True)
        chat = str(draw.choice([-1, -2, *range(1, 30)]))
        cost = draw.choice([1, 1, 1, 3])
        taken = limits.take(chat, cost, now_s)
        if isinstance(taken, float | int):
            assert taken > now_s
            continue
        due_s, tokens = taken
        arrived_s = due_s + draw.random() * 0.1
        arrivals += [(arrived_s, chat)] * cost
        if draw.random() < 0.9:
            unsettled.append((arrived_s + draw.random() * 0.1, chat, due_s, tokens))
    assert len(arrivals) > 200, f"seed {seed}: nothing was tried"
    assert _most([at for at, _ in arrivals], 1) <= 10, f"seed {seed}"
    for chat in {chat for _, chat in arrivals}:
        at = sorted({at for at, one in arrivals if one == chat})
        assert all(b - a >= 1 for a, b in pairwise(at)), f"seed {seed}"
        if chat.startswith("-"):
            assert _most([at for at, one in arrivals if one == chat], 20) <= 4, f"seed {seed}"


def test_an_unsent_slot_goes_back() -> None:
    limits = LocalLimits(Limits(1, 1, 1, 20, 60), 0)
    taken = limits.take("-1", 1, 5)
    assert isinstance(taken, tuple)
    limits.settle("-1", *taken, 5, 0, False)
    again = limits.take("-1", 1, 6)
    assert isinstance(again, tuple)
    assert again[0] == 6


def test_a_429_makes_its_chat_wait() -> None:
    limits = LocalLimits(Limits(), 0)
    taken = limits.take("1", 1, 5)
    assert isinstance(taken, tuple)
    limits.settle("1", *taken, 5.1, 30, True)
    assert limits.take("1", 1, 6) == pytest.approx(35.1)
    assert isinstance(limits.take("2", 1, 6), tuple)


def test_what_was_sent_before_counts_for_its_chat_and_its_group() -> None:
    limits = LocalLimits(Limits(30, 1, 1, 3, 60), 10)
    limits.count("1", 1, 9.5)
    limits.count("-1", 2, 8)
    limits.count("-1", 1, 3)
    assert limits.take("1", 1, 10) == 10.5
    assert limits.take("-1", 1, 10) == 63
    assert limits.take("-1", 2, 64) == 68
    assert isinstance(limits.take("-2", 1, 10), tuple)


def test_chats_that_may_send_are_forgotten_and_others_are_not() -> None:
    limits = LocalLimits(Limits(None), 0)
    limits.block("99", 1e9, 1)
    for chat in range(100_000, 130_000):
        limits.take(str(chat), 1, chat)
    assert len(limits._lanes) < 15_000
    assert limits.take("99", 1, 130_000) == 1e9


def _most(times: list[float], window_s: float) -> int:
    return max(sum(start <= at < start + window_s for at in times) for start in times)
