"""Of the due messages of a chat with one collapse key the newest goes, in the oldest one's place."""

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


def statuses(connection: Connection, *ids: int) -> list[str]:
    return [status(connection, message_id) for message_id in ids]


def sent_in_order(sender: Sender, frozen: FrozenClock, count: int, answer: str = "sent") -> list[int]:
    ids = []
    for _ in range(count):
        [lane] = sender.take(1, within_s=10)
        ids.append(lane.message_id)
        sender.answer(lane, answer)
    return ids


def test_the_newest_goes_in_the_oldest_ones_place(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    old = insert(connection, 1, collapse_key="score")
    between = insert(connection, 1)
    middle = insert(connection, 1, collapse_key="score")
    new = insert(connection, 1, {"text": "3:1"}, collapse_key="score")
    assert sent_in_order(sender, frozen, 2) == [new, between]
    assert statuses(connection, old, middle) == ["superseded", "superseded"]
    assert broken(connection) == []


def test_written_in_one_transaction_it_still_goes_before_what_was_written_between(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Their times are equal: the place is what counts, and holds when the call fails and is tried again."""
    with connection.transaction():
        insert(connection, 1, collapse_key="score")
        between = insert(connection, 1)
        new = insert(connection, 1, collapse_key="score")
    assert sent_in_order(sender, frozen, 1, "unavailable") == [new]
    assert sent_in_order(sender, frozen, 2) == [new, between]


def test_the_newest_takes_the_oldest_ones_priority(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1, collapse_key="score", priority=1)
    normal = insert(connection, 1)
    new = insert(connection, 1, collapse_key="score", priority=3)
    assert sent_in_order(sender, frozen, 2) == [new, normal]


def test_what_is_scheduled_does_not_collapse_before_its_time(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    now = insert(connection, 1, collapse_key="score")
    later = insert(connection, 1, collapse_key="score", next_attempt_at=frozen.at + timedelta(minutes=1))
    assert sent_in_order(sender, frozen, 1) == [now]
    assert statuses(connection, later) == ["queued"]


def test_other_chats_and_other_keys_are_left_alone(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    wanted = {insert(connection, chat_id, collapse_key=key) for chat_id, key in ((1, "a"), (2, "a"), (3, "b"))}
    assert {lane.message_id for lane in sender.take(3)} == wanted


def test_one_that_is_being_sent_is_not_superseded(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    first = insert(connection, 1, collapse_key="score")
    lanes = sender.claim().lanes
    second = insert(connection, 1, collapse_key="score")
    sender.answer(lanes)
    assert sent_in_order(sender, frozen, 1) == [second]
    assert statuses(connection, first, second) == ["sent", "sent"]


def test_one_that_waits_for_its_retry_gives_way_to_a_newer_one(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    first = insert(connection, 1, collapse_key="score")
    sender.answer(sender.claim().lanes, "unavailable")
    second = insert(connection, 1, collapse_key="score")
    assert sent_in_order(sender, frozen, 1) == [second]
    assert statuses(connection, first) == ["superseded"]


def test_one_that_has_expired_takes_no_part(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    old = insert(connection, 1, collapse_key="score")
    new = insert(connection, 1, collapse_key="score", expires_at=frozen.at + timedelta(seconds=1))
    frozen.advance(2)
    assert sent_in_order(sender, frozen, 1) == [old]
    assert statuses(connection, old, new) == ["sent", "expired"]


def test_hundreds_under_one_key_become_one_message_a_bounded_number_per_call(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, collapse_key)"
        " SELECT '1', '{}', 'score' FROM generate_series(1, 950)"
    )
    new = insert(connection, 1, collapse_key="score")
    sent = []
    before = 951
    for _ in range(20):
        sent += sender.claim().lanes
        row = connection.execute("SELECT count(*) FROM outbox.message").fetchone()
        assert row is not None
        assert before - row[0] <= 100
        before = row[0]
        frozen.advance(0.01)
    assert [lane.message_id for lane in sent] == [new]
    assert before == 1


def test_a_lane_of_many_keys_keeps_its_order(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    ids = {(key, n): insert(connection, 1, collapse_key=key) for n in (1, 2) for key in ("a", "b", "c")}
    assert sent_in_order(sender, frozen, 3) == [ids["a", 2], ids["b", 2], ids["c", 2]]


def test_one_whose_tag_was_cancelled_takes_no_part(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    old = insert(connection, 1, collapse_key="score")
    new = insert(connection, 1, collapse_key="score", tag="news")
    connection.execute("SELECT outbox.cancel(p_tag => 'news')")
    assert sent_in_order(sender, frozen, 1) == [old]
    assert statuses(connection, old, new) == ["sent", "cancelled"]


def test_an_edit_under_the_key_of_its_target_does_not_supersede_it(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    status_message = insert(connection, 1, collapse_key="score")
    edits = [
        insert(connection, 1, {"text": text}, method="editMessageText", collapse_key="score", target_id=status_message)
        for text in ("1:0", "2:0", "3:0")
    ]
    [first] = sender.take(1)
    assert first.message_id == status_message
    sender.answer(first, telegram_message_id=900)
    [edit] = sender.take(1)
    assert edit.payload == {"text": "3:0", "message_id": 900}
    assert statuses(connection, *edits[:2]) == ["superseded", "superseded"]


def test_a_backlog_of_keys_collapses_as_its_chats_get_their_turn(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Not all of it before the first message goes."""
    for text in ("old", "new"):
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload, collapse_key, correlation_id)"
            " SELECT i::text, '{}', 'score', %s FROM generate_series(1, 300) i",
            [text],
        )
    lanes = sender.deliver(3)
    assert {lane.correlation_id for lane in lanes} == {"new"}
    assert len(lanes) >= 80
    row = connection.execute("SELECT count(*) FROM outbox.finished WHERE status = 'superseded'").fetchone()
    assert row is not None
    assert row[0] <= len(lanes) + 20


def test_a_time_before_all_others_stops_nobody(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1, collapse_key="score", next_attempt_at="4714-11-24 00:00:00+00 BC")
    new = insert(connection, 1, collapse_key="score")
    assert sent_in_order(sender, frozen, 1) == [new]
