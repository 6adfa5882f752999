"""A message is found again by its correlation_id and tag in every call, and by what Telegram answered."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, insert, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender

LABELS = {"correlation_id": "order-7", "tag": "receipts"}
TOLD = {"message_id": 77, "file_ids": ["AgAC", "BQAC"]}


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def labels(connection: Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT correlation_id, tag FROM outbox.attempt ORDER BY attempt").fetchall()


@pytest.mark.parametrize("answer", ["sent", "flood", "unavailable", "timeout", "bad request", "blocked", "no_rights"])
def test_every_call_bears_the_labels_of_its_message(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    insert(connection, 1, **LABELS)
    sender.answer(sender.take(1), answer)
    assert labels(connection) == [("order-7", "receipts")]


def test_a_message_without_a_tag_has_calls_without_one(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1, correlation_id="order-7")
    sender.answer(sender.take(1))
    assert labels(connection) == [("order-7", None)]


def test_an_older_worker_that_tells_no_correlation_id_leaves_it_in_the_record_all_the_same(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1, **LABELS)
    [lane] = sender.take(1)
    sender.answer(lane, "unavailable", correlation_id=None)
    frozen.advance(2)
    sender.answer(sender.take(1), correlation_id=None)
    assert labels(connection) == [("order-7", "receipts")] * 2


def test_the_call_of_a_worker_that_died_bears_them_too(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1, **LABELS)
    sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert labels(connection) == [("order-7", "receipts")]


def test_a_late_result_of_a_message_that_has_ended_bears_its_correlation_id(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1, **LABELS)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    other = Sender(connection, frozen)
    frozen.advance(5)
    other.answer(other.take(1))
    assert status(connection, message_id) == "sent"
    sender.answer(lanes, "unavailable")
    found = connection.execute("SELECT correlation_id FROM outbox.attempt WHERE late").fetchall()
    assert found == [("order-7",)]


@pytest.mark.parametrize("keep_payload", [True, False])
def test_what_telegram_answered_is_kept(
    connection: Connection, frozen: FrozenClock, sender: Sender, keep_payload: bool
) -> None:
    connection.execute("UPDATE outbox.bot SET keep_payload = %s", [keep_payload])
    insert(connection, 1)
    sender.answer(sender.take(1), telegram_message_id=77, telegram_answer=TOLD)
    row = connection.execute("SELECT telegram_answer, payload IS NOT NULL FROM outbox.finished").fetchone()
    assert row == (TOLD, keep_payload)


def test_what_a_late_sent_tells_is_kept(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    sender.answer(lanes, telegram_answer=TOLD)
    assert connection.execute("SELECT status, telegram_answer FROM outbox.finished").fetchone() == ("sent", TOLD)


def test_what_a_late_sent_tells_of_an_uncertain_dead_letter_is_kept(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1, on_uncertain="hold")
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    sender.answer(lanes, telegram_answer=TOLD)
    assert connection.execute("SELECT status, telegram_answer FROM outbox.finished").fetchone() == ("sent", TOLD)


def test_an_older_worker_that_tells_no_answer_finishes_its_message(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, 1)
    sender.answer(sender.take(1))
    assert connection.execute("SELECT status, telegram_answer FROM outbox.finished").fetchone() == ("sent", None)
