"""What is not the message's fault spends none of its attempts; what ends it nevertheless."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender

EXCUSED = {
    "flood": {"retry_after_s": 2},
    "unauthorised": {},
    "paid broadcast refused": {},
    "migrated": {"migrate_to": "-1001"},
    "unsent": {},
}


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


@pytest.mark.parametrize("answer", EXCUSED)
def test_ever_so_many_spend_no_attempt(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    message_id = insert(connection, -5, {"text": "hi", "allow_paid_broadcast": True}, max_attempts=1)
    columns = EXCUSED[answer]
    for i in range(6):
        if answer == "migrated":
            columns = {"migrate_to": f"-100{i}"}
        if answer == "paid broadcast refused":
            connection.execute("UPDATE outbox.bot SET paid_broadcast_refused_at = NULL")  # a person tries it again
        [lane] = sender.take(1, within_s=60)
        sender.answer(lane, answer, **columns)
        sender.settle()
        if answer == "unauthorised":
            connection.execute("SELECT outbox.authorise('default', 1)")
        assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(0,)]
        assert broken(connection) == []
    [lane] = sender.take(1, within_s=60)
    sender.answer(lane)
    assert status(connection, message_id) == "sent"
    assert connection.execute("SELECT attempts FROM outbox.finished").fetchone() == (1,)


@pytest.mark.parametrize("answer", [answer for answer in EXCUSED if answer != "unsent"])
def test_each_call_is_on_record_though_it_spent_nothing(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    insert(connection, -5, {"text": "hi", "allow_paid_broadcast": True})
    [lane] = sender.take(1)
    sender.answer(lane, answer, **EXCUSED[answer])
    rows = connection.execute("SELECT attempt, error_class FROM outbox.attempt").fetchall()
    assert len(rows) == 1
    assert rows[0][0] == 1


@pytest.mark.parametrize("answer", ["unavailable", "timeout"])
def test_the_last_attempt_ends_a_message_whose_others_were_excused(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    message_id = insert(connection, 1, max_attempts=2)
    for kind in ("flood", answer, "flood", answer):
        assert status(connection, message_id) == "queued"
        sender.answer(sender.take(1, within_s=60), kind, retry_after_s=2 if kind == "flood" else None)
    assert status(connection, message_id) == "dead"
    assert connection.execute("SELECT attempts, calls FROM outbox.dead_letter").fetchone() == (2, 4)


def test_a_message_that_waits_for_a_429_ends_when_it_expires(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1, expires_at=frozen.at + timedelta(minutes=1))
    sender.answer(sender.take(1), "flood", retry_after_s=3600)
    behind = insert(connection, 1)
    frozen.advance(3600)
    assert [lane.message_id for lane in sender.take(1)] == [behind]
    assert status(connection, message_id) == "expired"


def test_a_message_that_fails_until_it_expires_ends_as_expired_with_its_last_error(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1, expires_at=frozen.at + timedelta(seconds=20))
    for _ in range(400):
        sender.answer(sender.claim().lanes, "unavailable", error_text="boom")
        frozen.advance(0.2)  # 80 s in all: a backoff of up to 30 s may begin just before it expires
    row = connection.execute(
        "SELECT status, error_text, attempts >= 1 FROM outbox.history WHERE id = %s", [message_id]
    ).fetchone()
    assert row == ("expired", "boom", True)


@pytest.mark.parametrize(("on_uncertain", "expected"), [("retry", "queued"), ("hold", "uncertain")])
def test_an_unknown_outcome_goes_again_or_to_a_person(
    connection: Connection, frozen: FrozenClock, sender: Sender, on_uncertain: str, expected: str
) -> None:
    message_id = insert(connection, 1, on_uncertain=on_uncertain)
    sender.answer(sender.take(1), "timeout")
    assert status(connection, message_id) == expected


def test_a_message_to_hold_is_in_flight_before_its_request_leaves(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """The marker of the attempt is what claim commits: a worker that dies with it leaves it to a person."""
    message_id = insert(connection, 1, on_uncertain="hold")
    sender.take(1)
    row = connection.execute("SELECT in_flight, worker, attempt FROM outbox.chat").fetchone()
    assert row == (message_id, sender.worker, 1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert status(connection, message_id) == "uncertain"
