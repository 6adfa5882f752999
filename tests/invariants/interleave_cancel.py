"""Scripted interleavings of cancel and sweep with claim and complete, as checks that the mutations share."""

from __future__ import annotations

from datetime import timedelta

from psycopg import errors

from tests.invariants import gates
from tests.invariants.calls import Connection, add_bot, cancel, claim, finish, insert, register, status, sweep
from tests.invariants.checks import broken
from tests.invariants.stage import Stage

LOOK_IN_CLAIM = "-- Look after you lock (I3): what was committed while the locks above"


def requests(connection: Connection) -> int:
    """How many requests wait."""
    row = connection.execute("SELECT count(*) FROM outbox.request").fetchone()
    assert row is not None
    return int(row[0])


def a_cancel_that_commits_between_claims_lock_and_its_look_is_not_lost(stage: Stage) -> None:
    """The message may go, because its cancel came too late; then it is not tried again."""
    connection, worker = stage.connection, register(stage.connection)
    message_id = insert(connection, 1)
    gate = gates.before(stage, "outbox.take_wakeups", LOOK_IN_CLAIM)
    claiming = stage.open_session()
    call = gate.holds(claiming, claim, worker)
    cancel(connection, message_id)
    gate.open()
    finish(connection, worker, call.result().lanes, "retry")
    assert claim(connection, worker).lanes == []
    assert status(connection, message_id) == "cancelled"
    assert requests(connection) == 0
    assert broken(connection) == []


def a_cancel_that_commits_while_complete_holds_the_lane_is_not_lost(stage: Stage) -> None:
    """Complete has looked for requests already; claim finds the lane held and comes again."""
    connection, worker = stage.connection, register(stage.connection)
    message_id = insert(connection, 1)
    lanes = claim(connection, worker).lanes
    completing = stage.open_session()
    finish(completing.begin(), worker, lanes, "unsent")
    cancel(connection, message_id)
    assert claim(connection, worker).lanes == []
    assert sweep(connection) == 0
    completing.commit()
    assert broken(connection) == []
    stage.frozen.advance(0.01)
    assert claim(connection, worker).lanes == []
    assert status(connection, message_id) == "cancelled"
    assert requests(connection) == 0


def a_cancel_that_commits_while_complete_waits_for_the_lane_is_seen(stage: Stage) -> None:
    """Look after you lock (I3): it was committed after complete had begun to wait for the lane."""
    connection, worker = stage.connection, register(stage.connection)
    first = insert(connection, 1)
    later = insert(connection, 1, next_attempt_at=stage.frozen.at + timedelta(days=1))
    lanes = claim(connection, worker).lanes
    holding, completing = stage.open_session(), stage.open_session()
    holding.begin().execute("SELECT FROM outbox.chat FOR UPDATE")
    call = completing.start(finish, worker, lanes)
    assert completing.waits(call), "complete did not wait for the chat"
    cancel(connection, later)
    holding.commit()
    assert call.result() == 1
    assert [status(connection, one) for one in (first, later)] == ["sent", "cancelled"]


def a_cancel_for_the_old_chat_is_not_overtaken_by_the_new_one(stage: Stage) -> None:
    """It was asked for in the chat that moves, and commits after the move: no claim sends the message any more."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0, backoff_initial_s=0.001, backoff_max_s=0.001)
    insert(connection, -5)
    lanes = claim(connection, worker).lanes
    unwanted = insert(connection, -5, priority=0)
    application = stage.open_session()
    assert cancel(application.begin(), unwanted)
    finish(connection, worker, lanes, "retry", meaning="migrated", reach="chat", migrate_to="-1005")
    application.commit()
    assert unwanted not in claim(connection, worker).message_ids
    stage.frozen.advance(1)
    claim(connection, worker)
    assert status(connection, unwanted) == "cancelled"
    assert broken(connection) == []


def sweep_and_claim_that_make_the_same_lanes_do_not_wait_in_a_circle(stage: Stage) -> None:
    """One lock order for everyone (I3): both meet chats that have no row yet, claim in its wakeups' order."""
    connection, worker = stage.connection, register(stage.connection)
    messages = [insert(connection, 9), insert(connection, 1, next_attempt_at=stage.frozen.at + timedelta(seconds=1))]
    claiming, sweeping = stage.open_session(), stage.open_session()
    claim(claiming.begin(), worker)  # has made chat 9
    for message_id in messages:
        cancel(connection, message_id)
    swept = sweeping.start(sweep)
    sweeping.waits(swept)
    stage.frozen.advance(1)
    claimed = claiming.start(claim, worker)  # as the same claim's next batch would, makes chat 1
    claiming.waits(claimed)
    try:
        claimed.result()
        claiming.commit()
        swept.result()
    except errors.DeadlockDetected as deadlock:
        raise AssertionError(f"deadlock: {deadlock}") from None
    assert broken(connection) == []


