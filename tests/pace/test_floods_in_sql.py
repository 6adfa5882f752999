"""429s: one chat's are its own; those of three chats, half of all answers, pause the bot: once, and only later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    """Of a bot that may send a hundred a second, so that many answers come in one moment; 60 chats wait."""
    add_bot(connection, rate=100)
    fill(connection, 60)
    return Sender(connection, frozen)


def test_three_chats_that_are_half_of_the_answers_pause_the_bot_for_the_smallest_wait(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(6)
    for lane, retry_after_s in zip(lanes, (7, 5, 9), strict=False):
        sender.answer(lane, "flood", retry_after_s=retry_after_s)
    sender.answer(lanes[3:])
    answer = sender.claim()
    assert answer.lanes == []
    assert answer.ask_again_s == pytest.approx(5)
    assert bucket(connection, "paused_until") == frozen.at + timedelta(seconds=5)
    assert bucket(connection, "paused_reason") == "flood"


def test_a_pause_counts_from_the_answer_and_not_from_when_it_was_brought(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    answered_at = frozen.at
    frozen.advance(0.25)
    sender.settle()
    assert bucket(connection, "paused_until") == answered_at + timedelta(seconds=5)


def test_a_paused_bot_goes_on_when_its_pause_ends(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(4.899)
    assert sender.claim().lanes == []
    frozen.advance(0.101)
    lanes = sender.claim().lanes
    assert lanes, "no later than half a second after it"
    assert all(lane.slot_at >= frozen.at for lane in lanes)


@pytest.mark.parametrize("chats", [1, 2])
def test_fewer_than_three_chats_pause_nobody(
    connection: Connection, frozen: FrozenClock, sender: Sender, chats: int
) -> None:
    sender.answer(sender.take(chats), "flood", retry_after_s=5)
    assert len(sender.claim().lanes) > 3
    assert bucket(connection, "paused_until") is None
    assert bucket(connection, "breaker") == "closed"


def test_the_same_chat_three_times_pauses_nobody(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=100, chat_interval_s=0)
    sender = Sender(connection, frozen)
    fill(connection, 60, first=2)
    for _ in range(3):
        sender.tell("flood", chat_id=1, retry_after_s=1)
    sender.settle()
    assert bucket(connection, "paused_until") is None


def test_three_chats_among_many_answers_pause_nobody(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(20)
    sender.answer(lanes[:3], "flood", retry_after_s=5)
    sender.answer(lanes[3:])
    assert sender.claim().lanes
    assert bucket(connection, "paused_until") is None
    assert bucket(connection, "breaker") == "closed"


def test_floods_that_lie_more_than_two_seconds_apart_pause_nobody(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for _ in range(4):
        sender.answer(sender.take(1), "flood", retry_after_s=9)
        sender.settle()
        frozen.advance(1.5)
    assert bucket(connection, "paused_until") is None


def test_floods_brought_by_two_workers_count_together(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=100)
    fill(connection, 60)
    one, other = Sender(connection, frozen), Sender(connection, frozen)
    one.answer(one.take(2), "flood", retry_after_s=5)
    other.answer(other.take(1), "flood", retry_after_s=5)
    one.settle()
    assert bucket(connection, "paused_until") is None
    other.settle()
    assert bucket(connection, "paused_until") is not None


def test_a_pause_is_never_shortened(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    lanes = sender.take(8)
    sender.answer(lanes[:4], "flood", retry_after_s=3600)
    sender.settle()
    until = bucket(connection, "paused_until")
    assert until == frozen.at + timedelta(seconds=3600)
    frozen.advance(1)
    sender.answer(lanes[4:], "flood", retry_after_s=2)
    sender.settle()
    assert bucket(connection, "paused_until") == until


def test_a_critical_message_does_not_end_a_pause(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=60)
    sender.settle()
    insert(connection, 99, priority=0)
    frozen.advance(59)
    assert sender.claim().lanes == []


def test_requests_in_flight_when_the_pause_comes_are_handled(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(8)
    sender.answer(lanes[:3], "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(0.5)
    assert sender.answer(lanes[3:5]) == 2
    assert sender.answer(lanes[5:7], "flood", retry_after_s=20) == 2
    assert sender.answer(lanes[7], "unavailable") == 1
    sender.settle()
    assert [status(connection, lane.message_id) for lane in lanes] == ["queued"] * 3 + ["sent"] * 2 + ["queued"] * 3
    spent = connection.execute(
        "SELECT attempts FROM outbox.message WHERE id = ANY (%s) ORDER BY id",
        [[lane.message_id for lane in (*lanes[:3], *lanes[5:])]],
    ).fetchall()
    assert spent == [(0,)] * 5 + [(1,)], "a 429 spends no attempt, the bot's pause neither"
    waits = connection.execute(
        "SELECT next_send_at FROM outbox.chat WHERE chat_id = ANY (%s)", [[lane.chat_id for lane in lanes[5:7]]]
    ).fetchall()
    assert waits == [(frozen.at + timedelta(seconds=20),)] * 2


def test_after_the_pause_at_most_three_are_under_way_until_three_have_passed(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(5)
    other = Sender(connection, frozen)
    probes = sender.claim().lanes
    probes += other.claim().lanes
    frozen.advance(0.1)
    probes += sender.claim().lanes + other.claim().lanes
    assert len(probes) == 3
    sender.answer(probes)
    sender.settle()
    assert len(sender.claim().lanes) > 3
    assert bucket(connection, "breaker") == "closed"


def test_answers_from_before_a_flood_are_no_probes_that_passed(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(10)
    sender.answer(lanes[:4], "flood", retry_after_s=5)
    sender.answer(lanes[4:8])
    sender.settle()
    assert bucket(connection, "breaker") == "half_open"
    sender.answer(lanes[8:])
    sender.settle()
    frozen.advance(5)
    assert len(sender.claim().lanes) <= 3


def test_a_flooded_bot_says_when_to_ask_for_its_probes(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(5)
    probes = sender.take(3)
    answer = sender.claim()
    assert answer.lanes == []
    assert answer.ask_again_s is not None
    assert 0 < answer.ask_again_s <= 20
    assert len(probes) == 3


def test_a_probe_that_gets_a_429_has_not_passed(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(5)
    probes = sender.take(3)
    sender.answer(probes[:2])
    sender.answer(probes[2], "flood", retry_after_s=7)
    sender.settle()
    assert bucket(connection, "breaker") != "closed"


def test_a_flood_and_its_end_are_on_record(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(4), "flood", retry_after_s=5)
    sender.settle()
    frozen.advance(5)
    sender.answer(sender.take(3))
    sender.settle()
    changes = connection.execute("SELECT bot, breaker, reason FROM outbox.breaker_change ORDER BY id").fetchall()
    assert [change[:2] for change in changes] == [("default", "half_open"), ("default", "closed")]
    assert changes[0][2] == "flood"


@pytest.mark.parametrize("rate", [200, None])
def test_a_bot_without_tokens_pauses_too(connection: Connection, frozen: FrozenClock, rate: int | None) -> None:
    add_bot(connection, rate=rate)
    fill(connection, 60)
    sender = Sender(connection, frozen)
    sender.answer(sender.take(4), "flood", retry_after_s=5)
    assert sender.claim().lanes == []
    assert bucket(connection, "paused_until") == frozen.at + timedelta(seconds=5)
    frozen.advance(5)
    probes = sender.claim().lanes
    assert 0 < len(probes) <= 3
    sender.answer(probes + sender.take(3 - len(probes)))
    assert len(sender.claim().lanes) > 3


def test_one_bots_flood_leaves_the_others_alone(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, 1, bot="other")
    sender.answer(sender.take(3), "flood", retry_after_s=5)
    sender.settle()
    assert len(Sender(connection, frozen, "other").claim().lanes) == 1


def test_one_chats_429_changes_nothing_for_the_others(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(5)
    sender.answer(lanes[1:])
    sender.settle()
    columns = "active_tokens, paused_until, paused_reason, breaker, ceiling"
    before = connection.execute(f"SELECT {columns} FROM outbox.bucket").fetchall()
    chats = "SELECT * FROM outbox.chat WHERE chat_id <> %s ORDER BY chat_id"
    others = connection.execute(chats, [lanes[0].chat_id]).fetchall()
    sender.answer(lanes[0], "flood", retry_after_s=36_000)
    sender.settle()
    assert connection.execute(f"SELECT {columns} FROM outbox.bucket").fetchall() == before
    assert connection.execute(chats, [lanes[0].chat_id]).fetchall() == others


@pytest.mark.parametrize("retry_after_s", [1, 35, 36_000])
def test_a_worker_that_asks_when_it_is_told_sends_within_half_a_second_after_the_wait(
    connection: Connection, frozen: FrozenClock, retry_after_s: float
) -> None:
    sender, message_id = Sender(connection, frozen), insert(connection, 1)
    sender.answer(sender.take(1), "flood", retry_after_s=retry_after_s)
    ends_at = frozen.at + timedelta(seconds=retry_after_s)
    for _ in range(200):
        answer = sender.claim()
        if answer.lanes:
            break
        assert answer.ask_again_s is not None
        # A worker asks at least every few minutes, and never sooner than 2 ms after the last time.
        frozen.advance(max(0.002, min(answer.ask_again_s, 300)))
    [lane] = answer.lanes
    assert lane.message_id == message_id
    assert ends_at <= lane.slot_at <= ends_at + timedelta(seconds=0.5)


def test_the_second_429_of_a_chat_counts_from_its_own_answer(connection: Connection, frozen: FrozenClock) -> None:
    sender = Sender(connection, frozen)
    insert(connection, 1)
    sender.answer(sender.take(1), "flood", retry_after_s=10)
    frozen.advance(10)
    [lane] = sender.take(1)
    sender.answer(lane, "flood", retry_after_s=40)
    row = connection.execute("SELECT next_send_at, attempts FROM outbox.chat, outbox.message").fetchone()
    assert row == (frozen.at + timedelta(seconds=40), 0)
