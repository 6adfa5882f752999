"""outbox pause and resume: whether a bot sends."""

from __future__ import annotations

import json

import pytest

from tests.invariants.calls import Connection, claim, insert, register
from tests.operate.commands.conftest import Outbox
from tests.operate.dead_letters import audited


def test_a_paused_bot_is_given_nothing_until_it_is_resumed(outbox: Outbox, connection: Connection) -> None:
    insert(connection, 1)
    connection.execute("SELECT outbox.measure_queue()")
    done = outbox("pause", "Default")
    assert done.code == 0, done.err
    assert done.out == (
        "bot default is paused: nothing more is claimed for it; 1 message waits. Go on: outbox resume default\n"
    )
    worker = register(connection)
    assert claim(connection, worker).lanes == []
    assert outbox("resume", "default").out == "bot default is resumed; 1 message waits\n"
    assert len(claim(connection, worker).lanes) == 1
    assert [what for what, _, _ in audited(connection)] == ["pause", "resume"]


def test_whether_it_changed_anything_is_told(outbox: Outbox) -> None:
    assert "was not paused" in outbox("resume", "default").out
    changes = [json.loads(outbox(*command, "--json").out) for command in (["pause", "default"],) * 2]
    assert [told["changed"] for told in changes] == [True, False]
    assert [told["holds"] for told in changes] == [["paused by an operator", "no worker"]] * 2
    assert "was paused already" in outbox("pause", "default").out


def test_what_goes_on_holding_it_after_a_resume_is_told(outbox: Outbox, connection: Connection) -> None:
    connection.execute(
        "UPDATE outbox.bucket SET stopped = true, paused_until = '2099-01-01T00:00Z', paused_reason = '429',"
        " breaker = 'open', breaker_until = '2099-01-01T00:01Z'"
    )
    done = outbox("resume", "default")
    assert done.code == 0
    assert (
        "is resumed; it still waits, and goes on by itself: breaker open until 2099-01-01 00:01:00 UTC,"
        " paused by Telegram until 2099-01-01 00:00:00 UTC (429)"
    ) in done.out
    assert "no worker serves bot default. Start one with its token: outbox up, or outbox worker." in done.err


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_bot_that_does_not_exist_is_named(outbox: Outbox, verb: str) -> None:
    done = outbox(verb, "nobody")
    assert (done.code, done.out) == (1, "")
    assert done.err == "outbox: bot 'nobody' does not exist. List them: outbox bot list\n"
