"""Retry beside complete, claim and another operator: scripted, with locks seen in the server as barriers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.invariants.calls import Connection, Lane, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.operate.dead_letters import die, operate, unlimited

OpenSession = Callable[[], Session]


def uncertain(connection: Connection, frozen: FrozenClock) -> tuple[int, Lane]:
    """Make the uncertain dead letter of a reaped worker, whose answer is still to come."""
    worker = register(connection)
    insert(connection, 1, on_uncertain="hold")
    [lane] = claim(connection, worker).lanes
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert status(connection, lane.message_id) == "uncertain"
    return worker, lane


def test_a_late_sent_that_comes_first_leaves_nothing_to_retry(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession
) -> None:
    worker, lane = uncertain(connection, frozen)
    completing, retrying = open_session(), open_session()
    finish(completing.begin(), worker, [lane])
    call = retrying.start(operate, "retry", lane.message_id)
    assert retrying.waits(call), "it must not decide before the truth is told"
    completing.commit()
    assert call.result() == 0
    assert status(connection, lane.message_id) == "sent"
    assert broken(connection) == []


def test_a_late_sent_that_waits_for_a_retry_ends_the_message_instead_of_sending_it_again(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession
) -> None:
    worker, lane = uncertain(connection, frozen)
    completing, retrying = open_session(), open_session()
    assert operate(retrying.begin(), "retry", lane.message_id) == 1
    call = completing.start(finish, worker, [lane])
    assert completing.waits(call), "it would find neither dead letter nor message"
    retrying.commit()
    assert call.result() == 0
    assert status(connection, lane.message_id) == "sent"
    frozen.advance(60)
    assert claim(connection, register(connection)).lanes == []
    assert broken(connection) == []


def test_a_retry_taken_back_leaves_the_dead_letter_to_the_late_sent(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession
) -> None:
    worker, lane = uncertain(connection, frozen)
    completing, retrying = open_session(), open_session()
    operate(retrying.begin(), "retry", lane.message_id)
    call = completing.start(finish, worker, [lane])
    assert completing.waits(call)
    retrying.rollback()
    call.result()
    assert status(connection, lane.message_id) == "sent"


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_two_operators_share_the_work_and_neither_waits(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession, verb: str
) -> None:
    unlimited(connection)
    made = [die(connection, chat_id) for chat_id in range(1, 11)]
    one, other = open_session(), open_session()
    assert operate(one.begin(), verb, p_bot="default", p_limit=6) == 6
    call = other.start(operate, verb, p_bot="default", p_limit=6)
    assert not other.waits(call)
    assert call.result() == 4
    one.commit()
    assert operate(connection, verb, p_bot="default") == 0
    rows = connection.execute("SELECT id FROM outbox.history WHERE status IN ('queued', 'discarded')").fetchall()
    assert sorted(row[0] for row in rows) == made
    assert broken(connection) == []


@pytest.mark.parametrize("verb", ["retry", "discard"])
@pytest.mark.parametrize("kept", [True, False])
def test_nothing_left_is_said_only_when_nothing_is_left(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession, verb: str, kept: bool
) -> None:
    unlimited(connection)
    die(connection, 1)
    one, other = open_session(), open_session()
    assert operate(one.begin(), verb, p_bot="default") == 1
    call = other.start(operate, verb, p_bot="default")
    assert other.waits(call)
    if kept:
        one.commit()
        assert call.result() == 0
    else:
        one.rollback()
        assert call.result() == 1


def test_a_claim_goes_round_lanes_that_a_retry_holds(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession
) -> None:
    unlimited(connection)
    retried = die(connection, 1)
    elsewhere = insert(connection, 2)
    retrying, claiming = open_session(), open_session()
    operate(retrying.begin(), "retry", retried)
    worker = register(connection)
    call = claiming.start(claim, worker)
    assert not claiming.waits(call)
    assert call.result().message_ids == [elsewhere]
    retrying.commit()
    assert claim(connection, worker).message_ids == [retried]


def test_a_lane_in_flight_keeps_its_flight_while_a_dead_letter_joins_it(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    retried = die(connection, 1)
    sending, worker = insert(connection, 1), register(connection)
    lanes = claim(connection, worker).lanes
    assert operate(connection, "retry", retried) == 1
    assert status(connection, sending) == "sending"
    assert claim(connection, worker).lanes == []
    assert finish(connection, worker, lanes) == 1
    assert broken(connection) == []
    assert claim(connection, worker).message_ids == [retried]


def test_a_retry_and_a_discard_of_one_dead_letter_do_not_both_have_it(
    connection: Connection, frozen: FrozenClock, open_session: OpenSession
) -> None:
    unlimited(connection)
    message_id = die(connection, 1)
    retrying, discarding = open_session(), open_session()
    assert operate(discarding.begin(), "discard", message_id) == 1
    assert operate(retrying.begin(), "retry", message_id) == 0
    retrying.commit()
    discarding.commit()
    assert status(connection, message_id) == "discarded"
    assert broken(connection) == []
