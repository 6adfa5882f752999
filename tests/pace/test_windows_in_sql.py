"""No window sees more than the limit arrive, whatever the network does (I6): brute force over long simulated runs."""

from __future__ import annotations

import random

import pytest

from tests.invariants import scenes
from tests.invariants.calls import Connection
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.pacing import most_in_a_window
from tests.invariants.simulate import Network, Peer, as_uses, quick, refused, simulate, steady, wild
from tests.invariants.stage import Stage


def test_a_near_and_a_far_worker_get_no_429(stage: Stage) -> None:
    scenes.a_near_and_a_far_worker_get_no_429(stage)


def test_a_near_worker_that_joins_late_gets_no_429(stage: Stage) -> None:
    scenes.a_near_worker_that_joins_late_gets_no_429(stage)


def test_a_request_without_an_answer_keeps_its_token(stage: Stage) -> None:
    scenes.a_request_without_an_answer_keeps_its_token(stage)


def test_above_a_hundred_the_spacing_has_room_for_the_jitter(stage: Stage) -> None:
    scenes.above_a_hundred_the_spacing_has_room_for_the_jitter(stage)


@pytest.mark.parametrize(
    ("rate", "seconds", "network"),
    [(1, 90, wild), (2, 40, wild), (100, 5, wild), (300, 3, quick)],
)
def test_no_window_could_have_seen_more_than_the_limit(
    connection: Connection, frozen: FrozenClock, rate: int, seconds: float, network: Network
) -> None:
    """Nobody tells a round trip here: each request may have arrived anywhere between its slot and its answer."""
    peers = [Peer(network, tells_round_trip=False, unsent_share=0.03) for _ in range(2)]
    calls = simulate(connection, frozen, rate, peers, seconds)
    assert len(calls) > 0.45 * rate * seconds, f"only {len(calls)} calls: nothing was tried"
    assert most_in_a_window(as_uses(calls, frozen), 1, 0) <= rate


def test_with_a_known_round_trip_no_window_could_have_seen_more_either(
    connection: Connection, frozen: FrozenClock
) -> None:
    """An arrival lies half a least round trip from its slot and its answer at least."""
    least_s = 0.1

    def network(draw: random.Random) -> tuple[float, float | None]:
        excess_s = draw.choice([0, 0.005, draw.random() * 0.3])
        return least_s / 2 + draw.random() * excess_s, least_s + excess_s

    calls = simulate(connection, frozen, 30, [Peer(network), Peer(network)], 15)
    assert most_in_a_window(as_uses(calls, frozen), 1, least_s) <= 30
    assert refused(calls, 30) == 0


@pytest.mark.parametrize("round_trip_s", [0.02, 0.3])
def test_a_steady_network_is_used_almost_fully(
    connection: Connection, frozen: FrozenClock, round_trip_s: float
) -> None:
    calls = simulate(connection, frozen, 30, [Peer(steady(round_trip_s)), Peer(steady(round_trip_s))], 30)
    late = [call for call in calls if call.slot_s >= 10]  # the least round trip is known by then
    assert refused(calls, 30) == 0
    assert len(late) / (30 * 20) >= 0.97


def test_a_backlog_after_a_long_rest_starts_no_burst(connection: Connection, frozen: FrozenClock) -> None:
    frozen.advance(10_000)
    calls = simulate(connection, frozen, 30, [Peer(steady(0.02)) for _ in range(4)], 2)
    assert sum(call.slot_s < 1 for call in calls) <= 30
