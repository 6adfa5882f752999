"""Replies and the lane they share with the queue: one at a time in a chat (I2), 429s, groups."""

from __future__ import annotations

from datetime import timedelta

from tests.invariants.calls import (
    Connection,
    add_bot,
    claim,
    complete,
    finish,
    insert,
    register,
    result,
)
from tests.invariants.frozen_clock import FrozenClock
from tests.pace.replies import acquire, given, next_send_at, settle

AHEAD = timedelta(seconds=2)
ARRIVAL_BOUND = timedelta(seconds=1)


def test_the_queue_leaves_a_chat_alone_until_its_reply_could_be_answered(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    _, slot_at = given(connection, 42)
    message = insert(connection, 42, next_attempt_at=frozen.at)
    frozen.set(slot_at + timedelta(seconds=1.85))
    assert claim(connection, worker).message_ids == []
    frozen.set(slot_at + timedelta(seconds=2))
    assert claim(connection, worker).message_ids == [message]


def test_a_settled_reply_lets_the_queue_go_on_one_interval_after_the_answer(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    ticket, slot_at = given(connection, 42)
    message = insert(connection, 42, next_attempt_at=frozen.at)
    assert claim(connection, worker).message_ids == [], "and its wakeup is filed for later"
    frozen.advance(0.2)
    settle(connection, ticket, age_s=0.1)
    frozen.set(slot_at + timedelta(seconds=0.1 + 0.85))
    assert claim(connection, worker).message_ids == []
    frozen.set(slot_at + timedelta(seconds=0.1 + 1))
    assert claim(connection, worker).message_ids == [message]


def test_a_chat_in_flight_makes_a_reply_ask_again_and_the_reply_goes_before_the_next_message(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    insert(connection, 42)
    insert(connection, 42)
    [lane] = claim(connection, worker).lanes
    answer = acquire(connection, 42)
    assert answer.ticket is None
    assert 0 < answer.delay_s <= 0.2
    frozen.advance(0.1)
    finish(connection, worker, [lane])
    answered_at = frozen.at
    asks_at = frozen.at
    while answer.ticket is None:
        assert claim(connection, worker).lanes == [], "it looks first at every moment"
        if asks_at <= frozen.at:
            answer = acquire(connection, 42)
            asks_at = frozen.at + timedelta(seconds=answer.delay_s)
        frozen.advance(0.005)
    assert answer.slot_at is not None
    assert timedelta(seconds=1) <= answer.slot_at - answered_at < timedelta(seconds=1.05)


def test_replies_and_messages_of_one_chat_take_turns(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for _ in range(10):
        insert(connection, 42, next_attempt_at=frozen.at)
    turns: list[str] = []
    asks_at = frozen.at
    for _ in range(600):
        if asks_at <= frozen.at:
            answer = acquire(connection, 42)
            asks_at = frozen.at + timedelta(seconds=answer.delay_s)
            if answer.ticket is not None:
                settle(connection, answer.ticket)
                turns.append("reply")
        lanes = claim(connection, worker).lanes
        complete(connection, worker, map(result, lanes))
        turns += ["message" for _ in lanes]
        frozen.advance(0.02)
    assert turns.count("reply") >= 4, turns
    assert turns.count("message") >= 4, turns


def test_a_critical_message_passes_a_reply_that_waits(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    given(connection, 42)
    frozen.advance(1.9)
    assert acquire(connection, 42).ticket is None
    normal, critical = insert(connection, 42), insert(connection, 42, priority=0)
    frozen.advance(0.1)
    assert claim(connection, worker).message_ids == [critical]
    assert normal != critical


def test_a_429_that_came_meanwhile_survives_the_settlement(connection: Connection, frozen: FrozenClock) -> None:
    ticket, _ = given(connection, 42)
    told_until = frozen.at + timedelta(seconds=30)
    connection.execute("UPDATE outbox.chat SET next_send_at = %s", [told_until])
    settle(connection, ticket)
    assert next_send_at(connection, 42) == told_until


def test_a_late_429_of_one_reply_survives_the_settlement_of_the_next(
    connection: Connection, frozen: FrozenClock
) -> None:
    first, _ = given(connection, 42)
    frozen.advance(2)
    second, _ = given(connection, 42)
    settle(connection, first, result="flood", retry_after_s=1.9)
    told_until = frozen.at + timedelta(seconds=1.9)
    settle(connection, second)
    frozen.set(told_until - timedelta(seconds=0.01))
    assert acquire(connection, 42).ticket is None
    frozen.set(told_until)
    given(connection, 42)


def test_a_429_makes_its_chat_wait_exactly_and_no_other(connection: Connection, frozen: FrozenClock) -> None:
    ticket, _ = given(connection, 42)
    frozen.advance(0.1)
    settle(connection, ticket, result="flood", retry_after_s=5)
    frozen.advance(4.99)
    assert acquire(connection, 42).ticket is None
    given(connection, 43)
    frozen.advance(0.01)
    given(connection, 42)


def test_floods_of_replies_from_many_chats_pause_the_bot(connection: Connection, frozen: FrozenClock) -> None:
    for ticket, _ in [given(connection, chat_id) for chat_id in range(1, 5)]:
        frozen.advance(0.05)
        settle(connection, ticket, result="flood", retry_after_s=3)
    answer = acquire(connection, 50)
    assert answer.ticket is None
    assert 2 < answer.delay_s <= 3.2


def test_replies_open_the_breaker_and_close_it_and_both_are_on_record(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, breaker_answers=5)
    for ticket, _ in [given(connection, chat_id) for chat_id in range(1, 6)]:
        settle(connection, ticket, result="fail")
    assert acquire(connection, 50).delay_s > 9
    frozen.advance(10.1)
    probes = [given(connection, chat_id)[0] for chat_id in range(50, 53)]
    assert acquire(connection, 60).ticket is None, "three probes are out"
    for ticket in probes:
        settle(connection, ticket)
    given(connection, 60)
    changes = connection.execute("SELECT breaker FROM outbox.breaker_change ORDER BY id").fetchall()
    assert changes == [("open",), ("half_open",), ("closed",)]


def test_a_group_gets_no_more_than_its_share_of_replies(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, group_limit=3)
    slots = []
    for _ in range(3):
        while (answer := acquire(connection, -7)).ticket is None:
            frozen.advance(answer.delay_s)
        assert answer.slot_at is not None
        slots.append(answer.slot_at)
        frozen.set(answer.slot_at + timedelta(seconds=0.1))
        settle(connection, answer.ticket)
    answered_at = slots[0] + timedelta(seconds=0.1)
    frozen.set(answered_at + timedelta(seconds=59.9))
    assert acquire(connection, -7).ticket is None
    frozen.set(answered_at + timedelta(seconds=60))
    given(connection, -7)


def test_an_album_waits_until_all_of_it_fits_into_the_groups_window(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, group_limit=5)
    ticket, slot_at = given(connection, "@Channel", cost=4)
    settle(connection, ticket)
    frozen.advance(10)
    assert acquire(connection, "@channel", cost=2).delay_s > 40
    given(connection, "@channel", cost=1)
    frozen.set(slot_at + timedelta(seconds=60))
    given(connection, "@channel", cost=4)
