"""What was cancelled is not sent, and ends in its lane's turn: by id, by correlation id, by tag."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender
from tests.invariants.sessions import Session


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def cancel(connection: Connection, message_id: int | None = None, **named: str | None) -> bool:
    row = connection.execute(
        "SELECT outbox.cancel(%s::bigint, %s, %s, %s)",
        [message_id, named.get("tag"), named.get("correlation_id"), named.get("bot")],
    ).fetchone()
    assert row is not None
    return bool(row[0])


def left(connection: Connection) -> tuple[int, int]:
    """How many requests wait, and messages."""
    row = connection.execute("SELECT (SELECT count(*) FROM outbox.request), count(*) FROM outbox.message").fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_cancelled_message_is_not_sent_and_the_next_one_of_its_chat_is(
    connection: Connection, sender: Sender
) -> None:
    first, second = insert(connection, 1), insert(connection, 1)
    assert cancel(connection, first)
    assert [lane.message_id for lane in sender.claim().lanes] == [second]
    assert connection.execute(
        "SELECT status, error_class, attempts FROM outbox.history WHERE id = %s", [first]
    ).fetchone() == ("cancelled", "cancelled", 0)
    assert left(connection) == (0, 1)
    assert broken(connection) == []


def test_a_cancelled_message_that_is_scheduled_ends_now(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    later = insert(connection, 1, next_attempt_at=frozen.at + timedelta(days=7))
    cancel(connection, later)
    assert sender.claim().lanes == []
    assert status(connection, later) == "cancelled"


def test_a_cancelled_message_of_a_chat_that_cools_ends_now(connection: Connection, sender: Sender) -> None:
    insert(connection, 1)
    sender.answer(sender.claim().lanes)
    second = insert(connection, 1)
    cancel(connection, second)
    assert sender.claim().lanes == []
    assert status(connection, second) == "cancelled"


def test_a_message_that_is_being_sent_ends_by_its_answer(connection: Connection, sender: Sender) -> None:
    message_id = insert(connection, 1)
    lanes = sender.claim().lanes
    assert cancel(connection, message_id)
    assert sender.claim().lanes == []
    sender.answer(lanes)
    assert status(connection, message_id) == "sent"
    assert left(connection) == (0, 0)


def test_a_message_that_is_being_sent_and_fails_is_not_tried_again(connection: Connection, sender: Sender) -> None:
    message_id = insert(connection, 1)
    lanes = sender.claim().lanes
    cancel(connection, message_id)
    sender.answer(lanes, "unavailable")
    assert connection.execute("SELECT status, attempts FROM outbox.history WHERE id = %s", [message_id]).fetchone() == (
        "cancelled",
        1,
    )
    assert left(connection) == (0, 0)


def test_another_message_of_the_chat_cancelled_meanwhile_ends_when_the_answer_comes(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Its wakeup finds the lane in flight and is gone: complete looks at the requests instead."""
    insert(connection, 1)
    later = insert(connection, 1, next_attempt_at=frozen.at + timedelta(days=1))
    lanes = sender.claim().lanes
    cancel(connection, later)
    sender.claim()
    sender.answer(lanes)
    assert status(connection, later) == "cancelled"


def test_a_dead_workers_message_that_was_cancelled_is_not_sent_again(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1)
    sender.claim()
    cancel(connection, message_id)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert status(connection, message_id) == "cancelled"


def test_a_correlation_id_cancels_all_that_bear_it(connection: Connection, sender: Sender) -> None:
    order = [insert(connection, chat_id, correlation_id="order 17") for chat_id in (1, 2)]
    other = insert(connection, 3, correlation_id="order 18")
    assert cancel(connection, correlation_id="order 17")
    assert [lane.message_id for lane in sender.claim().lanes] == [other]
    assert [status(connection, message_id) for message_id in order] == ["cancelled", "cancelled"]


def test_a_tag_stops_what_was_inserted_until_then_and_not_what_comes_later(
    connection: Connection, sender: Sender
) -> None:
    earlier = [insert(connection, chat_id, tag="news") for chat_id in (1, 2, 3)]
    assert cancel(connection, tag="news")
    later = insert(connection, 1, tag="news")
    other = insert(connection, 4)
    assert {lane.message_id for lane in sender.take(2)} == {later, other}
    assert {status(connection, message_id) for message_id in earlier} == {"cancelled"}


def test_a_tag_may_be_cancelled_for_one_bot(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, "b")
    mine, others = insert(connection, 1, tag="news"), insert(connection, 1, tag="news", bot="b")
    assert cancel(connection, tag="news", bot="B")
    assert [lane.message_id for lane in Sender(connection, frozen, "default", "b").claim().lanes] == [mine]
    assert status(connection, others) == "cancelled"


