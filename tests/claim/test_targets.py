"""A message that edits, deletes or answers another one goes after it and bears the id that Telegram gave it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def ended(connection: Connection, message_id: int) -> tuple[Any, ...] | None:
    return connection.execute("SELECT status, error_class FROM outbox.history WHERE id = %s", [message_id]).fetchone()


@pytest.mark.parametrize(
    ("method", "payload", "sent"),
    [
        ("editMessageText", {"text": "b"}, {"text": "b", "message_id": 900}),
        ("deleteMessage", {}, {"message_id": 900}),
        ("pinChatMessage", {}, {"message_id": 900}),
        ("setMessageReaction", {"reaction": []}, {"reaction": [], "message_id": 900}),
        ("deleteMessages", {}, {"message_ids": [900]}),
        ("sendMessage", {"text": "b"}, {"text": "b", "reply_parameters": {"message_id": 900}}),
        (
            "sendPhoto",
            {"photo": "x", "reply_parameters": {"quote": "q", "message_id": 1}},
            {"photo": "x", "reply_parameters": {"quote": "q", "message_id": 900}},
        ),
        ("sendMessage", {"reply_parameters": "no json"}, {"reply_parameters": {"message_id": 900}}),
        ("copyMessage", {}, {"from_chat_id": "1", "message_id": 900}),
        ("forwardMessages", {"from_chat_id": "1"}, {"from_chat_id": "1", "message_ids": [900]}),
        # As the Bot API takes it too.
        ("EDITMESSAGETEXT", {"text": "b"}, {"text": "b", "message_id": 900}),
    ],
)
def test_the_id_that_telegram_gave_is_put_where_the_method_takes_it(
    connection: Connection, sender: Sender, method: str, payload: dict[str, Any], sent: dict[str, Any]
) -> None:
    target = insert(connection, 1)
    insert(connection, 1, payload or {"text": ""}, method=method, target_id=target)
    sender.answer(sender.take(1), telegram_message_id=900)
    [follower] = sender.take(1)
    assert {name: value for name, value in follower.payload.items() if name in sent} == sent


def test_a_follower_with_a_better_priority_still_goes_after_its_target(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1, priority=3)
    follower = insert(connection, 1, priority=0, target_id=target)
    [first] = sender.take(1)
    assert first.message_id == target
    sender.answer(first, telegram_message_id=900)
    assert [lane.message_id for lane in sender.take(1)] == [follower]


def test_a_follower_waits_for_a_target_that_is_scheduled_for_later(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    target = insert(connection, 1, next_attempt_at=frozen.at + timedelta(minutes=5))
    follower = insert(connection, 1, target_id=target)
    other = insert(connection, 1)
    sender.answer(sender.take(1))
    assert status(connection, other) == "sent"
    frozen.advance(300)
    [first] = sender.take(1)
    assert first.message_id == target
    sender.answer(first, telegram_message_id=900)
    assert [lane.message_id for lane in sender.take(1)] == [follower]


def test_a_follower_waits_while_its_target_is_tried_again(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    target = insert(connection, 1)
    follower = insert(connection, 1, priority=0, target_id=target)
    sender.answer(sender.take(1), "unavailable")
    [again] = sender.take(1, within_s=10)
    assert again.message_id == target
    sender.answer(again, telegram_message_id=900)
    assert [lane.message_id for lane in sender.take(1)] == [follower]


def test_a_target_that_died_ends_its_follower_as_a_dead_letter(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1)
    follower = insert(connection, 1, target_id=target)
    sender.answer(sender.take(1), "bad request")
    assert sender.deliver(2) == []
    assert ended(connection, target) == ("dead", "bad_request")
    assert ended(connection, follower) == ("dead", "target_died")


def test_both_go_once_they_were_retried(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1)
    follower = insert(connection, 1, {"text": "b"}, target_id=target)
    sender.answer(sender.take(1), "bad request")
    sender.deliver(2)
    connection.execute("SELECT outbox.retry(ARRAY[%s, %s]::bigint[])", [target, follower])
    sender.answer(sender.take(1), telegram_message_id=900)
    [lane] = sender.take(1)
    assert lane.payload == {"text": "b", "reply_parameters": {"message_id": 900}}


def test_a_target_that_was_cancelled_ends_its_follower_as_discarded(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1)
    follower = insert(connection, 1, target_id=target)
    connection.execute("SELECT outbox.cancel(%s)", [target])
    assert sender.deliver(1) == []
    assert ended(connection, follower) == ("discarded", "target_not_sent")


def test_a_target_without_an_id_of_telegrams_ends_its_follower(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1, method="deleteMessage")
    follower = insert(connection, 1, target_id=target)
    sender.answer(sender.take(1))
    sender.deliver(2)
    assert ended(connection, follower) == ("dead", "target_missing")


def test_a_target_that_was_sent_long_ago_is_found(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1)
    sender.answer(sender.take(1), telegram_message_id=900)
    insert(connection, 1, method="editMessageText", target_id=target)
    [lane] = sender.take(1)
    assert lane.payload["message_id"] == 900


def test_a_target_that_was_sent_to_another_chat_is_none(connection: Connection, sender: Sender) -> None:
    """Telegram numbers messages per chat: the same number here would be somebody else's message."""
    target = insert(connection, 1)
    sender.answer(sender.take(1), telegram_message_id=900)
    follower = insert(connection, 2, target_id=target)
    assert sender.deliver(1) == []
    assert ended(connection, follower) == ("dead", "target_missing")


