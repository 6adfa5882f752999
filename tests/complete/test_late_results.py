"""The truth is never thrown away: what a reaped worker still tells (I7)."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, Lane, claim, complete, finish, insert, register, result, status
from tests.invariants.frozen_clock import FrozenClock


def reaped(connection: Connection, frozen: FrozenClock, worker: int) -> Lane:
    """Let a worker claim one message and lose its lease."""
    [lane] = claim(connection, worker).lanes
    frozen.advance(30)
    assert connection.execute("SELECT outbox.reap()").fetchone() == (1,)
    return lane


def test_a_late_sent_finishes_the_message_that_waits(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    lane = reaped(connection, frozen, worker)
    assert status(connection, message_id) == "queued"
    assert finish(connection, worker, [lane], telegram_message_id=77) == 0
    rows = connection.execute("SELECT status, telegram_message_id FROM outbox.history").fetchall()
    assert rows == [("sent", 77)]


def test_one_call_counts_once_though_its_answer_came_late(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    finish(connection, worker, [reaped(connection, frozen, worker)])
    assert connection.execute("SELECT attempts FROM outbox.history").fetchall() == [(1,)]


def test_a_late_sent_resolves_an_uncertain_dead_letter(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1, on_uncertain="hold")
    lane = reaped(connection, frozen, worker)
    assert status(connection, message_id) == "uncertain"
    finish(connection, worker, [lane])
    assert status(connection, message_id) == "sent"


def test_a_late_sent_resolves_a_dead_letter_whose_last_outcome_was_unknown(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker, message_id = register(connection), insert(connection, 1, max_attempts=1)
    lane = reaped(connection, frozen, worker)
    assert status(connection, message_id) == "dead"
    finish(connection, worker, [lane])
    assert status(connection, message_id) == "sent", "a person would send it again, though we know that it arrived"


def test_a_late_sent_while_another_sends_is_only_recorded(connection: Connection, frozen: FrozenClock) -> None:
    first, message_id = register(connection), insert(connection, 1)
    lane = reaped(connection, frozen, first)
    second = register(connection)
    frozen.advance(5)
    [again] = claim(connection, second).lanes
    assert finish(connection, first, [lane]) == 0
    assert status(connection, message_id) == "sending"
    assert finish(connection, second, [again]) == 1
    late = connection.execute("SELECT attempt, outcome, late FROM outbox.attempt WHERE late").fetchall()
    assert late == [(1, "sent", True)]


@pytest.mark.parametrize("outcome", ["wait", "retry", "uncertain", "dead", "unsent"])
def test_any_other_late_result_changes_only_attempt(connection: Connection, frozen: FrozenClock, outcome: str) -> None:
    worker = register(connection)
    insert(connection, 1)
    lane = reaped(connection, frozen, worker)
    tables = ("message", "chat", "wakeup", "dead_letter", "finished", "bucket")
    before = [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables]
    assert finish(connection, worker, [lane], outcome, retry_after_s=60) == 0
    assert before == [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables]


@pytest.mark.parametrize("outcome", ["retry", "uncertain", "wait", "dead", "unsent"])
@pytest.mark.parametrize("told", ["before", "in one batch"])
def test_a_late_sent_counts_when_the_one_that_sends_meanwhile_fails(
    connection: Connection, frozen: FrozenClock, outcome: str, told: str
) -> None:
    first, message_id = register(connection), insert(connection, 1)
    lane = reaped(connection, frozen, first)
    second = register(connection)
    frozen.advance(5)
    [again] = claim(connection, second).lanes
    if told == "before":
        finish(connection, first, [lane])
        finish(connection, second, [again], outcome)
    else:
        complete(connection, second, [result(lane), result(again, outcome)])
    assert status(connection, message_id) == "sent", "it goes again, or to a person, though we know that it arrived"
