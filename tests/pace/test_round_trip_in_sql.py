"""R, the bot's least round trip: unknown before 100 answers, everybody's, and forgotten when somebody new comes."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, claim, insert, register
from tests.invariants.frozen_clock import FrozenClock


def least_round_trip_s(connection: Connection) -> float:
    row = connection.execute("SELECT outbox.least_round_trip_s(b) FROM outbox.bucket b").fetchone()
    assert row is not None
    return float(row[0])


def tell(connection: Connection, worker: int, round_trips_s: list[float | None]) -> None:
    """Settle slots that are long over: only their round trips count."""
    claim(
        connection,
        worker,
        n=0,
        settlements=[
            {"bot": "default", "slot": -1, "age_s": 0, "result": "ok", "round_trip_s": round_trip_s}
            for round_trip_s in round_trips_s
        ],
    )


def test_it_is_nought_before_a_hundred_answers_and_the_least_afterwards(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    tell(connection, worker, [0.05, *[0.2] * 98])
    assert least_round_trip_s(connection) == 0
    tell(connection, worker, [0.2])
    assert least_round_trip_s(connection) == 0.05


def test_it_is_that_of_all_workers_together(connection: Connection, frozen: FrozenClock) -> None:
    far, near = register(connection), register(connection)
    tell(connection, far, [0.3])  # its first claim would make all that is known forgotten
    tell(connection, near, [0.02] * 50)
    tell(connection, far, [0.3] * 50)
    assert least_round_trip_s(connection) == 0.02


@pytest.mark.parametrize("told", [None, -1.0])
def test_what_was_not_answered_is_no_round_trip(
    connection: Connection, frozen: FrozenClock, told: float | None
) -> None:
    tell(connection, register(connection), [told] * 200)
    assert least_round_trip_s(connection) == 0
    assert connection.execute("SELECT round_trip_answers FROM outbox.bucket").fetchall() == [([0, 0],)]


def test_an_old_least_is_forgotten_after_twenty_minutes_and_not_before_ten(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    tell(connection, worker, [0.01] * 100)
    frozen.advance(601)
    tell(connection, worker, [0.2] * 100)
    assert least_round_trip_s(connection) == 0.01
    frozen.advance(601)
    tell(connection, worker, [0.2] * 100)
    assert least_round_trip_s(connection) == 0.2


def test_a_new_worker_makes_it_unknown(connection: Connection, frozen: FrozenClock) -> None:
    tell(connection, register(connection), [0.3] * 100)
    insert(connection, 1)
    newcomer = register(connection)
    assert least_round_trip_s(connection) == 0.3, "registering is not claiming"
    claim(connection, newcomer)
    assert least_round_trip_s(connection) == 0


def test_a_worker_that_registered_earlier_and_claims_later_is_new_too(
    connection: Connection, frozen: FrozenClock
) -> None:
    slow_to_start, quick_to_start = register(connection), register(connection)
    tell(connection, quick_to_start, [0.3] * 100)
    insert(connection, 1)
    claim(connection, slow_to_start)
    assert least_round_trip_s(connection) == 0
