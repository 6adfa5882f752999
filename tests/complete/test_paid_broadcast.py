"""FLOODSKIP_NOT_ALLOWED: the bot may not send paid broadcasts, so every message goes without, and none pays for it."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender

PAID = {"text": "hi", "allow_paid_broadcast": True}


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


@pytest.mark.parametrize("outcome", ["retry", "dead"])
def test_the_refused_message_goes_again_without_it_and_spends_no_attempt(
    connection: Connection, frozen: FrozenClock, sender: Sender, outcome: str
) -> None:
    message_id = insert(connection, 1, PAID, max_attempts=1)
    [lane] = sender.take(1)
    assert lane.payload == PAID
    sender.answer(lane, "paid broadcast refused", outcome=outcome)
    assert connection.execute("SELECT attempts FROM outbox.message").fetchone() == (0,)
    frozen.advance(2)
    [again] = sender.take(1)
    assert (again.message_id, again.payload) == (message_id, {"text": "hi"})
    sender.answer(again)
    assert status(connection, message_id) == "sent"


def test_a_message_that_was_under_way_when_the_first_was_refused_spends_no_attempt_either(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    rows = [insert(connection, chat_id, PAID, max_attempts=1) for chat_id in (1, 2)]
    first, second = sender.take(2)
    sender.answer(first, "paid broadcast refused")
    frozen.advance(0.05)
    sender.answer(second, "paid broadcast refused")
    assert [status(connection, message_id) for message_id in rows] == ["queued"] * 2
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(0,)] * 2


def test_the_bot_says_so(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1, PAID)
    sender.answer(sender.take(1), "paid broadcast refused")
    row = connection.execute("SELECT paid_broadcast_refused_at FROM outbox.bot WHERE bot = 'default'").fetchone()
    assert row == (frozen.at,)


def test_later_messages_go_without_it_from_then_on(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1, PAID)
    sender.answer(sender.take(1), "paid broadcast refused")
    keyboard = {"keyboard": [["allow_paid_broadcast"]]}
    for chat_id in (2, 3):
        insert(connection, chat_id, PAID | {"reply_markup": keyboard})
    frozen.advance(0.2)
    lanes = {lane.chat_id: lane.payload for lane in sender.deliver(2)}
    assert lanes["2"] == lanes["3"] == {"text": "hi", "reply_markup": keyboard}


def test_what_is_kept_of_a_message_is_what_its_writer_gave(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1, PAID)
    sender.answer(sender.take(1), "paid broadcast refused")
    sender.deliver(3)
    assert connection.execute("SELECT payload FROM outbox.finished").fetchone() == (PAID,)


def test_other_bots_go_on_with_it(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, 1, PAID)
    sender.answer(sender.take(1), "paid broadcast refused")
    insert(connection, 1, PAID, bot="other")
    [lane] = Sender(connection, frozen, "other").take(1)
    assert lane.payload == PAID


def test_a_refused_broadcast_over_many_chats_opens_no_breaker(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(1, 31):
        insert(connection, chat_id, PAID)
    sender.answer(sender.take(30), "paid broadcast refused")
    sender.settle()
    assert connection.execute("SELECT breaker FROM outbox.bucket").fetchone() == ("closed",)
    assert len(sender.deliver(5)) == 30
