"""outbox.explain: each thing that can stand in a message's way is named, and its time is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, complete, finish, insert, register, result
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender
from tests.observe.draining import Drain


class Explanation(NamedTuple):
    id: int
    status: str
    reasons: list[str]
    waits_until: datetime | None
    ahead_in_lane: int | None
    ahead_of_bot: int | None
    expected_at: datetime | None

    @property
    def text(self) -> str:
        return "; ".join(self.reasons)


def explain(connection: Connection, message_id: int) -> Explanation:
    rows = connection.execute("SELECT * FROM outbox.explain(%s)", [message_id]).fetchall()
    assert len(rows) == 1
    return Explanation(*rows[0])


def test_a_message_that_nothing_stops_goes_with_the_next_claim(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    told = explain(connection, insert(connection, 1))
    assert told.status == "queued"
    assert told.reasons == ["nothing stands in its way: it goes with the next claim"]
    assert told[3:] == (None, 0, 0, frozen.at)


def test_a_scheduled_message_waits_for_its_time(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    at = frozen.at + timedelta(hours=1)
    told = explain(connection, insert(connection, 1, next_attempt_at=at))
    assert told.text.startswith("scheduled for ")
    assert told.waits_until == told.expected_at == at


def test_a_message_that_is_being_sent_says_by_whom(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    message = insert(connection, 1)
    claim(connection, worker)
    told = explain(connection, message)
    assert told.status == "sending"
    assert f"in flight at worker {worker}" in told.text


def test_a_chat_that_was_sent_to_a_moment_ago_cools(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    told = explain(connection, insert(connection, 1))
    assert "sent to a moment ago" in told.text
    assert told.waits_until == told.expected_at == frozen.at + timedelta(seconds=1)


@pytest.mark.parametrize("retry_after_s", [0.5, 30])
def test_a_429_of_the_chat_is_told_apart_from_its_interval(
    connection: Connection, frozen: FrozenClock, retry_after_s: float
) -> None:
    add_bot(connection, chat_interval_s=0.1)
    worker = register(connection)
    message = insert(connection, 1)
    later = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "wait", retry_after_s=retry_after_s)
    for one in (message, later):
        told = explain(connection, one)
        assert "Telegram told its chat to wait (429)" in told.text
        assert told.waits_until == frozen.at + timedelta(seconds=retry_after_s)


def test_a_group_that_had_its_share_waits_for_its_window(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, group_limit=2, group_window_s=60)
    worker = register(connection)
    for _ in range(2):
        insert(connection, -100)
        finish(connection, worker, claim(connection, worker).lanes)
        frozen.advance(2)
    told = explain(connection, insert(connection, -100))
    assert "its group has had 2 messages in 60 s" in told.text
    assert told.expected_at == frozen.at + timedelta(seconds=56)


def test_a_failed_attempt_makes_its_chat_wait_and_says_why(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, chat_interval_s=0, backoff_initial_s=1000, backoff_max_s=1000)
    worker = register(connection)
    message = insert(connection, 1)
    failure = {"error_class": "server_error", "error_text": "Internal Server Error"}
    finish(connection, worker, claim(connection, worker).lanes, "retry", **failure)
    told = explain(connection, message)
    assert "after a failed attempt: Internal Server Error" in told.text
    assert told.waits_until is not None
    assert told.waits_until > frozen.at


def test_another_message_of_the_chat_goes_first(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    first, second, third = (insert(connection, 1) for _ in range(3))
    claim(connection, worker)
    told = explain(connection, third)
    assert f"message {first} of its chat is in flight" in told.text
    assert "2 messages of its chat go first" in told.text
    assert told.ahead_in_lane == 2
    assert explain(connection, second).ahead_in_lane == 1


def test_only_better_or_earlier_messages_of_the_chat_are_ahead(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    insert(connection, 1, priority=3)
    insert(connection, 1, priority=0, next_attempt_at=frozen.at + timedelta(hours=1))
    insert(connection, 1, priority=0)
    message = insert(connection, 1, priority=2)
    insert(connection, 1, priority=2)
    assert explain(connection, message).ahead_in_lane == 1


def test_a_bot_that_waits_says_why(connection: Connection, frozen: FrozenClock) -> None:
    message = insert(connection, 1)
    assert "no living worker serves bot default" in explain(connection, message).text
    assert explain(connection, message).expected_at is None
    register(connection)
    until = frozen.at + timedelta(seconds=30)
    for setting, words, expected_at in (
        ("paused_until = outbox.clock() + interval '30 s'", "is paused until", until),
        (
            "paused_until = NULL, breaker = 'open', breaker_until = outbox.clock() + interval '30 s'",
            "the breaker of bot default is open until",
            until,
        ),
        ("breaker = 'half_open', breaker_until = NULL", "lets only probes through", frozen.at),
        ("breaker = 'closed', unauthorised = true", "was refused by Telegram", None),
        ("stopped = true", "is paused by an operator: SELECT outbox.resume('default')", None),
    ):
        connection.execute(f"UPDATE outbox.bucket SET {setting}")
        told = explain(connection, message)
        assert words in told.text
        assert told.expected_at == expected_at, words


def test_a_message_that_will_never_be_sent_says_so(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    message = insert(connection, 1, expires_at=frozen.at + timedelta(seconds=10))
    connection.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES ('1', 'default')")
    connection.execute("UPDATE outbox.chat SET next_send_at = outbox.clock() + interval '20 s'")
    told = explain(connection, message)
    assert "before its turn" in told.text
    assert told.expected_at is None
    frozen.advance(11)
    assert "ends unsent when its chat is looked at" in explain(connection, message).text
    other = insert(connection, 2)
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_reason)"
        " VALUES ('2', 'default', outbox.clock() + interval '7 days', 'blocked')"
    )
    told = explain(connection, other)
    assert "(blocked): it will be discarded" in told.text
    assert told.expected_at is None


def test_a_chat_that_moved_is_named(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    connection.execute("INSERT INTO outbox.chat (chat_id, bot, moved_to) VALUES ('-1', 'default', '-1001')")
    told = explain(connection, insert(connection, -1))
    assert "its chat has become -1001" in told.text
    assert told.expected_at == frozen.at


@pytest.mark.parametrize("asked", ["outbox.cancel(%s)", "outbox.cancel(p_tag => 'news') WHERE 0 < %s"])
def test_a_message_that_was_cancelled_says_so(connection: Connection, frozen: FrozenClock, asked: str) -> None:
    message_id = insert(connection, 1, tag="news")
    connection.execute(f"SELECT {asked}", [message_id])
    told = explain(connection, message_id)
    assert told.reasons[0] == "a cancel was asked for: ends unsent when its chat is looked at"
    assert told.expected_at is None


def test_a_message_that_a_newer_one_replaces_says_so(connection: Connection, frozen: FrozenClock) -> None:
    old, new = (insert(connection, 1, collapse_key="score") for _ in range(2))
    assert f"message {new} with its collapse key is newer and takes its place" in explain(connection, old).reasons
    assert explain(connection, old).expected_at is None


def test_a_message_that_answers_another_says_what_its_target_does(connection: Connection, frozen: FrozenClock) -> None:
    sender = Sender(connection, frozen)
    target = insert(connection, 1)
    follower = insert(connection, 1, target_id=target)
    assert f"it goes after its target, message {target}" in explain(connection, follower).reasons
    sender.answer(sender.take(1), "bad request")
    told = explain(connection, follower)
    assert f"its target, message {target}, is a dead letter: it will be one too" in told.reasons
    assert told.expected_at is None


def test_how_a_message_ended_is_told(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    sent, dead = insert(connection, 1), insert(connection, 2)
    lanes = {lane.message_id: lane for lane in claim(connection, worker).lanes}
    refusal = {"error_class": "bad_request", "error_text": "message text is empty"}
    complete(connection, worker, [result(lanes[sent]), result(lanes[dead], "dead", **refusal)])
    told = explain(connection, sent)
    assert told.status == "sent"
    assert "after 1 attempt" in told.text
    told = explain(connection, dead)
    assert told.status == "dead"
    assert "bad_request: message text is empty" in told.text
    assert "an operator may retry or discard it" in told.text


def test_an_id_that_nobody_knows_says_so(connection: Connection) -> None:
    assert explain(connection, 4711).status == "unknown"
    assert "no message 4711" in explain(connection, 4711).text


def test_counts_stop_at_ten_thousand(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 10100)")
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT (10 + i)::text, '{}' FROM generate_series(1, 10100) i"
    )
    deep, alone = explain(connection, insert(connection, 1)), explain(connection, insert(connection, 2))
    assert (deep.ahead_in_lane, deep.ahead_of_bot) == (10000, 0)
    assert "10000 or more messages of its chat go first" in deep.text
    assert (alone.ahead_in_lane, alone.ahead_of_bot) == (0, 10000)
    assert "10000 or more other chats have their turn first" in alone.text


def test_the_foretold_time_is_the_real_one(connection: Connection, frozen: FrozenClock) -> None:
    """Behind a broadcast and three of its own chat; and at the end of the broadcast."""
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT (1000 + i / 2)::text, '{}' FROM generate_series(0, 399) i"
    )
    deep = [insert(connection, 42, next_attempt_at=frozen.at) for _ in range(3)][-1]
    alone = insert(connection, 43, next_attempt_at=frozen.at)
    drain = Drain(connection, frozen)
    connection.execute("SELECT outbox.measure_queue()")
    foretold = {message: explain(connection, message).expected_at for message in (deep, alone)}
    begun_at = frozen.at
    drain.run_until_sent(deep, alone)
    for message, at in foretold.items():
        assert at is not None
        real_s = (drain.slot_at[message] - begun_at).total_seconds()
        assert (at - begun_at).total_seconds() == pytest.approx(real_s, rel=0.2, abs=0.3)


def test_a_reader_may_ask_and_a_producer_may_not(login: Any, db: Database) -> None:
    login("outbox_reader").execute("SELECT * FROM outbox.explain(1)")
    producer = login("outbox_producer")
    with pytest.raises(Exception, match="permission denied"):
        producer.execute("SELECT * FROM outbox.explain(1)")
