"""A 429 is obeyed exactly, by its chat alone, and spends no attempt (I9)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock


def next_send_at(connection: Connection) -> datetime:
    row = connection.execute("SELECT next_send_at FROM outbox.chat WHERE chat_id = '1'").fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("retry_after_s", [5, 3.5, 7200])
@pytest.mark.parametrize("age_s", [0, 0.25])
def test_the_chat_waits_for_retry_after_from_the_response(
    connection: Connection, frozen: FrozenClock, retry_after_s: float, age_s: float
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    lanes = claim(connection, worker).lanes
    frozen.advance(1)
    answered_at = frozen.at - timedelta(seconds=age_s)
    finish(connection, worker, lanes, "wait", retry_after_s=retry_after_s, age_s=age_s)
    assert next_send_at(connection) == answered_at + timedelta(seconds=retry_after_s)
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(0,)]

    frozen.set(answered_at + timedelta(seconds=retry_after_s - 0.11))
    connection.execute("SELECT outbox.heartbeat(%s, false)", [worker])
    assert claim(connection, worker).lanes == []
    frozen.advance(0.11)
    [lane] = claim(connection, worker).lanes
    assert (lane.message_id, lane.attempt) == (message_id, 2)
    assert lane.slot_at == answered_at + timedelta(seconds=retry_after_s)


def test_critical_messages_of_the_chat_wait_too_and_other_chats_go_on(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker, waiting = register(connection), insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "wait", retry_after_s=10)
    critical, other = insert(connection, 1, priority=0), insert(connection, 2, priority=3)
    frozen.advance(9.8)
    assert claim(connection, worker).message_ids == [other]
    frozen.advance(0.2)
    assert claim(connection, worker).message_ids == [critical]
    assert waiting != critical


def test_a_retry_after_is_never_shortened(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    later = frozen.at + timedelta(hours=2)
    connection.execute("UPDATE outbox.chat SET next_send_at = %s", [later])
    finish(connection, worker, lanes, "wait", retry_after_s=3)
    assert next_send_at(connection) == later


def test_ever_so_many_waits_spend_no_attempt(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1, max_attempts=1)
    for _ in range(5):
        finish(connection, worker, claim(connection, worker).lanes, "wait", retry_after_s=2)
        frozen.advance(2)
    [lane] = claim(connection, worker).lanes
    assert lane.attempt == 6
    finish(connection, worker, [lane])
    assert connection.execute("SELECT status, attempts FROM outbox.history").fetchall() == [("sent", 1)]
    outcomes = connection.execute("SELECT attempt, outcome FROM outbox.attempt ORDER BY attempt").fetchall()
    assert outcomes == [(attempt, "wait") for attempt in range(1, 6)] + [(6, "sent")]


def test_a_429_without_retry_after_waits_by_the_backoff(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "wait")
    row = connection.execute("SELECT backoff_until[3] FROM outbox.chat").fetchone()
    assert row is not None
    assert frozen.at < row[0] <= frozen.at + timedelta(seconds=1)
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(0,)]
    frozen.advance(1)
    assert claim(connection, worker).message_ids == [message_id]
