"""An operator's stop and a pause by 429 are different things (I9)."""

from __future__ import annotations

from datetime import timedelta

from tests.invariants.calls import Connection, add_bot, insert
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill


def stop(connection: Connection, stopped: bool, bot: str = "default") -> None:
    connection.execute("SELECT outbox.stop_bucket(%s, %s)", [bot, stopped])


def test_a_stopped_bot_gives_nothing_until_it_is_started(connection: Connection, frozen: FrozenClock) -> None:
    sender = Sender(connection, frozen)
    insert(connection, 1)
    stop(connection, True)
    frozen.advance(3600)
    answer = sender.claim()
    assert (answer.lanes, answer.ask_again_s) == ([], None)
    stop(connection, False)
    assert len(sender.claim().lanes) == 1


def test_a_start_does_not_end_a_pause_by_429(connection: Connection, frozen: FrozenClock) -> None:
    fill(connection, 9)
    sender = Sender(connection, frozen)
    sender.answer(sender.take(3), "flood", retry_after_s=60)
    sender.settle()
    until = bucket(connection, "paused_until")
    assert until == frozen.at + timedelta(seconds=60)
    stop(connection, True)
    stop(connection, False)
    assert bucket(connection, "paused_until") == until
    assert sender.claim().lanes == []


def test_a_start_lets_a_refused_bot_token_be_tried_and_does_not_close_the_breaker(
    connection: Connection, frozen: FrozenClock
) -> None:
    connection.execute(
        "UPDATE outbox.bucket SET unauthorised = true, breaker = 'open', breaker_until = %s",
        [frozen.at + timedelta(seconds=60)],
    )
    stop(connection, True)
    stop(connection, False)
    assert (bucket(connection, "unauthorised"), bucket(connection, "breaker")) == (False, "open")


def test_answers_of_a_stopped_bot_are_still_taken_in(connection: Connection, frozen: FrozenClock) -> None:
    fill(connection, 9)
    sender = Sender(connection, frozen)
    lanes = sender.take(3)
    stop(connection, True)
    sender.answer(lanes, "flood", retry_after_s=60)
    sender.settle()
    assert bucket(connection, "paused_until") is not None


def test_a_stop_is_the_bots_own(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, "other")
    insert(connection, 1, bot="other")
    stop(connection, True)
    assert len(Sender(connection, frozen, "other").claim().lanes) == 1
