"""An operator's stop, and what resume clears and leaves (I9)."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.operate.dead_letters import audited, operate


def test_a_paused_bot_is_given_nothing_until_it_is_resumed(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, "alerts")
    ours, theirs = insert(connection, 1), insert(connection, 1, bot="alerts")
    worker = register(connection, "default", "alerts")
    assert operate(connection, "pause", "default") is True
    found = claim(connection, worker, bots=["default", "alerts"])
    assert found.message_ids == [theirs]
    frozen.advance(3600)
    assert claim(connection, worker).lanes == []
    assert claim(connection, worker).ask_again_s is None
    assert broken(connection) == []
    assert operate(connection, "resume", "default") is True
    assert claim(connection, worker).message_ids == [ours]


def test_what_was_claimed_before_a_pause_still_ends(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    lanes = claim(connection, worker).lanes
    operate(connection, "pause", "default")
    assert finish(connection, worker, lanes) == 1
    assert status(connection, message_id) == "sent"


def test_resume_ends_the_stop_and_unauthorised_and_no_other_pause(connection: Connection, frozen: FrozenClock) -> None:
    connection.execute(
        "UPDATE outbox.bucket SET stopped = true, unauthorised = true, paused_until = outbox.clock() + interval '1 h',"
        " paused_reason = 'flood', breaker = 'open', breaker_until = outbox.clock() + interval '1 h'"
    )
    kept = "SELECT paused_until, paused_reason, breaker, breaker_until FROM outbox.bucket"
    before = connection.execute(kept).fetchall()
    assert operate(connection, "resume", "default") is True
    assert connection.execute("SELECT stopped, unauthorised FROM outbox.bucket").fetchall() == [(False, False)]
    assert connection.execute(kept).fetchall() == before


def test_a_pause_leaves_unauthorised_as_it_is(connection: Connection) -> None:
    connection.execute("UPDATE outbox.bucket SET unauthorised = true")
    operate(connection, "pause", "default")
    assert connection.execute("SELECT stopped, unauthorised FROM outbox.bucket").fetchall() == [(True, True)]


def test_both_say_whether_they_changed_anything_and_are_on_record(connection: Connection) -> None:
    said = [operate(connection, verb, "default") for verb in ("resume", "pause", "pause", "resume")]
    assert said == [False, True, False, True]
    assert audited(connection) == [
        (verb, {"bot": "default"}, changed)
        for verb, changed in (("resume", 0), ("pause", 1), ("pause", 0), ("resume", 1))
    ]


def test_resume_rings_for_the_workers_that_wait_for_nothing(db: Any, connection: Connection) -> None:
    operate(connection, "pause", "default")
    with db.connect() as listener:
        listener.execute("LISTEN outbox_wakeup")
        operate(connection, "resume", "default")
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == ["default"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize("bot", ["nobody", None])
def test_an_unknown_bot_is_one_clear_line(connection: Connection, verb: str, bot: str | None) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match=f'bot "{bot or "NULL"}" does not exist'):
        operate(connection, verb, bot)
    assert audited(connection) == []
