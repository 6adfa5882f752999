"""What goes first: strict priority across chats, the reserve, and one place per message within a chat."""

from __future__ import annotations

from datetime import timedelta

from tests.invariants import scenes
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.stage import Stage


def test_a_wakeup_entitles_no_worse_priority(stage: Stage) -> None:
    scenes.a_wakeup_entitles_no_worse_priority(stage)


def test_every_priority_has_its_share(stage: Stage) -> None:
    scenes.every_priority_has_its_share(stage)


def test_better_priorities_of_other_chats_go_first_however_young(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=None)
    worker = register(connection)
    ids = {priority: insert(connection, 10 - priority, priority=priority) for priority in (3, 1, 2, 0)}
    claimed: list[int] = []
    for _ in range(4):
        claimed += claim(connection, worker, n=1).message_ids
    assert claimed == [ids[0], ids[1], ids[2], ids[3]]


def test_within_one_call_better_priorities_get_the_earlier_slots(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id, priority in enumerate((3, 1, 2, 0), start=1):
        insert(connection, chat_id, priority=priority)
    lanes = claim(connection, worker).lanes
    assert [lane.priority for lane in lanes] == [0, 1, 2, 3]
    assert [lane.slot_at for lane in lanes] == sorted(lane.slot_at for lane in lanes)


def test_a_chat_sends_in_order_of_priority_then_time_then_id(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    earlier = frozen.at - timedelta(seconds=5)
    third = insert(connection, 1, next_attempt_at=frozen.at)
    fourth = insert(connection, 1, next_attempt_at=frozen.at)
    second = insert(connection, 1, next_attempt_at=earlier)
    fifth = insert(connection, 1, priority=3, next_attempt_at=earlier)
    first = insert(connection, 1, priority=1, next_attempt_at=frozen.at)
    sent: list[int] = []
    for _ in range(5):
        lanes = claim(connection, worker).lanes
        sent += [lane.message_id for lane in lanes]
        finish(connection, worker, lanes)
        frozen.advance(1)
    assert sent == [first, second, third, fourth, fifth]


def test_a_scheduled_message_is_not_sent_before_its_time(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    message_id = insert(connection, 1, priority=0, next_attempt_at=frozen.at + timedelta(seconds=60))
    assert claim(connection, worker).lanes == []
    frozen.advance(59.999)
    assert claim(connection, worker).lanes == []
    frozen.advance(0.001)
    assert claim(connection, worker).message_ids == [message_id]


def test_a_scheduled_message_stands_in_nobodys_way(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1, priority=0, next_attempt_at=frozen.at + timedelta(seconds=60))
    now = insert(connection, 1, priority=3)
    assert claim(connection, worker).message_ids == [now]
