"""A bot token that Telegram refuses: the bot's rows wait, and go when a working one is configured."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    fill(connection, 10)
    return Sender(connection, frozen)


def authorise(connection: Connection, bot: str = "default", telegram_id: int = 1) -> bool:
    row = connection.execute("SELECT outbox.authorise(%s, %s)", [bot, telegram_id]).fetchone()
    assert row is not None
    return bool(row[0])


def test_a_refused_bot_token_stops_the_bot_and_keeps_its_rows(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    [lane] = sender.take(1)
    sender.answer(lane, "unauthorised")
    answer = sender.claim()
    assert (answer.lanes, answer.ask_again_s) == ([], None)
    assert bucket(connection, "unauthorised") is True
    assert status(connection, lane.message_id) == "queued"
    assert connection.execute("SELECT count(*), max(attempts) FROM outbox.message").fetchone() == (10, 0)
    frozen.advance(86_400)
    assert sender.claim().lanes == []
    assert broken(connection) == []


def test_a_working_bot_token_lets_all_of_them_go(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(3), "unauthorised")
    sender.settle()
    assert authorise(connection)
    assert bucket(connection, "unauthorised") is False
    assert len(sender.deliver(40)) == 10


def test_a_refused_bot_token_of_a_bot_without_limit_stops_it_too(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    add_bot(connection, rate=None)
    sender.answer(sender.take(1), "unauthorised")
    assert sender.claim().lanes == []


def test_it_stops_its_own_bot_only(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, 1, bot="other")
    sender.answer(sender.take(1), "unauthorised")
    sender.settle()
    assert len(Sender(connection, frozen, "other").claim().lanes) == 1


def test_a_working_bot_token_ends_neither_an_operators_stop_nor_a_pause(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    until = frozen.at + timedelta(minutes=5)
    connection.execute("UPDATE outbox.bucket SET stopped = true, unauthorised = true, paused_until = %s", [until])
    authorise(connection)
    assert (bucket(connection, "stopped"), bucket(connection, "paused_until")) == (True, until)


def test_many_refused_bot_tokens_are_no_failures_of_the_server(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    for chat_id in range(30):
        sender.tell("unauthorised", chat_id)
    sender.settle()
    assert bucket(connection, "breaker") == "closed"
    assert bucket(connection, "unauthorised") is True


def test_a_worker_may_authorise(connection: Connection) -> None:
    row = connection.execute(
        "SELECT has_function_privilege('outbox_worker', 'outbox.authorise(text, bigint)', 'EXECUTE'),"
        " has_function_privilege('outbox_producer', 'outbox.authorise(text, bigint)', 'EXECUTE')"
    ).fetchone()
    assert row == (True, False)
