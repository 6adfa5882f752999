"""What a worker must not send (OUTBOX_ONLY_CHATS) ends as discarded, as if it had never been claimed."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    return Sender(connection, frozen)


def test_it_ends_as_discarded_without_a_call(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    message_id = insert(connection, 1)
    assert sender.answer(sender.take(1), "discard") == 1
    row = connection.execute(
        "SELECT status, error_class, attempts FROM outbox.history WHERE id = %s", [message_id]
    ).fetchone()
    assert row == ("discarded", "not_allowed", 0)
    assert connection.execute("SELECT count(*) FROM outbox.attempt").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchone() == (0,)


def test_it_moves_no_deadline_and_the_next_message_follows_at_once(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    insert(connection, -100)
    behind = insert(connection, -100)
    sender.answer(sender.take(1), "discard")
    assert broken(connection) == []
    assert [lane.message_id for lane in sender.claim().lanes] == [behind]
    rows = connection.execute("SELECT next_send_at, last_sent_at FROM outbox.chat").fetchall()
    assert rows == [(None, None)]


def test_told_twice_it_changes_nothing(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, 1)
    lanes = sender.take(1)
    sender.answer(lanes, "discard")
    tables = ("message", "chat", "wakeup", "finished", "attempt")
    before = [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables]
    assert sender.answer(lanes, "discard") == 0
    assert [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables] == before


def test_told_by_a_worker_that_was_reaped_it_discards_nothing(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, 1)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    assert sender.answer(lanes, "discard") == 0
    assert status(connection, message_id) == "queued"


def test_many_of_them_open_no_breaker(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    for chat_id in range(1, 31):
        insert(connection, chat_id)
    sender.answer(sender.take(30), "discard")
    sender.settle()
    assert connection.execute("SELECT breaker FROM outbox.bucket").fetchone() == ("closed",)
    assert connection.execute("SELECT count(*) FROM outbox.history WHERE status = 'discarded'").fetchone() == (30,)
