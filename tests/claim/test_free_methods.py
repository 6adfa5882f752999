"""Answering a button takes no place in any limit; showing that the bot types is done now or not at all."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, fill

BUTTON, TYPING = "answerCallbackQuery", "sendChatAction"
FREE = [BUTTON, TYPING]


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def add(connection: Connection, frozen: FrozenClock, chat_id: int, method: str, **columns: object) -> int:
    """Insert a call that is due this very moment."""
    return insert(connection, chat_id, method=method, **({"next_attempt_at": frozen.at} | columns))


def row(connection: Connection, query: str) -> tuple[object, ...] | None:
    return connection.execute(query).fetchone()


def how(connection: Connection, message_id: int) -> tuple[object, ...] | None:
    return connection.execute("SELECT status, error_class FROM outbox.history WHERE id = %s", [message_id]).fetchone()


def cool(connection: Connection, sender: Sender, chat_id: int = 1) -> None:
    """Let the chat be sent to just now."""
    insert(connection, chat_id)
    sender.answer(sender.take(1))


@pytest.mark.parametrize("method", [*FREE, "ANSWERCALLBACKQUERY"])
def test_it_takes_no_slot_and_no_token(
    connection: Connection, frozen: FrozenClock, sender: Sender, method: str
) -> None:
    add(connection, frozen, 1, method)
    before = row(connection, "SELECT last_slot, free_at, used_by FROM outbox.bucket")
    [lane] = sender.claim().lanes
    assert (lane.slot, lane.slot_at) == (None, None)
    assert row(connection, "SELECT last_slot, free_at, used_by FROM outbox.bucket") == before
    assert row(connection, "SELECT in_flight, attempt FROM outbox.chat") == (lane.message_id, 1)


@pytest.mark.parametrize("method", FREE)
@pytest.mark.parametrize("answer", ["sent", "unavailable", "timeout", "bad request"])
def test_it_moves_no_deadline(
    connection: Connection, frozen: FrozenClock, sender: Sender, method: str, answer: str
) -> None:
    add(connection, frozen, -100, method)
    sender.answer(sender.take(1), answer)
    columns = "next_send_at, last_sent_at, coalesce(cardinality(group_sent_at), 0)"
    assert row(connection, f"SELECT {columns} FROM outbox.chat") == (None, None, 0)
    assert broken(connection) == []


@pytest.mark.parametrize("method", FREE)
def test_a_message_behind_it_follows_at_once(
    connection: Connection, frozen: FrozenClock, sender: Sender, method: str
) -> None:
    add(connection, frozen, 1, method)
    behind = add(connection, frozen, 1, "sendMessage")
    sender.answer(sender.take(1))
    assert [lane.message_id for lane in sender.claim().lanes] == [behind]


def test_a_button_is_answered_while_its_chat_cools(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    cool(connection, sender)
    message_id = add(connection, frozen, 1, BUTTON)
    assert [lane.message_id for lane in sender.claim().lanes] == [message_id]


def test_a_button_is_answered_while_its_chat_waits_for_a_429(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    sender.answer(sender.take(1), "flood", retry_after_s=3600)
    frozen.advance(1)
    message_id = add(connection, frozen, 1, BUTTON, priority=0)
    assert [lane.message_id for lane in sender.claim().lanes] == [message_id]


def test_a_button_waits_for_its_turn_and_leaves_the_slot_to_the_next(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    add_bot(connection, rate=1)
    cool(connection, sender, 2)
    button = add(connection, frozen, 1, BUTTON)
    message_id = add(connection, frozen, 3, "sendMessage")
    assert sender.claim().lanes == []
    assert [lane.message_id for lane in sender.take(2, within_s=2.5)] == [button, message_id]


def test_a_button_is_answered_behind_a_backlog_that_takes_every_token(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 100, first=100)
    sender.deliver(1)
    message_id = add(connection, frozen, 1, BUTTON, priority=0)
    sent = [lane.message_id for lane in sender.deliver(0.2)]
    assert message_id in sent


def test_a_button_waits_for_what_its_chat_has_in_flight(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    first = sender.take(1)
    button = add(connection, frozen, 1, BUTTON)
    assert sender.claim().lanes == []
    sender.answer(first)
    assert broken(connection) == []
    assert [lane.message_id for lane in sender.claim().lanes] == [button]


def test_a_button_that_failed_waits_its_backoff_and_goes_again(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    add_bot(connection, backoff_initial_s=30, backoff_max_s=30)
    button = add(connection, frozen, 1, BUTTON)
    sender.answer(sender.take(1), "unavailable")
    assert sender.claim().lanes == [], "at once it would fail again"
    again = sender.take(1, within_s=31)
    assert [lane.message_id for lane in again] == [button]


@pytest.mark.parametrize("column", ["stopped", "unauthorised"])
def test_a_bot_that_may_not_send_answers_no_button(
    connection: Connection, frozen: FrozenClock, sender: Sender, column: str
) -> None:
    connection.execute(f"UPDATE outbox.bucket SET {column} = true")
    add(connection, frozen, 1, BUTTON)
    assert sender.claim().lanes == []


def test_a_call_gives_no_more_than_it_was_asked_for(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(1, 11):
        add(connection, frozen, chat_id, BUTTON)
    assert len(sender.claim(4).lanes) <= 4
    assert len(sender.deliver(1)) >= 6


def test_buttons_and_messages_in_one_call_each_get_what_they_need(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(1, 7):
        add(connection, frozen, chat_id, BUTTON if chat_id % 2 else "sendMessage")
    lanes = sender.deliver(1)
    assert len(lanes) == 6
    assert all((lane.slot is None) == (lane.method == BUTTON) for lane in lanes)
    assert sorted(lane.slot for lane in lanes if lane.slot is not None) == [1, 2, 3]


def test_a_bot_without_limit_answers_buttons_too(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, rate=None)
    message_id = add(connection, frozen, 1, BUTTON)
    sender.answer(sender.take(1))
    assert status(connection, message_id) == "sent"


# sendChatAction


def test_typing_is_shown_at_once(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    message_id = add(connection, frozen, 1, TYPING)
    sender.answer(sender.claim().lanes)
    assert status(connection, message_id) == "sent"


def test_typing_is_shed_while_its_chat_cools(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    cool(connection, sender)
    message_id = add(connection, frozen, 1, TYPING)
    assert sender.claim().lanes == []
    assert how(connection, message_id) == ("discarded", "shed")
    assert row(connection, "SELECT count(*) FROM outbox.attempt WHERE attempt > 1") == (0,)


def test_typing_that_waited_more_than_two_seconds_is_shed(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = add(connection, frozen, 1, TYPING)
    frozen.advance(2.1)
    behind = add(connection, frozen, 1, "sendMessage")
    assert [lane.message_id for lane in sender.claim().lanes] == [behind]
    assert how(connection, message_id) == ("discarded", "shed")


def test_typing_that_waited_less_is_shown(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    message_id = add(connection, frozen, 1, TYPING)
    frozen.advance(1.9)
    assert [lane.message_id for lane in sender.claim().lanes] == [message_id]


@pytest.mark.parametrize("answer", ["unavailable", "timeout", "flood"])
def test_typing_that_failed_is_shed_and_not_tried_again(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    message_id = add(connection, frozen, 1, TYPING)
    sender.answer(sender.take(1), answer, retry_after_s=3 if answer == "flood" else None)
    assert how(connection, message_id) == ("discarded", "shed")
    assert row(connection, "SELECT count(*) FROM outbox.attempt") == (1,)
    assert sender.deliver(5) == []


def test_typing_of_a_worker_that_died_is_shed(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    message_id = add(connection, frozen, 1, TYPING, on_uncertain="hold")
    sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert how(connection, message_id) == ("discarded", "shed")


def test_typing_given_back_unsent_is_shed_or_shown_within_two_seconds(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = add(connection, frozen, 1, TYPING)
    sender.answer(sender.take(1), "unsent")
    frozen.advance(2.1)
    assert sender.claim().lanes == []
    assert how(connection, message_id) == ("discarded", "shed")


def test_typing_behind_a_pause_is_shed_when_it_ends(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(2, 5):
        insert(connection, chat_id)
    sender.answer(sender.take(3), "flood", retry_after_s=10)
    sender.settle()
    message_id = add(connection, frozen, 1, TYPING)
    sender.deliver(12)
    assert how(connection, message_id) == ("discarded", "shed")
