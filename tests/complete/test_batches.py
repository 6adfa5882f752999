"""A batch whose answer was lost comes again, with newer results behind it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, claim, complete, finish, insert, register, result, status
from tests.invariants.frozen_clock import FrozenClock


def test_a_result_brought_again_beside_a_newer_one_of_its_chat_does_not_keep_the_lane_in_flight(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    older, newer = insert(connection, 1), insert(connection, 1)
    [first] = claim(connection, worker).lanes
    finish(connection, worker, [first])  # committed, but the worker never read the answer
    frozen.advance(2)
    [second] = claim(connection, worker).lanes

    assert complete(connection, worker, [result(first), result(second)]) == 1
    assert [status(connection, older), status(connection, newer)] == ["sent", "sent"]
    assert connection.execute("SELECT in_flight FROM outbox.chat").fetchall() == [(None,)]


def test_a_lane_whose_batch_holds_a_repeated_result_goes_on_to_its_next_message(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    for _ in range(3):
        insert(connection, 1)
    [first] = claim(connection, worker).lanes
    finish(connection, worker, [first])
    frozen.advance(2)
    [second] = claim(connection, worker).lanes
    complete(connection, worker, [result(first), result(second)])
    frozen.advance(2)
    assert len(claim(connection, worker).lanes) == 1


def test_an_unsent_brought_again_does_not_end_the_next_flight_of_its_message(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    message_id = insert(connection, 1)
    [first] = claim(connection, worker).lanes
    finish(connection, worker, [first], "unsent")
    frozen.advance(1)
    [second] = claim(connection, worker).lanes

    assert finish(connection, worker, [first], "unsent") == 0
    assert status(connection, message_id) == "sending"
    assert finish(connection, worker, [second]) == 1


def test_the_same_result_twice_in_one_batch_is_one_attempt(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    message_id = insert(connection, 1)
    [lane] = claim(connection, worker).lanes
    complete(connection, worker, [result(lane, "retry"), result(lane, "retry")])
    assert status(connection, message_id) == "queued"
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(1,)]


def test_an_outcome_that_does_not_exist_is_refused_and_changes_nothing(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    message_id = insert(connection, 1)
    [lane] = claim(connection, worker).lanes
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="outcome that does not exist"):
        finish(connection, worker, [lane], "delivered")
    assert status(connection, message_id) == "sending"


OUTCOMES = ["sent", "wait", "retry", "uncertain", "dead", "unsent"]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_batch_brought_twice_changes_no_message_and_no_wakeup(
    connection: Connection, frozen: FrozenClock, outcome: str
) -> None:
    before, after = tables_after_a_batch_brought_twice(
        connection, outcome, "message", "wakeup", "dead_letter", "finished"
    )
    assert after == before


@pytest.mark.parametrize("outcome", [outcome for outcome in OUTCOMES if outcome != "unsent"])
def test_a_batch_brought_twice_records_each_call_once(
    connection: Connection, frozen: FrozenClock, outcome: str
) -> None:
    before, after = tables_after_a_batch_brought_twice(connection, outcome, "attempt")
    assert after == before


@pytest.mark.parametrize(
    "outcome",
    [
        "sent",
        *OUTCOMES[1:],
    ],
)
def test_a_batch_brought_twice_counts_once_in_its_group(
    connection: Connection, frozen: FrozenClock, outcome: str
) -> None:
    before, after = tables_after_a_batch_brought_twice(connection, outcome, "chat")
    assert after == before


def tables_after_a_batch_brought_twice(connection: Connection, outcome: str, *tables: str) -> list[list[Any]]:
    """Return what these tables held after the first telling, and after the second."""
    worker = register(connection)
    for _ in range(2):
        insert(connection, -1001)
    lanes = claim(connection, worker).lanes
    held: list[list[Any]] = []
    for _ in range(2):
        finish(connection, worker, lanes, outcome, retry_after_s=3)
        held.append([connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables])
    return held
