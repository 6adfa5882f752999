"""An album of N counts as N, for the bot and for a group; it waits for its tokens without stopping the others."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.invariants.calls import Connection, Lane, add_bot, insert
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, fill

RATE = 30
LONGEST_WAIT_S = 3.0  # every token in use comes back within a window and the arrival bound


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def album(connection: Connection, chat_id: object, parts: int, **columns: Any) -> int:
    media = [{"type": "photo", "media": f"file {i}"} for i in range(parts)]
    return insert(connection, str(chat_id), {"media": media}, method="sendMediaGroup", **columns)


def copies(connection: Connection, chat_id: object, parts: int, method: str = "copyMessages", **columns: Any) -> int:
    payload = {"from_chat_id": 7, "message_ids": list(range(1, parts + 1))}
    return insert(connection, str(chat_id), payload, method=method, **columns)


def tokens_free(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM outbox.bucket, unnest(free_at) f WHERE f <= outbox.clock()")
    return int(row.fetchone()[0])  # type: ignore[index]


def parts(lane: Lane) -> int:
    return max(len(lane.payload.get("media", [])), len(lane.payload.get("message_ids", [])), 1)


def most_in(uses: list[tuple[datetime, int]], seconds: float) -> int:
    """The most messages that any window of that length holds."""
    window = timedelta(seconds=seconds)
    return max(sum(cost for at, cost in uses if start <= at < start + window) for start, _ in uses)


@pytest.mark.parametrize("method", ["sendMediaGroup", "copyMessages", "forwardMessages"])
def test_ten_in_one_call_take_ten_tokens(
    connection: Connection, frozen: FrozenClock, sender: Sender, method: str
) -> None:
    if method == "sendMediaGroup":
        album(connection, 1, 10)
    else:
        copies(connection, 1, 10, method)
    [lane] = sender.take(1)
    frozen.set(max(frozen.at, lane.slot_at))
    assert tokens_free(connection) == RATE - 10


def test_its_answer_frees_all_of_them(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    album(connection, 1, 10)
    [lane] = sender.take(1)
    frozen.set(lane.slot_at + timedelta(seconds=0.1))
    sender.answer(lane)
    sender.settle()
    frozen.advance(0.99)
    assert tokens_free(connection) == RATE - 10
    frozen.advance(0.02)
    assert tokens_free(connection) == RATE


def test_given_back_unsent_it_frees_all_of_them_at_once(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    album(connection, 1, 10)
    [lane] = sender.take(1)
    frozen.set(lane.slot_at + timedelta(seconds=0.6))
    sender.answer(lane, "unsent")
    sender.settle()
    assert tokens_free(connection) == RATE


def test_an_album_that_nobody_settles_frees_its_tokens_by_itself(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    album(connection, 1, 10)
    [lane] = sender.take(1)
    frozen.set(lane.slot_at + timedelta(seconds=2))
    assert tokens_free(connection) == RATE


@pytest.mark.parametrize("payload", [{}, {"media": []}, {"media": None}, {"media": {"a": 1}}, {"media": "[{}, {}]"}])
def test_a_list_that_cannot_be_counted_counts_as_something(
    connection: Connection, frozen: FrozenClock, sender: Sender, payload: dict[str, Any]
) -> None:
    insert(connection, 1, payload, method="sendMediaGroup")
    sender.take(1)
    frozen.advance(0.5)
    assert RATE - 10 <= tokens_free(connection) <= RATE - 1


def test_no_window_holds_more_than_the_limit_when_albums_and_messages_mix(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 150)
    for chat_id in range(1000, 1015):
        album(connection, chat_id, 2 + chat_id % 9)
    uses = [(lane.slot_at, parts(lane)) for lane in sender.deliver(12, step_s=0.05)]
    assert len(uses) == 165, "all are sent"
    assert most_in(uses, 1) <= RATE
    assert uses[-1][0] - uses[0][0] < timedelta(seconds=12)


def test_more_copies_than_there_are_tokens_take_all_of_them(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    copies(connection, 1, 100)
    [lane] = sender.take(1)
    frozen.set(max(frozen.at, lane.slot_at))
    assert tokens_free(connection) == 0
    insert(connection, 2)
    [other] = sender.take(1)
    assert other.slot_at >= lane.slot_at + timedelta(seconds=1)


def test_more_copies_than_are_active_after_a_flood_still_go(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    connection.execute("UPDATE outbox.bucket SET active_tokens = 10, lowered_at = %s", [frozen.at])
    message_id = copies(connection, 1, 30)
    assert [lane.message_id for lane in sender.take(1, within_s=LONGEST_WAIT_S)] == [message_id]


@pytest.mark.parametrize("rate", [200, None])
def test_a_bot_without_a_ring_sends_albums_too(
    connection: Connection, frozen: FrozenClock, sender: Sender, rate: int | None
) -> None:
    add_bot(connection, rate=rate)
    for chat_id in range(1, 41):
        album(connection, chat_id, 10)
    lanes = sender.deliver(5, step_s=0.05)
    assert len(lanes) == 40
    if rate:
        assert most_in([(lane.slot_at, parts(lane)) for lane in lanes], 1) <= rate


def test_a_critical_album_finds_its_tokens_amid_a_backlog(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 600)
    sender.deliver(2)
    message_id = album(connection, 9999, 10, priority=0)
    asked_at = frozen.at
    lanes = {lane.message_id: lane for lane in sender.deliver(6)}
    assert message_id in lanes, "always too few tokens ahead"
    assert lanes[message_id].slot_at - asked_at <= timedelta(seconds=LONGEST_WAIT_S)


def test_an_album_among_equals_finds_its_tokens_in_its_turn(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 60)
    message_id = album(connection, 9999, 10)
    fill(connection, 600, first=1000)
    lanes = [lane.message_id for lane in sender.deliver(10)]
    assert message_id in lanes
    assert lanes.index(message_id) <= 60 + LONGEST_WAIT_S * RATE


def test_critical_messages_keep_their_latency_while_a_big_album_waits(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(2000, 2020):
        copies(connection, chat_id, 100)
    sender.deliver(2)
    worst = timedelta(0)
    for chat_id in range(1, 11):
        message_id = insert(connection, chat_id, priority=0)
        asked_at = frozen.at
        lanes = {lane.message_id: lane for lane in sender.deliver(2.5, step_s=0.05)}
        assert message_id in lanes
        worst = max(worst, lanes[message_id].slot_at - asked_at)
    assert worst <= timedelta(seconds=2.2), "one call of the whole limit may be ahead of it, not two"


def test_messages_go_on_while_an_album_waits_for_its_tokens(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 300)
    for chat_id in range(2000, 2003):
        album(connection, chat_id, 10, priority=3)
    lanes = sender.deliver(5, step_s=0.05)
    assert sum(parts(lane) for lane in lanes) >= 0.8 * RATE * 5


# Groups


def test_an_album_counts_ten_in_its_groups_window(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    for _ in range(2):
        album(connection, -100, 10)
    third = insert(connection, -100)
    first, _ = lanes = sender.deliver(10)
    assert [parts(lane) for lane in lanes] == [10, 10]
    frozen.set(first.slot_at + timedelta(seconds=59.9))
    assert sender.claim().lanes == []
    frozen.advance(0.3)
    assert [lane.message_id for lane in sender.take(1)] == [third]


def test_no_window_of_a_group_holds_more_than_its_limit_when_albums_and_messages_mix(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for i in range(24):
        if i % 4 == 3:
            album(connection, -100, 2 + i % 9)
        else:
            insert(connection, -100)
    uses = [(lane.slot_at, parts(lane)) for lane in sender.deliver(300)]
    assert len(uses) == 24
    assert most_in(uses, 60) <= 20


def test_more_copies_than_a_groups_limit_go_alone(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, -100)
    message_id = copies(connection, -100, 50)
    behind = insert(connection, -100)
    lanes = sender.deliver(200)
    assert [lane.message_id for lane in lanes[1:]] == [message_id, behind]
    assert lanes[2].slot_at - lanes[1].slot_at >= timedelta(seconds=60)
