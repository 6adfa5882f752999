"""Replies without end and the queue: both get their share of the slots."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.invariants.calls import (
    Connection,
    Lane,
    claim,
    finish,
    insert,
    register,
)
from tests.invariants.frozen_clock import FrozenClock
from tests.pace.replies import acquire, answered_at_once, given, settle

AHEAD = timedelta(seconds=2)
ARRIVAL_BOUND = timedelta(seconds=1)


def test_replies_without_end_leave_the_queue_its_reserve(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in range(1, 100):
        insert(connection, -chat_id)
    replies, messages = _compete(connection, frozen, worker)
    assert messages >= 0.08 * (replies + messages)
    assert replies + messages >= 0.97 * 30 * 8


def test_replies_without_end_share_evenly_with_critical_messages(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in range(1, 300):
        insert(connection, -chat_id, priority=0)
    replies, messages = _compete(connection, frozen, worker)
    assert messages >= 0.4 * (replies + messages)
    assert replies >= 0.2 * (replies + messages)
    assert replies + messages >= 0.97 * 30 * 8


def test_without_a_worker_the_reserve_is_kept_for_nobody(connection: Connection, frozen: FrozenClock) -> None:
    for chat_id in range(1, 50):
        insert(connection, -chat_id)
    slots = [given(connection, chat_id)[1] for chat_id in range(1, 20)]
    assert slots == sorted(slots)


def _compete(connection: Connection, frozen: FrozenClock, worker: int) -> tuple[int, int]:
    """Let replies of ever new chats ask as often as they may for 10 s; count slots of the last 8 s."""
    start = frozen.at
    chat_id, asks_at = 1, frozen.at
    replies: list[tuple[datetime, int]] = []
    lanes: list[Lane] = []
    slots: list[tuple[datetime, bool]] = []
    claims_at = frozen.at
    connection.execute("SELECT setseed(0.5)")
    while frozen.at < start + timedelta(seconds=10):
        for reply in [reply for reply in replies if reply[0] <= frozen.at]:
            settle(connection, reply[1], age_s=(frozen.at - reply[0]).total_seconds())
            replies.remove(reply)
        if claims_at <= frozen.at:
            done = [lane for lane in lanes if lane.slot_at <= frozen.at]
            lanes = [lane for lane in lanes if lane not in done]
            answer = claim(connection, worker, settlements=[answered_at_once(lane, frozen) for lane in done])
            finish(connection, worker, done)
            lanes += answer.lanes
            slots += [(lane.slot_at, False) for lane in answer.lanes]
            claims_at = frozen.at + timedelta(seconds=0.05 if answer.ask_again_s is None else answer.ask_again_s)
        while asks_at <= frozen.at:
            given_now = acquire(connection, chat_id)
            if given_now.ticket is not None and given_now.slot_at is not None:
                slots.append((given_now.slot_at, True))
                replies.append((given_now.slot_at, given_now.ticket))
                chat_id += 1
            else:
                asks_at = frozen.at + timedelta(seconds=min(given_now.delay_s, 0.1))
        frozen.advance(0.01)
    counted = [is_reply for at, is_reply in slots if start + timedelta(seconds=2) <= at < start + timedelta(seconds=10)]
    return sum(counted), len(counted) - sum(counted)