def test_a_cancelled_tag_takes_no_slots_from_others_whatever_its_size(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT i::text, '{}', 'news' FROM generate_series(1, 3000) i"
    )
    cancel(connection, tag="news")
    wanted = insert(connection, 5000)
    for _ in range(20):
        for lane in sender.claim().lanes:
            assert lane.message_id == wanted
            sender.answer(lane)
        frozen.advance(0.01)
    assert status(connection, wanted) == "sent"
    assert connection.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1 ORDER BY 1").fetchall() == [
        ("cancelled", 3000),
        ("sent", 1),
    ]


def test_behind_a_cancelled_tag_those_that_waited_longest_still_go_first(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """More chats are looked at than may go: those left over keep their turn."""
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag) SELECT i::text, '{}', 'news' FROM generate_series(1, 60) i"
    )
    wanted = [insert(connection, chat_id) for chat_id in range(100, 160)]
    cancel(connection, tag="news")
    sent = [lane.message_id for lane in sender.deliver(2.5)]
    assert sorted(sent) == wanted
    assert max(abs(place - sent.index(one)) for place, one in enumerate(wanted)) <= 4  # a claim's worth


def test_more_cancels_than_one_call_ends_hold_the_lane_until_all_have_ended(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 250)")
    connection.execute("SELECT outbox.cancel(id) FROM outbox.message")
    wanted = insert(connection, 1)
    sent = []
    for _ in range(10):
        sent += sender.claim().lanes
        frozen.advance(0.01)
    assert [lane.message_id for lane in sent] == [wanted]
    assert left(connection) == (0, 1)


def test_a_cancel_that_is_not_committed_delays_nothing(
    connection: Connection, open_session: Callable[[], Session], sender: Sender
) -> None:
    messages = [insert(connection, chat_id) for chat_id in (1, 2)]
    application = open_session()
    cancel(application.begin(), messages[0])
    assert {lane.message_id for lane in sender.take(2)} == set(messages)
    sender.answer([])
    application.commit()


def test_a_cancel_that_was_rolled_back_cancels_nothing(
    connection: Connection, open_session: Callable[[], Session], sender: Sender
) -> None:
    message_id = insert(connection, 1)
    application = open_session()
    transaction = application.begin()
    cancel(transaction, message_id)
    transaction.rollback()
    assert [lane.message_id for lane in sender.claim().lanes] == [message_id]


def test_what_has_ended_cannot_be_cancelled(connection: Connection, sender: Sender) -> None:
    message_id = insert(connection, 1)
    sender.answer(sender.claim().lanes)
    assert not cancel(connection, message_id)
    assert not cancel(connection, 4711)
    assert not cancel(connection, correlation_id="nobody's")
    assert left(connection) == (0, 0)


def test_cancelling_twice_is_cancelling_once(connection: Connection, sender: Sender) -> None:
    message_id = insert(connection, 1)
    assert cancel(connection, message_id)
    assert cancel(connection, message_id)
    assert left(connection) == (1, 1)
    sender.claim()
    assert left(connection) == (0, 0)
    assert status(connection, message_id) == "cancelled"


def test_a_cancel_follows_its_message_to_the_chat_that_it_moved_to(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    first = insert(connection, -5)
    second = insert(connection, -5, next_attempt_at=frozen.at + timedelta(hours=1))
    lanes = sender.claim().lanes
    cancel(connection, second)
    sender.answer(lanes, "migrated", migrate_to="-1005")
    frozen.advance(0.1)
    connection.execute("SELECT outbox.sweep() FROM generate_series(1, 2)")
    assert [status(connection, message_id) for message_id in (first, second)] == ["queued", "cancelled"]
    assert left(connection) == (0, 1)


@pytest.mark.parametrize("named", [{}, {"tag": "a", "correlation_id": "b"}])
def test_a_cancel_of_nothing_or_of_two_things_says_how_to_call_it(
    connection: Connection, named: dict[str, str]
) -> None:
    with pytest.raises(Exception, match=r"cancel takes one of id, tag and correlation_id, not [02]"):
        cancel(connection, None, **named)


def test_a_cancel_of_a_tag_that_was_never_used_stops_nothing_that_comes_later(
    connection: Connection, sender: Sender
) -> None:
    """A sequence that was never asked says 1 all the same."""
    connection.execute("ALTER SEQUENCE outbox.message_id_seq RESTART")
    assert not cancel(connection, tag="news")
    first = insert(connection, 1, tag="news")
    assert [lane.message_id for lane in sender.claim().lanes] == [first]


def test_a_cancel_that_names_the_chat_from_before_a_move_is_obeyed(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session], sender: Sender
) -> None:
    first, second = insert(connection, -5), insert(connection, -5)
    lanes = sender.claim().lanes
    application = open_session()
    cancel(application.begin(), second)
    sender.answer(lanes, "migrated", migrate_to="-1005")
    application.commit()
    frozen.advance(2)
    sent = sender.take(1)
    assert [lane.message_id for lane in sent] == [first]
    sender.answer(sent)
    assert sender.deliver(2) == []
    assert status(connection, second) == "cancelled"
