"""Simulated sending against the real claim(): time is the frozen clock's, the network is a function, nothing waits."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tests.invariants.calls import Connection, add_bot, claim, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.pacing import Use

IDLE_POLL_S = 0.05
LEAST_PAUSE_S = 0.004
LONGEST_WAIT_S = 0.5  # half the arrival bound: a later slot is given back


@dataclass
class Call:
    """One request: when it was to be sent, arrived and was answered, in seconds since the start."""

    slot: int
    slot_s: float
    arrived_s: float
    answered_s: float | None
    unsent: bool = False


Network = Callable[[random.Random], tuple[float, float | None]]
"""Draws the delays in seconds from the slot to the arrival and from the slot to the answer (None: never answered)."""


def steady(round_trip_s: float) -> Network:
    """A network whose every request takes half a round trip each way."""
    return lambda _: (round_trip_s / 2, round_trip_s)


def wild(draw: random.Random) -> tuple[float, float | None]:
    """Most answers come soon, some late, some after Telegram's stall of 8 s, some never."""
    to_arrival_s = draw.choice([0.005, 0.03, draw.random() * LONGEST_WAIT_S])
    kind = draw.random()
    if kind < 0.03:
        return to_arrival_s, None
    if kind < 0.06:
        return to_arrival_s, to_arrival_s + 8
    return to_arrival_s, to_arrival_s + draw.choice([0.01, 0.05, draw.random()])


def quick(draw: random.Random) -> tuple[float, float | None]:
    """Within the 35 ms of jitter that GCRA's spacing has room for."""
    to_answer_s = draw.random() * 0.034
    return draw.random() * to_answer_s, to_answer_s


@dataclass
class Peer:
    """A worker somewhere in the world."""

    network: Network
    joins_at_s: float = 0.0
    tells_round_trip: bool = True
    unsent_share: float = 0.0
    worker: int | None = None
    pending: list[Call] = field(default_factory=list)


def simulate(
    connection: Connection, frozen: FrozenClock, rate: int, peers: Sequence[Peer], seconds: float, seed: int = 1
) -> list[Call]:
    """Let peers send a backlog that never ends; return every call in order of its slot number."""
    draw = random.Random(seed)
    connection.execute("SELECT setseed(0.5)")
    add_bot(connection, rate=rate)
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT i::text, '{}' FROM generate_series(1, %s) i",
        [int(rate * (seconds + 2)) + 10],
    )
    start = frozen.at
    calls: list[Call] = []
    turns = [(peer.joins_at_s, i) for i, peer in enumerate(peers)]
    heapq.heapify(turns)
    while turns:
        now_s, i = heapq.heappop(turns)
        if now_s > seconds:
            continue
        peer = peers[i]
        frozen.set(start + timedelta(seconds=now_s))
        if peer.worker is None:
            peer.worker = register(connection)
        answered = [c for c in peer.pending if c.answered_s is not None and c.answered_s <= now_s]
        answer = claim(connection, peer.worker, settlements=[_settlement(peer, c, now_s) for c in answered])
        if answer.settled:
            peer.pending = [c for c in peer.pending if c not in answered]
        for lane in answer.lanes:
            slot_s = (lane.slot_at - start).total_seconds()
            to_arrival_s, to_answer_s = peer.network(draw)
            call = Call(lane.slot, slot_s, slot_s + to_arrival_s, None if to_answer_s is None else slot_s + to_answer_s)
            if draw.random() < peer.unsent_share:
                call.unsent, call.answered_s = True, slot_s
            calls.append(call)
            peer.pending.append(call)
        pause_s = IDLE_POLL_S if answer.ask_again_s is None else answer.ask_again_s
        heapq.heappush(turns, (now_s + max(pause_s, LEAST_PAUSE_S), i))
    return calls


def _settlement(peer: Peer, call: Call, now_s: float) -> dict[str, object]:
    assert call.answered_s is not None
    told = peer.tells_round_trip and not call.unsent
    return {
        "bot": "default",
        "slot": call.slot,
        "age_s": now_s - call.answered_s,
        "result": "unsent" if call.unsent else "ok",
        "round_trip_s": call.answered_s - call.slot_s if told else None,
    }


def refused(calls: Sequence[Call], rate: int, window_s: float = 1.0) -> int:
    """Count the calls that a strict sliding window would answer with 429; the refused do not count in it."""
    accepted: list[float] = []
    count = 0
    for at in sorted(call.arrived_s for call in calls if not call.unsent):
        if len(accepted) >= rate and at - accepted[-rate] < window_s:
            count += 1
        else:
            accepted.append(at)
    return count


def as_uses(calls: Sequence[Call], frozen: FrozenClock) -> list[Use]:
    """The same calls as what is known about their arrival: brute force looks at every possible one."""
    return [
        Use(
            call.slot,
            frozen.at + timedelta(seconds=call.slot_s),
            None if call.answered_s is None else frozen.at + timedelta(seconds=call.answered_s),
            call.unsent,
        )
        for call in calls
    ]
