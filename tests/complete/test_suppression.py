"""A chat that refuses for good is left alone: on evidence, for a week, and not a day longer than it means it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender

WEEK = timedelta(days=7)
CERTAIN = ["blocked", "deactivated", "kicked"]


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def suppression(connection: Connection, chat_id: object = 1) -> tuple[object, ...] | None:
    return connection.execute(
        "SELECT suppressed_until, suppressed_reason, suppressed_at, suppression_evidence FROM outbox.chat"
        " WHERE chat_id = %s AND bot = 'default'",
        [str(chat_id)],
    ).fetchone()


def suppress(connection: Connection, frozen: FrozenClock, sender: Sender, chat_id: object = 1) -> None:
    insert(connection, chat_id)
    sender.answer(sender.take(1), "blocked")
    frozen.advance(2)


def ended(connection: Connection, message_id: int) -> tuple[object, ...] | None:
    return connection.execute(
        "SELECT status, error_class, attempts FROM outbox.history WHERE id = %s", [message_id]
    ).fetchone()


@pytest.mark.parametrize("answer", CERTAIN)
def test_one_certain_refusal_kills_the_message_and_suppresses_the_chat_for_a_week(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    message_id = insert(connection, 1)
    sender.answer(sender.take(1), answer)
    assert ended(connection, message_id) == ("dead", answer, 1)
    found = suppression(connection)
    assert found is not None
    assert found[:3] == (frozen.at + WEEK, answer, frozen.at)


@pytest.mark.parametrize("answer", ["no_rights", "chat_not_found"])
def test_a_first_doubtful_refusal_waits_and_a_second_suppresses(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    message_id = insert(connection, 1)
    sender.answer(sender.take(1), answer)
    assert status(connection, message_id) == "queued"
    assert connection.execute("SELECT attempts FROM outbox.message").fetchone() == (1,)
    assert suppression(connection) == (None, None, None, 1)
    frozen.advance(4.8)
    assert sender.claim().lanes == [], "two within five seconds are one piece of evidence"

    frozen.advance(30)
    sender.answer(sender.take(1), answer)
    assert ended(connection, message_id) == ("dead", answer, 2)
    found = suppression(connection)
    assert found is not None
    assert found[:3] == (frozen.at + WEEK, answer, frozen.at)
    assert broken(connection) == []


def test_nothing_passes_a_message_that_waits_for_a_second_refusal_but_better_ones(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    refused = insert(connection, 1)
    equal = insert(connection, 1)
    sender.answer(sender.take(1), "no_rights")
    frozen.advance(2)
    assert sender.claim().lanes == []
    frozen.advance(60)
    assert [lane.message_id for lane in sender.deliver(3)] == [refused, equal]


def test_refusals_of_two_messages_are_two_pieces_of_evidence(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    sender.answer(sender.take(1), "no_rights")
    frozen.advance(2)
    critical = insert(connection, 1, priority=0)
    [lane] = sender.take(1)
    assert lane.message_id == critical
    sender.answer(lane, "chat_not_found")
    found = suppression(connection)
    assert found is not None
    assert found[0] == frozen.at + WEEK


@pytest.mark.parametrize("last", CERTAIN)
def test_a_certain_refusal_after_a_doubtful_one_suppresses(
    connection: Connection, frozen: FrozenClock, sender: Sender, last: str
) -> None:
    insert(connection, 1)
    sender.answer(sender.take(1), "no_rights")
    frozen.advance(40)
    sender.answer(sender.take(1), last)
    found = suppression(connection)
    assert found is not None
    assert found[1] == last


def test_a_message_that_arrives_takes_the_evidence_back(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for _ in range(3):
        insert(connection, 1)
        sender.answer(sender.take(1), "no_rights")
        frozen.advance(40)
        sender.answer(sender.take(1))
        assert suppression(connection) == (None, None, None, 0)
        frozen.advance(2)
    assert connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchone() == (0,)


def test_a_message_refused_for_itself_says_nothing_about_its_chat(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for _ in range(3):
        insert(connection, 1)
        sender.answer(sender.take(1), "bad request")
        frozen.advance(2)
    assert suppression(connection) == (None, None, None, 0)
    assert connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchone() == (3,)


def test_a_last_attempt_that_is_refused_once_dies_without_suppressing(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1, max_attempts=1)
    sender.answer(sender.take(1), "no_rights")
    assert ended(connection, message_id) == ("dead", "no_rights", 1)
    found = suppression(connection)
    assert found is not None
    assert found[0] is None


def test_what_waits_for_a_suppressed_chat_and_what_comes_later_is_discarded_without_a_call(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    waiting = [insert(connection, 1, priority=priority) for priority in (2, 3)]
    sender.answer(sender.take(1), "blocked")
    frozen.advance(2)
    late = insert(connection, 1)
    slots = connection.execute("SELECT last_slot FROM outbox.bucket").fetchone()
    for _ in range(3):
        assert sender.claim().lanes == []
        frozen.advance(0.1)
    for message_id in (*waiting, late):
        assert ended(connection, message_id) == ("discarded", "chat_suppressed", 0)
    assert connection.execute("SELECT last_slot FROM outbox.bucket").fetchone() == slots
    assert connection.execute("SELECT count(*) FROM outbox.attempt").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM outbox.wakeup").fetchone() == (0,)


def test_a_scheduled_message_for_a_suppressed_chat_waits_for_its_time(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, frozen, sender)
    scheduled = insert(connection, 1, next_attempt_at=frozen.at + timedelta(hours=1))
    sender.claim()
    assert status(connection, scheduled) == "queued"
    frozen.advance(3600)
    assert sender.claim().lanes == []
    assert ended(connection, scheduled) == ("discarded", "chat_suppressed", 0)


def test_a_message_in_flight_when_its_chat_is_suppressed_by_another_bot_goes_on(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    add_bot(connection, "other")
    suppress(connection, frozen, sender)
    message_id = insert(connection, 1, bot="other")
    other = Sender(connection, frozen, "other")
    other.answer(other.take(1))
    assert status(connection, message_id) == "sent"


def test_a_suppression_ends_at_most_a_hundred_messages_per_call(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, frozen, sender)
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 350)")
    discarded = "SELECT count(*) FROM outbox.finished WHERE status = 'discarded'"
    for calls in range(1, 8):
        assert sender.claim().lanes == []
        row = connection.execute(discarded).fetchone()
        assert row is not None
        assert row[0] <= 100 * calls
        frozen.advance(0.01)
    assert row == (350,)


def test_a_suppression_lapses_after_a_week_with_one_probe_whose_arrival_clears_it(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, frozen, sender)
    frozen.advance(WEEK.total_seconds())
    rows = [insert(connection, 1) for _ in range(3)]
    [probe] = sender.take(1)
    assert probe.message_id == rows[0]
    sender.answer(probe)
    assert suppression(connection) == (None, None, None, 0)
    assert len(sender.deliver(4)) == 2
    assert [status(connection, message_id) for message_id in rows] == ["sent"] * 3


@pytest.mark.parametrize("answer", ["no_rights", "blocked"])
def test_one_more_refusal_of_the_probe_suppresses_again(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    suppress(connection, frozen, sender)
    frozen.advance(WEEK.total_seconds())
    rows = [insert(connection, 1) for _ in range(3)]
    sender.answer(sender.take(1), answer)
    found = suppression(connection)
    assert found is not None
    assert found[0] == frozen.at + WEEK
    frozen.advance(2)
    assert sender.deliver(10) == []
    assert [ended(connection, message_id) for message_id in rows[1:]] == [("discarded", "chat_suppressed", 0)] * 2
    assert ended(connection, rows[0]) == ("dead", answer, 1)


def test_a_probe_whose_outcome_is_unknown_decides_nothing(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    suppress(connection, frozen, sender)
    frozen.advance(WEEK.total_seconds())
    message_id = insert(connection, 1)
    sender.answer(sender.take(1), "unavailable")
    frozen.advance(40)
    sender.answer(sender.take(1))
    assert status(connection, message_id) == "sent"


def test_a_late_sent_lifts_a_suppression(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    """The call of a worker thought dead arrived: the chat takes messages."""
    insert(connection, 1)
    [lane] = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    other = Sender(connection, frozen)
    frozen.advance(5)
    other.answer(other.take(1), "no_rights")
    sender.answer(lane)
    assert suppression(connection) == (None, None, None, 0)


def test_a_lift_lets_the_next_message_go(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    suppress(connection, frozen, sender)
    connection.execute("SELECT outbox.lift_suppression('default', '1')")
    message_id = insert(connection, 1)
    sender.answer(sender.take(1))
    assert status(connection, message_id) == "sent"


def test_after_a_lift_evidence_is_gathered_anew(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    suppress(connection, frozen, sender)
    connection.execute("SELECT outbox.lift_suppression('default', '1')")
    message_id = insert(connection, 1)
    sender.answer(sender.take(1), "no_rights")
    assert status(connection, message_id) == "queued"


def test_a_refusal_brought_twice_is_one_piece_of_evidence(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    lanes = sender.take(1)
    sender.answer(lanes, "no_rights")
    sender.answer(lanes, "no_rights")
    assert suppression(connection) == (None, None, None, 1)


def test_a_late_refusal_of_a_reaped_worker_is_no_evidence(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    before = connection.execute("SELECT * FROM outbox.chat").fetchall()
    sender.answer(lanes, "blocked")
    assert connection.execute("SELECT * FROM outbox.chat").fetchall() == before
