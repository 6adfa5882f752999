"""outbox explain: why a message waits, in one command."""

import json
from datetime import UTC, datetime

from tests.invariants.calls import insert, register
from tests.operate.dead_letters import die, unlimited


def test_why_a_message_waits_stands_in_one_command(connection, outbox):
    register(connection)
    ahead = [insert(connection, 42) for _ in range(3)]
    message = insert(connection, 42)
    told = outbox("explain", str(message))
    assert told.code == 0
    assert f"{len(ahead)} messages of its chat go first" in told.out
    assert "will be sent       in about 3 s" in told.out


def test_a_paused_bot_is_named_with_the_command_that_ends_it(connection, outbox):
    register(connection)
    message = insert(connection, 42)
    connection.execute("SELECT outbox.pause('default')")
    told = outbox("explain", str(message)).out
    assert "bot default is paused by an operator: outbox resume default" in told
    assert "not as things are" in told


def test_times_are_in_utc_to_the_second(connection, outbox):
    register(connection)
    message = insert(connection, 42, next_attempt_at=datetime(2099, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    assert "scheduled for 2099-01-02 03:04:05 UTC\n" in outbox("explain", str(message)).out


def test_a_message_that_ended_says_how(connection, outbox):
    unlimited(connection)
    message = die(connection, 42, "blocked", "Forbidden: bot was blocked by the user")
    told = outbox("explain", str(message)).out
    assert "ended as dead" in told
    assert "blocked: Forbidden: bot was blocked by the user" in told


def test_several_messages_with_one_correlation_id_are_each_explained(connection, outbox):
    register(connection)
    messages = {insert(connection, chat, correlation_id="order-4711") for chat in (1, 2)}
    told = outbox("explain", "order-4711", "--json")
    assert {message["id"] for message in json.loads(told.out)["messages"]} == messages
    assert len(outbox("explain", "order-4711").out.splitlines()) == 2 + len(messages)


def test_the_id_is_meant_where_a_number_is_both(connection, outbox):
    register(connection)
    first = insert(connection, 42)
    insert(connection, 43, correlation_id=str(first))
    [message] = json.loads(outbox("explain", str(first), "--json").out)["messages"]
    assert message["id"] == first


def test_json_holds_what_outbox_explain_says(connection, outbox):
    register(connection)
    message = insert(connection, 42)
    [told] = json.loads(outbox("explain", str(message), "--json").out)["messages"]
    assert told.keys() >= {"reasons", "waits_until", "ahead_in_lane", "ahead_of_bot", "expected_at", "status"}
    assert datetime.fromisoformat(told["expected_at"]).tzinfo == UTC


def test_an_unknown_message_is_one_line_and_exit_1(outbox):
    told = outbox("explain", "no-such-order")
    assert (told.code, told.out, len(told.err.splitlines())) == (1, "", 1)
