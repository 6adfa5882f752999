"""timeline: what happened to one message, in order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from psycopg.rows import dict_row

from tests.invariants.calls import Connection, add_bot, cancel, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.operate.dead_letters import die, operate, unlimited


def timeline(connection: Connection, message: int) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM outbox.timeline(%s)", [message]).fetchall()


def told(rows: list[dict[str, Any]]) -> list[str]:
    return [row["what"] for row in rows]


def test_a_message_that_was_sent_after_all(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, backoff_max_s=0.001, chat_interval_s=0)
    worker = register(connection)
    message = insert(connection, 42, tag="sale", correlation_id="order-1", priority=1)
    frozen.advance(10)
    finish(
        connection,
        worker,
        claim(connection, worker).lanes,
        "retry",
        error_class="timeout",
        error_text="read timed out",
        duration_s=5,
    )
    frozen.advance(10)
    finish(connection, worker, claim(connection, worker).lanes, "wait", retry_after_s=7, http_status=429)
    frozen.advance(10)
    finish(connection, worker, claim(connection, worker).lanes, "sent", telegram_message_id=4711, http_status=200)
    rows = timeline(connection, message)
    assert told(rows) == ["accepted", "attempt", "wait", "attempt", "wait", "attempt", "ended"]
    accepted, first, backoff, second, flood, third, ended = rows
    assert accepted["details"] == (
        "sendMessage to chat 42, bot default, priority high, tag sale, correlation id order-1"
    )
    assert first["details"] == "1: retry: timeout: read timed out"
    assert (first["duration_s"], first["worker"]) == (5, f"w ({worker})")
    assert (backoff["details"], backoff["waits_until"]) == ("backoff", second["at"])
    assert (second["http_status"], second["details"]) == (429, "2: wait")
    assert flood["details"] == "429: Telegram told the chat to wait 7 s"
    assert flood["waits_until"] == flood["at"] + timedelta(seconds=7)
    assert third["details"] == "3: sent"
    assert ended["details"] == "sent as Telegram's message 4711"
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_a_message_that_waits_for_its_next_attempt_says_until_when(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, backoff_initial_s=20)
    worker = register(connection)
    message = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="server_error")
    rows = timeline(connection, message)
    assert told(rows)[-1] == "wait"
    [(next_at,)] = connection.execute("SELECT next_attempt_at FROM outbox.history WHERE id = %s", [message]).fetchall()
    assert rows[-1]["waits_until"] == next_at


def test_scheduled_sending_and_a_cancel_are_told(connection: Connection, frozen: FrozenClock) -> None:
    later = frozen.at + timedelta(days=1)
    scheduled = insert(connection, 1, next_attempt_at=later)
    [_, row] = timeline(connection, scheduled)
    assert (row["what"], row["waits_until"]) == ("scheduled", later)
    cancel(connection, scheduled)
    assert sorted(told(timeline(connection, scheduled))) == ["accepted", "cancel asked for", "scheduled"]

    tagged = insert(connection, 2, tag="sale", next_attempt_at=later)
    cancel(connection, tag="sale")
    assert "cancel asked for" in told(timeline(connection, tagged))
    newer = insert(connection, 2, tag="sale", next_attempt_at=later)
    assert "cancel asked for" not in told(timeline(connection, newer))

    worker = register(connection)
    flying = insert(connection, 3)
    claim(connection, worker)
    [row] = [row for row in timeline(connection, flying) if row["what"] == "sending"]
    assert (row["details"], row["worker"]) == ("attempt 1 is in flight", f"w ({worker})")


def test_a_dead_letter_ends_with_its_reason_and_no_wait(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    worker = register(connection)
    message = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_class="bad_request", error_text="no")
    rows = timeline(connection, message)
    assert told(rows) == ["accepted", "attempt", "ended"]
    assert rows[-1]["details"] == "dead: bad_request: no; a dead letter: retry or discard it"


def test_an_unknown_id_has_no_timeline_and_no_payload_is_told(connection: Connection) -> None:
    assert timeline(connection, 4711) == []
    message = insert(connection, 1, {"text": "secret"})
    connection.execute("SET ROLE outbox_reader")
    assert "secret" not in str(timeline(connection, message))


@pytest.mark.parametrize("by", [{"p_ids": "own"}, {"p_class": "timeout"}, {"p_tag": "sale", "p_text": "TIMED"}])
def test_a_retry_by_an_operator_is_told_between_the_attempts(connection: Connection, by: dict[str, Any]) -> None:
    unlimited(connection)
    message = die(connection, 1, "timeout", "Read timed out", tag="sale")
    connection.execute("SELECT set_config('outbox.operator', 'ann', false)")
    assert operate(connection, "retry", **({"p_ids": [message]} if "p_ids" in by else by)) == 1
    assert told(timeline(connection, message))[-1] == "retried"
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "sent", duration_s=0)
    rows = timeline(connection, message)
    assert told(rows)[-3:] == ["retried", "attempt", "ended"]
    assert rows[-3]["details"] == "a dead letter was put back into its lane by postgres (ann)"


def test_a_retry_in_a_batch_is_told_once_with_its_number(connection: Connection) -> None:
    unlimited(connection)
    message = die(connection, 1, "timeout")
    batch = operate(connection, "start_batch", "retry", p_class="timeout")
    while connection.execute("SELECT outbox.run_batches()").fetchone() != (None,):
        pass
    [row] = [row for row in timeline(connection, message) if row["what"] == "retried"]
    assert row["details"] == f"batch {batch} (retry) was started by postgres"


@pytest.mark.parametrize(("status", "other"), [("dead", "uncertain"), ("uncertain", "dead")])
@pytest.mark.parametrize("verb", ["retry", "start_batch"])
def test_a_retry_of_dead_letters_of_the_other_status_is_not_told(
    connection: Connection, status: str, other: str, verb: str
) -> None:
    unlimited(connection)
    messages = {}
    worker = register(connection)
    for chat, outcome in enumerate(("dead", "uncertain"), 1):
        messages[outcome] = insert(connection, chat, on_uncertain="hold")
        finish(connection, worker, claim(connection, worker).lanes, outcome, error_class="timeout")
    operate(connection, verb, *(["retry"] if verb == "start_batch" else []), p_class="timeout", p_status=status)
    while connection.execute("SELECT outbox.run_batches()").fetchone() != (None,):
        pass
    operate(connection, "discard", messages[other])
    assert "retried" in told(timeline(connection, messages[status]))
    assert "retried" not in told(timeline(connection, messages[other]))


@pytest.mark.parametrize("by", [{"p_class": "blocked"}, {"p_tag": "sale"}, {"p_bot": "alerts"}, {"p_ids": "other"}])
def test_a_retry_of_other_dead_letters_is_not_told(connection: Connection, by: dict[str, Any]) -> None:
    unlimited(connection)
    unlimited(connection, "alerts")
    die(connection, 2, "blocked")
    die(connection, 2, "timeout", tag="sale")
    other = die(connection, 2, bot="alerts")
    message = die(connection, 1, "timeout")
    assert operate(connection, "retry", **({"p_ids": [other]} if "p_ids" in by else by)) == 1
    operate(connection, "discard", p_ids=[message])
    assert sorted(told(timeline(connection, message))) == ["accepted", "attempt", "ended"]


def test_a_retry_that_came_after_the_end_or_while_it_waited_is_not_told(connection: Connection) -> None:
    unlimited(connection)
    sent = insert(connection, 1)
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "sent")
    trying = insert(connection, 2)
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="timeout")
    die(connection, 3)
    assert operate(connection, "retry", p_bot="default") == 1
    for message in (sent, trying):
        assert "retried" not in told(timeline(connection, message))


def test_a_tag_that_was_stopped_after_the_end_is_not_told(connection: Connection) -> None:
    unlimited(connection)
    worker = register(connection)
    message = insert(connection, 1, tag="sale")
    finish(connection, worker, claim(connection, worker).lanes, "sent")
    cancel(connection, tag="sale")
    assert sorted(told(timeline(connection, message))) == ["accepted", "attempt", "ended"]
