"""Complete beside claim, insert and reap: scripted, with locks seen in the server as barriers."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.invariants import interleave
from tests.invariants.calls import Connection, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.invariants.stage import Stage


def test_the_wakeup_that_claim_drops_while_complete_waits_is_followed_up(stage: Stage) -> None:
    interleave.the_wakeup_that_claim_drops_while_complete_waits_is_followed_up(stage)


def test_the_result_of_a_worker_reaped_meanwhile_leaves_the_next_flight_alone(stage: Stage) -> None:
    interleave.the_result_of_a_worker_reaped_meanwhile_leaves_the_next_flight_alone(stage)


def test_batches_in_opposite_order_do_not_wait_for_each_other_in_a_circle(stage: Stage) -> None:
    interleave.batches_in_opposite_order_do_not_wait_for_each_other_in_a_circle(stage)


def test_reap_and_complete_do_not_wait_for_each_other_in_a_circle(stage: Stage) -> None:
    interleave.reap_and_complete_do_not_wait_for_each_other_in_a_circle(stage)


def test_the_reaper_that_waited_for_complete_finds_nothing_to_reap(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    lanes = claim(connection, worker).lanes
    frozen.advance(30)
    completing, reaping = open_session(), open_session()
    finish(completing.begin(), worker, lanes)
    call = reaping.start(interleave.reap)
    assert reaping.waits(call)
    completing.commit()
    assert call.result() == 0
    assert status(connection, message_id) == "sent"
    assert broken(connection) == []


@pytest.mark.parametrize("inserted_is_committed", ["while complete is open", "after complete"])
def test_a_message_inserted_while_complete_runs_is_sent(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session], inserted_is_committed: str
) -> None:
    worker = register(connection)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    completing, producing = open_session(), open_session()
    finish(completing.begin(), worker, lanes)
    message_id = insert(producing.begin(), 1)
    first, second = (
        (producing, completing) if inserted_is_committed == "while complete is open" else (completing, producing)
    )
    for session in (first, second):
        session.commit()
        assert broken(connection) == []
    frozen.advance(2)
    assert claim(connection, worker).message_ids == [message_id]


@pytest.mark.parametrize("committed", ["in flight", "after complete", "after another was sent"])
def test_a_message_that_commits_late_is_sent_though_younger_ones_went_before(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session], committed: str
) -> None:
    worker, producing = register(connection), open_session()
    late = insert(producing.begin(), 1)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    if committed == "in flight":
        producing.commit()
        frozen.advance(0.1)
        assert claim(connection, worker).lanes == []  # drops the late one's wakeup
        finish(connection, worker, lanes)
    else:
        finish(connection, worker, lanes)
        if committed == "after another was sent":
            insert(connection, 1)
            frozen.advance(2)
            finish(connection, worker, claim(connection, worker).lanes)
        producing.commit()
    assert broken(connection) == []
    frozen.advance(2)
    assert claim(connection, worker).message_ids == [late]


def test_complete_waits_for_a_claim_that_holds_its_chat_and_then_applies(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    lanes = claim(connection, worker).lanes
    insert(connection, 1)
    claiming, completing = open_session(), open_session()
    assert claim(claiming.begin(), worker).lanes == []
    call = completing.start(finish, worker, lanes)
    assert completing.waits(call)
    claiming.rollback()
    assert call.result() == 1
    assert status(connection, message_id) == "sent"
    assert broken(connection) == []


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("function", ["claim", "complete"])
def test_any_other_isolation_level_is_refused(connection: Connection, isolation: str, function: str) -> None:
    """A snapshot taken before the locks would be looked at after them."""
    worker = register(connection)
    insert(connection, 1)
    call = {"claim": "outbox.claim(%s, '{default}', 1, '[]')", "complete": "outbox.complete(%s, '[]')"}[function]
    connection.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    with pytest.raises(psycopg.errors.InvalidTransactionState, match=f"{function} runs in READ COMMITTED only"):
        connection.execute(f"SELECT * FROM {call}", [worker])
