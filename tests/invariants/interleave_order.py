"""Scripted interleavings of collapse keys and targets with claim and complete, as checks that the mutations share."""

from __future__ import annotations

from tests.invariants import gates
from tests.invariants.calls import Connection, Lane, add_bot, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.interleave_cancel import LOOK_IN_CLAIM
from tests.invariants.stage import Stage


def ends(connection: Connection, *ids: int) -> list[tuple[str, str | None]]:
    """Status and class of each."""
    rows = connection.execute("SELECT id, status, error_class FROM outbox.history WHERE id = ANY (%s)", [list(ids)])
    found = {row[0]: (row[1], row[2]) for row in rows}
    return [found[message_id] for message_id in ids]


def a_second_claim_beside_a_collapse_sends_nothing_of_it(stage: Stage) -> None:
    """Neither the message that is being superseded nor, should the first claim come to nothing, both."""
    connection, workers = stage.connection, [register(stage.connection) for _ in range(2)]
    old, new = insert(connection, 1, collapse_key="score"), insert(connection, 1, collapse_key="score")
    first, second = stage.open_session(), stage.open_session()
    assert claim(first.begin(), workers[0]).message_ids == [new]
    call = second.start(claim, workers[1])
    assert not second.waits(call), "claim waited for a claim"
    assert call.result().lanes == []
    first.rollback()
    assert [status(connection, one) for one in (old, new)] == ["queued", "queued"]
    stage.frozen.advance(0.01)
    assert claim(connection, workers[1]).message_ids == [new]
    assert [status(connection, one) for one in (old, new)] == ["superseded", "sending"]
    assert broken(connection) == []


def a_newer_one_that_commits_before_claim_looks_goes(stage: Stage) -> None:
    """Look after you lock (I3): claim holds the lane, and has not looked."""
    connection, worker = stage.connection, register(stage.connection)
    old = insert(connection, 1, collapse_key="score")
    gate = gates.before(stage, "outbox.take_wakeups", LOOK_IN_CLAIM)
    claiming = stage.open_session()
    call = gate.holds(claiming, claim, worker)
    new = insert(connection, 1, collapse_key="score")
    gate.open()
    assert call.result().message_ids == [new]
    assert status(connection, old) == "superseded"
    assert broken(connection) == []


def a_newer_one_that_commits_after_claim_looked_goes_next(stage: Stage) -> None:
    """What is in flight is not superseded; what comes later is not lost."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0)
    old = insert(connection, 1, collapse_key="score")
    claiming = stage.open_session()
    lanes = claim(claiming.begin(), worker).lanes
    new = insert(connection, 1, collapse_key="score")
    claiming.commit()
    finish(connection, worker, lanes)
    stage.frozen.advance(0.01)
    assert claim(connection, worker).message_ids == [new]
    assert [status(connection, one) for one in (old, new)] == ["sent", "sending"]


def a_newer_one_that_commits_late_still_takes_the_place_of_one_that_is_tried_again(stage: Stage) -> None:
    """Its id is the larger one, whenever it commits; its attempts are its own."""
    connection, worker, producing = stage.connection, register(stage.connection), stage.open_session()
    add_bot(connection, chat_interval_s=0, backoff_initial_s=0.001, backoff_max_s=0.001)
    old = insert(connection, 1, collapse_key="score")
    new = insert(producing.begin(), 1, collapse_key="score")
    lanes = claim(connection, worker).lanes
    assert [lane.message_id for lane in lanes] == [old]
    finish(connection, worker, lanes, "retry")
    producing.commit()
    stage.frozen.advance(0.1)
    [again] = claim(connection, worker).lanes
    assert (again.message_id, again.attempt) == (new, 1)
    assert status(connection, old) == "superseded"
    assert broken(connection) == []


def _hold_target_and_follower(stage: Stage) -> tuple[int, Lane, int]:
    """A target of which nobody knows whether it was sent, and its follower; the worker, its lane, the follower."""
    connection = stage.connection
    add_bot(connection, chat_interval_s=0)
    worker, target = register(connection), insert(connection, 1, on_uncertain="hold")
    follower = insert(connection, 1, target_id=target)
    [lane] = claim(connection, worker).lanes
    stage.frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert status(connection, target) == "uncertain"
    stage.frozen.advance(1)
    return worker, lane, follower


def a_target_that_turns_out_as_sent_after_its_follower_died_is_there_for_a_retry(stage: Stage) -> None:
    """The truth about the target is kept (I7); what has ended stays ended until a person retries it."""
    connection = stage.connection
    dead, lane, follower = _hold_target_and_follower(stage)
    worker = register(connection)
    assert claim(connection, worker).lanes == []
    assert ends(connection, follower) == [("dead", "target_died")]
    finish(connection, dead, [lane], telegram_message_id=900)
    assert ends(connection, lane.message_id, follower) == [("sent", None), ("dead", "target_died")]
    stage.frozen.advance(1)
    assert claim(connection, worker).lanes == []
    connection.execute("SELECT outbox.retry(%s)", [follower])
    [again] = claim(connection, worker).lanes
    assert again.message_id == follower
    assert again.payload["reply_parameters"] == {"message_id": 900}


def a_target_that_turns_out_as_sent_while_its_follower_is_claimed_changes_nothing_half_way(stage: Stage) -> None:
    """Complete waits for the lane that claim holds: the follower dies first, the target is sent then."""
    connection = stage.connection
    dead, lane, follower = _hold_target_and_follower(stage)
    worker = register(connection)
    gate = gates.before(stage, "outbox.take_wakeups", LOOK_IN_CLAIM)
    claiming, completing = stage.open_session(), stage.open_session()
    call = gate.holds(claiming, claim, worker)
    told = completing.start(finish, dead, [lane])
    assert completing.waits(told), "complete did not wait for the lane"
    gate.open()
    assert call.result().lanes == []
    told.result()
    assert ends(connection, lane.message_id, follower) == [("sent", None), ("dead", "target_died")]
    assert broken(connection) == []


def a_target_that_commits_after_its_follower_was_claimed_is_unknown_to_it(stage: Stage) -> None:
    """Only a target of one's own transaction or an earlier one is sure to be there first."""
    connection, worker, producing = stage.connection, register(stage.connection), stage.open_session()
    target = insert(producing.begin(), 1)
    follower = insert(connection, 1, target_id=target)
    assert claim(connection, worker).lanes == []
    producing.commit()
    assert ends(connection, follower) == [("dead", "target_missing")]
    stage.frozen.advance(0.01)
    assert claim(connection, worker).message_ids == [target]
    assert broken(connection) == []
