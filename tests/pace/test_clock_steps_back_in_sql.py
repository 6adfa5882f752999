"""The database's clock may step back: a failover to a host that lags, a virtual machine that was moved (I5)."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, add_bot, claim, complete, insert, register, result
from tests.invariants.frozen_clock import FrozenClock


@pytest.mark.parametrize("rate", [30, 1, 200, None])
def test_a_clock_that_steps_back_does_not_silence_a_bot(
    connection: Connection, frozen: FrozenClock, rate: int | None
) -> None:
    add_bot(connection, rate=rate)
    worker = register(connection)
    insert(connection, 1)
    complete(connection, worker, map(result, claim(connection, worker).lanes))

    frozen.advance(-600)
    insert(connection, 2, next_attempt_at=frozen.at)
    # One window, the arrival bound and the horizon: later than that no slot given before the step can matter.
    given = claim(connection, worker).lanes
    for _ in range(5):
        frozen.advance(0.5)
        given += claim(connection, worker).lanes
    assert [lane.chat_id for lane in given] == ["2"]


def test_a_clock_that_steps_back_lets_no_burst_through(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=3)
    worker = register(connection)
    for chat_id in range(1, 20):
        insert(connection, chat_id, next_attempt_at="2000-01-01")
    passed_s = 0.0  # of time that no clock change touches
    slots: list[float] = []
    for step in range(40):
        if step == 10:
            frozen.advance(-600)
        lanes = claim(connection, worker).lanes
        slots += [passed_s + (lane.slot_at - frozen.at).total_seconds() for lane in lanes]
        complete(connection, worker, map(result, lanes))
        frozen.advance(0.1)
        passed_s += 0.1
    for slot in slots:
        assert sum(slot <= other < slot + 1 for other in slots) <= 3, slots


def test_a_clock_that_steps_back_between_claim_and_complete_loses_no_wakeup(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    insert(connection, 1, next_attempt_at=frozen.at)
    first = claim(connection, worker).lanes
    insert(connection, 1, next_attempt_at=frozen.at)
    frozen.advance(0.5)
    assert not claim(connection, worker).lanes  # takes the second message's wakeup: its lane is in flight

    frozen.advance(-0.6)
    complete(connection, worker, map(result, first))
    frozen.advance(10)
    assert len(claim(connection, worker).lanes) == 1


def test_a_clock_that_steps_back_does_not_silence_a_chat(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    complete(connection, worker, map(result, claim(connection, worker).lanes))
    frozen.advance(-600)
    insert(connection, 1, next_attempt_at=frozen.at)
    given = claim(connection, worker).lanes
    for _ in range(6):
        frozen.advance(0.5)
        given += claim(connection, worker).lanes
    assert len(given) == 1


def test_a_clock_that_steps_back_does_not_prolong_a_lease(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    assert claim(connection, worker).lanes
    frozen.advance(-600)
    living = register(connection)
    for _ in range(6):
        frozen.advance(5)
        connection.execute("SELECT outbox.heartbeat(%s, false)", [living])
        connection.execute("SELECT outbox.reap()")
    assert connection.execute("SELECT in_flight FROM outbox.chat").fetchall() == [(None,)]