def a_claim_goes_round_the_lanes_that_sweep_holds(stage: Stage) -> None:
    """And comes again: what else waits there is sent."""
    connection, worker = stage.connection, register(stage.connection)
    connection.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES ('1', 'default')")
    unwanted, wanted = insert(connection, 1), insert(connection, 1)
    cancel(connection, unwanted)
    sweeping, claiming = stage.open_session(), stage.open_session()
    assert sweep(sweeping.begin()) == 1
    call = claiming.start(claim, worker)
    assert not claiming.waits(call), "claim waited for sweep"
    assert call.result().lanes == []
    sweeping.commit()
    assert broken(connection) == []
    stage.frozen.advance(0.01)
    assert claim(connection, worker).message_ids == [wanted]
    assert status(connection, unwanted) == "cancelled"


def a_claim_does_not_wait_for_a_sweep_that_drops_its_request(stage: Stage) -> None:
    """The request came too late: its message was sent. The wakeup that it filed leads a claim to it all the same."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0)
    message_id = insert(connection, 1)
    lanes = claim(connection, worker).lanes
    application, sweeping, claiming = stage.open_session(), stage.open_session(), stage.open_session()
    cancel(application.begin(), message_id)
    finish(connection, worker, lanes)
    wanted = insert(connection, 1)
    application.commit()
    sweep(sweeping.begin())
    call = claiming.start(claim, worker)
    assert not claiming.waits(call), "claim waited for sweep"
    sweeping.commit()
    stage.frozen.advance(0.01)
    assert [*call.result().message_ids, *claim(connection, worker).message_ids] == [wanted]


def sweep_remembers_a_tag_while_what_it_covers_may_still_commit(stage: Stage) -> None:
    """The cancel's transaction is older than the one that inserted before the cancel."""
    connection, worker = stage.connection, register(stage.connection)
    cancelling, producing = stage.open_session(), stage.open_session()
    insert(cancelling.begin(), 1)
    unwanted = insert(producing.begin(), 2, tag="news")
    cancel(cancelling.connection, tag="news")
    cancelling.commit()
    connection.execute("UPDATE outbox.stop SET requested_at = %s", [stage.frozen.at - timedelta(minutes=10)])
    for _ in range(2):
        sweep(connection)
    producing.commit()
    later = insert(connection, 3, tag="news")
    assert unwanted not in claim(connection, worker).message_ids
    assert [status(connection, one) for one in (unwanted, later)] == ["cancelled", "sending"]
    for _ in range(2):
        sweep(connection)
    assert connection.execute("SELECT FROM outbox.stop").fetchall() == [], "it is remembered for ever"


def what_moves_while_sweep_takes_its_lane_is_left_in_flight(stage: Stage) -> None:
    """Sweep holds the old chat; the message may be on its way in the new one."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0, backoff_initial_s=0.001, backoff_max_s=0.001)
    connection.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES ('-1005', 'default')")
    message_id = insert(connection, -5)
    lanes = claim(connection, worker).lanes
    gate = gates.within(stage, "outbox.sweep", "WHERE k.chat_id = c.chat_id AND k.bot = c.bot")
    sweeping, claiming = stage.open_session(), stage.open_session()
    cancel(connection, message_id)
    call = gate.holds(sweeping, sweep)  # has read that the message is in chat -5
    finish(connection, worker, lanes, "retry", meaning="migrated", reach="chat", migrate_to="-1005")
    assert status(connection, message_id) == "queued"
    stage.frozen.advance(0.01)
    # What else leads claim to the cancel: here only sweep has read of it.
    connection.execute("DELETE FROM outbox.request")
    connection.execute("DELETE FROM outbox.wakeup WHERE chat_id = '-5'")
    claimed = claim(claiming.begin(), worker).message_ids
    gate.open()
    call.result()
    claiming.commit()
    assert claimed == [message_id]
    assert broken(connection) == []
