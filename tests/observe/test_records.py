"""failures, throughput, telegram_answer, limits and the breaker's history: what is on record, for SQL readers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, complete, finish, insert, register, result
from tests.invariants.frozen_clock import FrozenClock

REFUSAL = {"error_class": "bad_request", "error_text": "message text is empty", "error_code": 400}


def test_failures_are_counted_by_class_chat_tag_and_hour(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, chat_interval_s=0, backoff_max_s=0.001)
    worker = register(connection)
    insert(connection, 1, tag="news")
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="timeout", error_text="first")
    frozen.advance(1)
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="timeout", error_text="last")
    frozen.advance(1)
    finish(connection, worker, claim(connection, worker).lanes, "dead", **REFUSAL)
    insert(connection, 2)
    finish(connection, worker, claim(connection, worker).lanes, "wait", error_class="flood", retry_after_s=1)
    columns = "error_class, outcome, chat_id, tag, calls, messages, dead, last_text"
    assert connection.execute(f"SELECT {columns} FROM outbox.failures ORDER BY 1").fetchall() == [
        ("bad_request", "dead", "1", "news", 1, 1, 1, "message text is empty"),
        ("flood", "wait", "2", None, 1, 1, 0, None),
        ("timeout", "retry", "1", "news", 2, 1, 1, "last"),
    ]
    [(hour,)] = connection.execute("SELECT DISTINCT hour FROM outbox.failures").fetchall()
    assert hour <= frozen.at < hour + timedelta(hours=1)


def test_a_dead_letter_that_was_retried_is_no_longer_counted_as_dead(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    message = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "dead", **REFUSAL)
    assert connection.execute("SELECT dead FROM outbox.failures").fetchall() == [(1,)]
    connection.execute("SELECT outbox.discard_dead_letters(%s, 'discarded')", [[message]])
    assert connection.execute("SELECT calls, dead FROM outbox.failures").fetchall() == [(1, 0)]


def test_a_failure_without_a_class_goes_by_its_outcome(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "uncertain")
    assert connection.execute("SELECT error_class FROM outbox.failures").fetchall() == [("uncertain",)]


def test_throughput_counts_calls_and_messages_by_minute(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in (1, 2, 3, 4):
        insert(connection, chat_id, next_attempt_at=frozen.at)
    frozen.advance(10)
    lanes = []
    while len(lanes) < 4:
        lanes += claim(connection, worker).lanes
        frozen.advance(0.1)
    told = ["sent", "sent", "retry", "wait"]
    complete(connection, worker, [result(x, y, duration_s=0.2) for x, y in zip(lanes, told, strict=True)])
    [row] = connection.execute(
        "SELECT bot, minute, sent, failed, too_many_requests, finished, mean_call_s, mean_delay_s"
        "  FROM outbox.throughput"
    ).fetchall()
    assert row[0] == "default"
    assert row[1] <= frozen.at < row[1] + timedelta(minutes=1)
    assert row[2:6] == (2, 1, 1, 2)
    assert row[6] == pytest.approx(0.2)
    assert row[7] == pytest.approx(10, abs=1)
    frozen.advance(3660)
    assert connection.execute("SELECT count(*) FROM outbox.throughput").fetchall() == [(0,)]


def test_what_telegram_answered_is_kept_for_the_application(
    connection: Connection, frozen: FrozenClock, login: Any
) -> None:
    worker = register(connection)
    sent, bare, waiting = (insert(connection, i) for i in (1, 2, 3))
    answer = {"message_id": 77, "file_ids": ["AgAC"]}
    lanes = {lane.message_id: lane for lane in claim(connection, worker, 3).lanes}
    told = [
        result(lanes[sent], telegram_message_id=77, telegram_answer=answer),
        result(lanes[bare], telegram_message_id=78),
    ]
    complete(connection, worker, told)
    producer = login("outbox_producer")
    for message_id, expected in ((sent, answer), (bare, {"message_id": 78}), (waiting, None), (4711, None)):
        assert producer.execute("SELECT outbox.telegram_answer(%s)", [message_id]).fetchall() == [(expected,)]


def test_limits_tell_what_floods_and_the_breaker_did(connection: Connection) -> None:
    connection.execute(
        "UPDATE outbox.bucket SET active_tokens = 21, ceiling = 30, breaker = 'half_open', breaker_reason = 'failures',"
        " probes = 2, probes_passed = 1"
    )
    names = "tokens, tokens_active, ceiling, breaker, breaker_reason, probes, breaker_probes, probes_passed"
    assert connection.execute(f"SELECT {names} FROM outbox.limits").fetchall() == [
        (21, 21, 30, "half_open", "failures", 2, 3, 1)
    ]


def test_a_reader_sees_failures_throughput_limits_and_the_breakers_history(login: Any, db: Database) -> None:
    reader = login("outbox_reader")
    for relation in ("failures", "throughput", "limits", "breaker_change", "pressure", "due", "history"):
        reader.execute(f"SELECT * FROM outbox.{relation}")


def test_a_suppressed_chats_messages_are_not_due(connection: Connection, frozen: FrozenClock) -> None:
    insert(connection, 1)
    kept = insert(connection, 2)
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until)"
        " VALUES ('1', 'default', outbox.clock() + interval '1 d')"
    )
    assert connection.execute("SELECT id FROM outbox.due").fetchall() == [(kept,)]
    frozen.advance(86401)
    assert len(connection.execute("SELECT id FROM outbox.due").fetchall()) == 2
