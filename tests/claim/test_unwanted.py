"""What nobody wants any more is ended by claim, in its turn and a bounded number per call, whatever the reason."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def suppress(connection: Connection, until_s: float, frozen: FrozenClock, *chat_ids: int) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_reason, suppressed_at,"
        " suppression_evidence) SELECT c::text, 'default', %s, 'blocked', %s, 1 FROM unnest(%s::int[]) c",
        [frozen.at + timedelta(seconds=until_s), frozen.at, list(chat_ids)],
    )


def reason(connection: Connection, message_id: int) -> tuple[object, ...] | None:
    return connection.execute("SELECT status, error_class FROM outbox.history WHERE id = %s", [message_id]).fetchone()


def test_an_expired_message_of_a_suppressed_chat_is_expired(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, 3600, frozen, 1)
    stale = insert(connection, 1, expires_at=frozen.at + timedelta(seconds=1))
    fresh = insert(connection, 1)
    frozen.advance(1)
    assert sender.claim().lanes == []
    assert reason(connection, stale) == ("expired", "expired")
    assert reason(connection, fresh) == ("discarded", "chat_suppressed")


def test_suppressed_chats_take_no_slots_from_the_others(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, 3600, frozen, *range(1, 21))
    for chat_id in range(1, 41):
        insert(connection, chat_id)
    lanes = sender.take(20)
    assert {int(lane.chat_id) for lane in lanes} == set(range(21, 41))
    assert [lane.slot for lane in lanes] == list(range(1, 21))


def test_a_call_ends_at_most_200_of_suppressed_chats(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, 3600, frozen, *range(1, 21))
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT (1 + i % 20)::text, '{}' FROM generate_series(1, 1800) i"
    )
    ended = 0
    for _ in range(10):
        sender.claim()
        row = connection.execute("SELECT count(*) FROM outbox.finished").fetchone()
        assert row is not None
        assert row[0] - ended <= 200
        ended = row[0]
        frozen.advance(0.01)
    assert ended == 1800
    assert broken(connection) == []


def test_a_suppression_that_lapsed_lets_one_message_through_and_keeps_the_others(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, 10, frozen, 1)
    frozen.advance(10)
    first, second = insert(connection, 1), insert(connection, 1)
    assert [lane.message_id for lane in sender.claim().lanes] == [first]
    frozen.advance(0.1)
    assert sender.claim().lanes == []
    assert [status(connection, message_id) for message_id in (first, second)] == ["sending", "queued"]


def test_a_suppressed_chat_is_cleared_while_its_bot_has_no_free_token(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Not at once, but in its turn: it must neither wait for ever nor be sent."""
    suppress(connection, 3600, frozen, 999)
    for chat_id in range(1, 200):
        insert(connection, chat_id)
    unwanted = insert(connection, 999)
    sent = {lane.message_id for lane in sender.deliver(10)}
    assert unwanted not in sent
    assert reason(connection, unwanted) == ("discarded", "chat_suppressed")


@pytest.mark.parametrize("method", ["sendMessage", "answerCallbackQuery", "sendChatAction"])
def test_a_suppressed_chat_gets_no_call_of_any_method(
    connection: Connection, frozen: FrozenClock, sender: Sender, method: str
) -> None:
    suppress(connection, 3600, frozen, 1)
    message_id = insert(connection, 1, method=method)
    assert sender.claim().lanes == []
    assert reason(connection, message_id) == ("discarded", "chat_suppressed")
