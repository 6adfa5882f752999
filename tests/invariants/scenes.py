"""What must come of short scenes in order, as checks that the mutations share."""

from __future__ import annotations

from collections import Counter

from tests.invariants.calls import add_bot, claim, finish, insert, register, settlement, status
from tests.invariants.checks import broken
from tests.invariants.pacing import most_in_a_window
from tests.invariants.simulate import Peer, as_uses, quick, refused, simulate, steady, wild
from tests.invariants.stage import Stage

NEAR_S, FAR_S = 0.02, 0.3
SATURATED_SLOTS = 400


def what_is_left_in_a_lane_goes_next(stage: Stage) -> None:
    """Whoever ends a flight looks again (I1)."""
    connection, worker = stage.connection, register(stage.connection)
    insert(connection, 1)
    second = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    assert broken(connection) == []
    stage.frozen.advance(2)
    assert claim(connection, worker).message_ids == [second]


def a_wakeup_entitles_no_worse_priority(stage: Stage) -> None:
    """A critical wakeup that outlived its message must not bring a low one before the others' high ones."""
    connection, worker = stage.connection, register(stage.connection)
    low = insert(connection, 1, priority=3)
    connection.execute("SELECT outbox.file_wakeups('default', '{1}', '{0}', ARRAY[outbox.clock()])")
    high = insert(connection, 2, priority=1)
    assert claim(connection, worker, n=1).message_ids == [high]
    stage.frozen.advance(0.1)
    assert claim(connection, worker, n=1).message_ids == [low]


def only_the_owner_completes(stage: Stage) -> None:
    """A reaped worker's late result changes nothing of the flight that another has now (I7)."""
    connection, first = stage.connection, register(stage.connection)
    message_id = insert(connection, 1)
    [lane] = claim(connection, first).lanes
    stage.frozen.advance(30)
    second = register(connection)
    connection.execute("SELECT outbox.reap()")
    stage.frozen.advance(5)
    [again] = claim(connection, second).lanes
    assert finish(connection, first, [lane], "retry") == 0
    assert stage.in_flight(1) == (message_id, second, again.attempt)


def an_unsent_brought_again_leaves_the_next_flight_alone(stage: Stage) -> None:
    """The attempt number is part of ownership (I7): the worker is the same one."""
    connection, worker = stage.connection, register(stage.connection)
    message_id = insert(connection, 1)
    [first] = claim(connection, worker).lanes
    finish(connection, worker, [first], "unsent")
    stage.frozen.advance(1)
    [second] = claim(connection, worker).lanes
    assert finish(connection, worker, [first], "unsent") == 0
    assert status(connection, message_id) == "sending"
    assert finish(connection, worker, [second]) == 1


def a_settlement_of_a_token_given_again_does_nothing(stage: Stage) -> None:
    """Its slot number is not the token's any more (I6): the second use is not answered yet."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, rate=1)
    for chat_id in (1, 2, 3):
        insert(connection, chat_id)
    [first] = claim(connection, worker).lanes
    stage.frozen.advance(2)  # window and arrival bound: freed without an answer
    [second] = claim(connection, worker).lanes
    stage.frozen.advance(1.2)
    late = claim(connection, worker, settlements=[settlement(first, age_s=1.0)])
    assert (late.settled, late.lanes) == (["default"], [])
    stage.frozen.advance(0.6)
    assert claim(connection, worker).lanes == []
    stage.frozen.advance(0.2)
    assert len(claim(connection, worker).lanes) == 1, f"slot {second.slot} has run out"


def a_near_and_a_far_worker_get_no_429(stage: Stage) -> None:
    """The least round trip is the bot's and not a worker's own (I6)."""
    calls = simulate(stage.connection, stage.frozen, 30, [Peer(steady(FAR_S)), Peer(steady(NEAR_S))], seconds=30)
    assert len(calls) > 700, f"only {len(calls)} calls: nothing was tried"
    assert refused(calls, 30) == 0


def a_near_worker_that_joins_late_gets_no_429(stage: Stage) -> None:
    """Tokens freed early for the far ones are too early for it (I6)."""
    peers = [Peer(steady(FAR_S)), Peer(steady(NEAR_S), joins_at_s=8)]
    calls = simulate(stage.connection, stage.frozen, 30, peers, seconds=16)
    assert len(calls) > 350, f"only {len(calls)} calls: nothing was tried"
    assert refused(calls, 30) == 0


def a_request_without_an_answer_keeps_its_token(stage: Stage) -> None:
    """Until it cannot arrive any more (I6). Nobody tells a round trip: it may arrive anywhere before its answer."""
    peers = [Peer(wild, tells_round_trip=False, unsent_share=0.03) for _ in range(2)]
    calls = simulate(stage.connection, stage.frozen, 30, peers, seconds=15)
    assert len(calls) > 200, f"only {len(calls)} calls: nothing was tried"
    assert most_in_a_window(as_uses(calls, stage.frozen), 1, 0) <= 30


def above_a_hundred_the_spacing_has_room_for_the_jitter(stage: Stage) -> None:
    """GCRA without tokens: up to 35 ms between slot and answer (I6)."""
    calls = simulate(stage.connection, stage.frozen, 200, [Peer(quick, tells_round_trip=False)], seconds=4)
    assert len(calls) > 700, f"only {len(calls)} calls: nothing was tried"
    assert most_in_a_window(as_uses(calls, stage.frozen), 1, 0) <= 200


def a_lane_that_another_session_holds_is_looked_at_again(stage: Stage) -> None:
    """Claim waits for nobody and forgets nobody (I1, I3)."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    message_id = insert(connection, 1)
    holder = stage.open_session()
    holder.begin().execute("SELECT FROM outbox.chat FOR UPDATE")
    assert claim(connection, worker).lanes == []
    holder.commit()
    assert broken(connection) == []
    stage.frozen.advance(0.1)
    assert claim(connection, worker).message_ids == [message_id]


def every_priority_has_its_share(stage: Stage) -> None:
    """All four saturated: slot numbers divisible by ten go to 1 + (number / 10) mod 3, the rest to the critical."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, rate=200)
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority)"
        " SELECT (1 + i + 100000 * p)::text, '{}', p FROM generate_series(0, 3) p, generate_series(1, %s) i",
        [SATURATED_SLOTS + 100],
    )
    given: dict[int, int] = {}
    while len(given) < SATURATED_SLOTS:
        given |= {lane.slot: lane.priority for lane in claim(connection, worker).lanes}
        stage.frozen.advance(0.1)
    expected = {slot: 0 if slot % 10 else 1 + slot // 10 % 3 for slot in given}
    assert {slot: (given[slot], expected[slot]) for slot in given if given[slot] != expected[slot]} == {}
    shares = Counter(priority for slot, priority in given.items() if slot <= SATURATED_SLOTS)
    assert [shares[p] for p in range(4)] == [360, 13, 14, 13]