@pytest.mark.parametrize("target_id", [0, -1, 10_000])
def test_a_target_that_is_no_earlier_message_is_refused(connection: Connection, target_id: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=f"target_id {target_id} is no message") as refused:
        insert(connection, 1, target_id=target_id)
    assert refused.value.diag.message_hint == "Give the id that the insert of an earlier message returned."


def test_a_target_of_another_chat_or_bot_is_refused(connection: Connection) -> None:
    add_bot(connection, "b")
    target = insert(connection, 1)
    for columns in ({"chat_id": 2}, {"chat_id": 1, "bot": "b"}):
        with pytest.raises(psycopg.errors.CheckViolation, match="is a message of another chat or bot"):
            insert(connection, **columns, target_id=target)


def test_a_target_is_recognised_whatever_the_case_of_its_chats_name(connection: Connection) -> None:
    target = insert(connection, "@News")
    assert insert(connection, "@NEWS", target_id=target) > target


@pytest.mark.parametrize("what", ["scheduled", "cancelled"])
def test_a_thousand_followers_are_dealt_with_a_bounded_number_per_call(
    connection: Connection, frozen: FrozenClock, sender: Sender, what: str
) -> None:
    target = insert(connection, 1, next_attempt_at=frozen.at + timedelta(days=1))
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, target_id) SELECT '1', '{}', %s FROM generate_series(1, 1000)",
        [target],
    )
    if what == "cancelled":
        connection.execute("SELECT outbox.cancel(%s)", [target])
    before = 1001
    for _ in range(15):
        assert sender.claim().lanes == []
        row = connection.execute("SELECT count(*) FROM outbox.message WHERE next_attempt_at <= %s", [frozen.at])
        left = row.fetchone()
        assert left is not None
        assert before - left[0] <= 101
        before = left[0]
        frozen.advance(0.01)
    assert before == 0


def test_a_chain_of_targets_goes_in_its_order(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    chain = [insert(connection, 1)]
    for place in range(1, 8):
        at = frozen.at - timedelta(seconds=place)
        chain.append(insert(connection, 1, priority=max(0, 2 - place), next_attempt_at=at, target_id=chain[-1]))
    sent = []
    for _ in chain:
        [lane] = sender.take(1)
        sent.append(lane.message_id)
        sender.answer(lane, telegram_message_id=lane.message_id)
    assert sent == chain


def test_a_target_and_its_follower_that_ended_up_in_two_chats_can_both_be_retried(
    connection: Connection, sender: Sender
) -> None:
    """The group became a supergroup between their deaths: whether the follower can go is claim's to say."""
    target = insert(connection, -5)
    follower = insert(connection, -5, target_id=target)
    sender.answer(sender.take(1), "bad request")
    sender.deliver(2)
    connection.execute("UPDATE outbox.dead_letter SET chat_id = '-1005' WHERE id = %s", [follower])
    row = connection.execute("SELECT outbox.retry(ARRAY[%s, %s]::bigint[])", [target, follower]).fetchone()
    assert row == (2,)
    sender.answer(sender.take(1), telegram_message_id=900)
    sender.deliver(2)
    assert ended(connection, follower) == ("dead", "target_missing")


def test_all_messages_of_an_album_are_deleted_by_it(connection: Connection, sender: Sender) -> None:
    target = insert(connection, 1, {"media": [{}, {}]}, method="sendMediaGroup")
    insert(connection, 1, method="deleteMessages", target_id=target)
    album = {"message_id": 501, "message_ids": [501, 502]}
    sender.answer(sender.take(1), telegram_message_id=501, telegram_answer=album)
    [lane] = sender.take(1)
    assert lane.payload["message_ids"] == [501, 502]


def test_followers_of_many_targets_that_are_gone_end_a_hundred_at_a_time(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    targets = [insert(connection, 1) for _ in range(60)]
    connection.execute("SELECT outbox.cancel(id) FROM outbox.message")
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, target_id) SELECT '1', '{}', t FROM unnest(%s::bigint[]) t",
        [targets],
    )
    for _ in range(4):
        sender.claim()
        frozen.advance(0.01)
    assert connection.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1 ORDER BY 1").fetchall() == [
        ("cancelled", 60),
        ("discarded", 60),
    ]
