"""Scripted interleavings, as checks that the mutations share: AssertionError where the promise is broken."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from psycopg import errors

from tests.invariants.calls import Connection, Lane, add_bot, claim, complete, finish, insert, register, result, status
from tests.invariants.checks import broken
from tests.invariants.stage import Stage


def reap(connection: Connection) -> int:
    row = connection.execute("SELECT outbox.reap()").fetchone()
    assert row is not None
    return int(row[0])


def the_wakeup_that_claim_drops_while_complete_waits_is_followed_up(stage: Stage) -> None:
    """Look after you lock (I3): what claim saw in flight was committed after complete had begun to wait."""
    connection, worker = stage.connection, register(stage.connection)
    insert(connection, 1)
    [first] = claim(connection, worker).lanes
    insert(connection, 1, priority=0)
    claiming, completing = stage.open_session(), stage.open_session()
    claim(claiming.begin(), worker)  # holds the chat: took the critical message's wakeup, found the lane in flight

    call = completing.start(finish, worker, [first])
    assert completing.waits(call), "complete did not wait for the chat"
    later = insert(connection, 1, priority=1)
    assert claim(claiming.connection, worker).lanes == []  # as the same claim's turn at priority 1 would
    # The critical one leaves, so that nothing but a look after the lock can find the later one.
    claiming.connection.execute("DELETE FROM outbox.message WHERE priority = 0")
    claiming.commit()
    assert call.result() == 1

    assert broken(connection) == []
    stage.frozen.advance(2)
    assert claim(connection, worker).message_ids == [later]


def the_result_of_a_worker_reaped_meanwhile_leaves_the_next_flight_alone(stage: Stage) -> None:
    """Look after you lock (I3, I7): complete must judge by who owns the lane when it got it."""
    connection = stage.connection
    add_bot(connection, backoff_initial_s=0.001, backoff_max_s=0.001)
    first, message_id = register(connection), insert(connection, 1)
    [lane] = claim(connection, first).lanes
    stage.frozen.advance(30)
    second = register(connection)
    reaping, completing = stage.open_session(), stage.open_session()
    reap(reaping.begin())
    call = completing.start(finish, first, [lane], "retry")
    assert completing.waits(call), "complete did not wait for the reaper"
    stage.frozen.advance(2)
    [again] = claim(reaping.connection, second).lanes
    reaping.commit()

    assert call.result() == 0
    assert stage.in_flight(1) == (message_id, second, again.attempt)
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(1,)]


def batches_in_opposite_order_do_not_wait_for_each_other_in_a_circle(stage: Stage) -> None:
    """One lock order for everyone (I3). Chats 3 and 5 are gates that keep both batches half-way."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, rate=None)
    for chat_id in (1, 3, 5, 9):
        insert(connection, chat_id)
    lanes = {lane.chat_id: lane for lane in claim(connection, worker).lanes}
    gate, one, other = stage.open_session(), stage.open_session(), stage.open_session()
    gate.begin().execute("SELECT FROM outbox.chat WHERE chat_id IN ('3', '5') FOR UPDATE")
    upwards = one.start(complete, worker, [result(lanes[c]) for c in "135"] + [_record(lanes["9"])])
    assert one.waits(upwards)
    downwards = other.start(complete, worker, [result(lanes["9"]), _record(lanes["5"]), _record(lanes["1"])])
    assert other.waits(downwards)
    gate.commit()
    assert _ends(upwards) + _ends(downwards) == 4
    assert broken(connection) == []


def reap_and_complete_do_not_wait_for_each_other_in_a_circle(stage: Stage) -> None:
    """The reaper locks the lanes of all the dead in one order (I3): the older of them holds the last chat."""
    connection = stage.connection
    add_bot(connection, rate=None)
    older, younger, living = (register(connection) for _ in range(3))
    lanes: list[Lane] = []
    for worker, chat_id in ((older, 9), (younger, 1)):
        insert(connection, chat_id)
        lanes += claim(connection, worker).lanes
    stage.frozen.advance(15)
    connection.execute("SELECT outbox.heartbeat(%s, false)", [living])
    insert(connection, 5)
    lanes += claim(connection, living).lanes
    stage.frozen.advance(10)

    gate, completing, reaping = stage.open_session(), stage.open_session(), stage.open_session()
    gate.begin().execute("SELECT FROM outbox.chat WHERE chat_id = '5' FOR UPDATE")
    told = completing.start(complete, living, [result(lane) for lane in lanes])
    assert completing.waits(told)
    reaped = reaping.start(reap)
    assert reaping.waits(reaped)
    gate.commit()
    assert (_ends(told), _ends(reaped)) == (1, 2)
    assert [status(connection, lane.message_id) for lane in lanes] == ["queued", "queued", "sent"]
    assert broken(connection) == []


def _record(lane: Lane) -> dict[str, Any]:
    """A result that locks the lane and changes nothing: an attempt that never was."""
    return result(lane, "retry", attempt=99)


def _ends(call: Future[int]) -> int:
    try:
        return call.result()
    except errors.DeadlockDetected as deadlock:
        raise AssertionError(f"deadlock: {deadlock}") from None
