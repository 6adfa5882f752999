"""Claim waits for nobody: a lane that it cannot lock gets its wakeup back a few milliseconds later (I3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.invariants import scenes
from tests.invariants.calls import Claim, Connection, claim, finish, insert, register
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.invariants.stage import Stage


def claim_beside(open_session: Callable[[], Session], worker: int) -> Claim:
    """Claim in a session of its own; fails if the call had to wait for another session's lock."""
    session = open_session()
    call = session.start(claim, worker)
    assert not session.waits(call), "claim waited"
    return call.result()


@pytest.mark.parametrize(
    "held",
    [
        "SELECT FROM outbox.bucket FOR UPDATE",
        "SELECT FROM outbox.wakeup FOR UPDATE",
        "SELECT FROM outbox.chat FOR UPDATE",
        "UPDATE outbox.chat SET next_send_at = next_send_at",
        "SELECT FROM outbox.worker FOR UPDATE",
    ],
)
def test_claim_does_not_wait_for_a_row_that_another_holds(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session], held: str
) -> None:
    worker = register(connection)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)  # its chat exists now
    message_id = insert(connection, 1)
    frozen.advance(2)
    holder = open_session()
    holder.begin().execute(held)

    answer = claim_beside(open_session, worker)
    assert answer.lanes == []
    assert answer.ask_again_s is not None
    assert answer.ask_again_s <= 0.01
    assert broken(connection) == []
    holder.commit()
    frozen.advance(0.01)
    assert [*answer.message_ids, *claim(connection, worker).message_ids] == [message_id]


def test_a_heartbeat_that_has_not_committed_stops_no_claim(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    beating = open_session()
    beating.begin().execute("SELECT outbox.heartbeat(%s, false)", [worker])
    assert claim_beside(open_session, worker).message_ids == [message_id]


def test_claim_does_not_wait_for_a_complete_that_has_not_committed(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker = register(connection)
    for _ in range(2):
        insert(connection, 1)
    lanes = claim(connection, worker).lanes
    insert(connection, 1)
    frozen.advance(2)
    completing = open_session()
    finish(completing.begin(), worker, lanes)

    claim_beside(open_session, worker)
    assert broken(connection) == []
    completing.commit()
    assert broken(connection) == []
    frozen.advance(2)
    assert len(claim(connection, worker).lanes) == 1


def test_claims_of_two_workers_at_once_never_give_the_same_chat(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    first, second = register(connection), register(connection)
    for chat_id in range(1, 7):
        insert(connection, chat_id)
    claiming = open_session()
    given = claim(claiming.begin(), first, n=2).lanes
    assert claim_beside(open_session, second).lanes == []
    claiming.commit()
    frozen.advance(0.1)
    given += claim_beside(open_session, second).lanes
    assert len({lane.chat_id for lane in given}) == len(given) > 2


def test_a_lane_that_another_session_holds_is_looked_at_again(stage: Stage) -> None:
    scenes.a_lane_that_another_session_holds_is_looked_at_again(stage)
