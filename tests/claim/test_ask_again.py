"""When claim says to ask again: soon enough to send in time, seldom enough to leave an idle database alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session


def test_an_empty_outbox_knows_nothing_to_wait_for(connection: Connection, frozen: FrozenClock) -> None:
    assert claim(connection, register(connection)).ask_again_s is None


def test_the_last_waiting_message_leaves_nothing_to_wait_for(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    answer = claim(connection, worker)
    assert len(answer.lanes) == 1
    # The wakeup is gone; asking once more at once may find what was committed meanwhile, asking for ever may not.
    assert answer.ask_again_s is None or claim(connection, worker).ask_again_s is None


def test_a_scheduled_message_is_asked_for_at_its_time(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1, next_attempt_at=frozen.at + timedelta(seconds=42))
    assert claim(connection, worker).ask_again_s == pytest.approx(42)


def test_a_cooling_chat_is_asked_for_when_it_may_send(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    assert claim(connection, worker).ask_again_s == pytest.approx(1)


def test_more_is_asked_for_at_once_where_the_call_was_the_bound(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in (1, 2):
        insert(connection, chat_id)
    assert claim(connection, worker, n=1).ask_again_s == pytest.approx(0, abs=0.002)


def test_more_is_asked_for_within_the_horizon_where_slots_are_the_bound(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    for chat_id in range(1, 30):
        insert(connection, chat_id)
    answer = claim(connection, worker)
    assert 0 < len(answer.lanes) < 29
    assert answer.ask_again_s is not None
    assert 0.004 * 0.85 <= answer.ask_again_s <= 0.1


def test_a_bucket_that_another_holds_is_asked_for_in_milliseconds(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker = register(connection)
    insert(connection, 1)
    holder = open_session()
    holder.begin().execute("SELECT FROM outbox.bucket WHERE bot = 'default' FOR UPDATE")
    answer = claim(connection, worker, settlements=[{"bot": "default", "slot": 1, "age_s": 1, "result": "ok"}])
    assert (answer.lanes, answer.settled) == ([], [])
    assert answer.ask_again_s is not None
    assert answer.ask_again_s <= 0.01


def test_a_paused_bot_is_asked_for_when_its_pause_ends(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    connection.execute("UPDATE outbox.bucket SET paused_until = %s", [frozen.at + timedelta(seconds=30)])
    assert claim(connection, worker).ask_again_s == pytest.approx(30)


@pytest.mark.parametrize("column", ["stopped", "unauthorised"])
def test_a_bot_that_only_a_person_can_start_is_not_asked_for(
    connection: Connection, frozen: FrozenClock, column: str
) -> None:
    worker = register(connection)
    insert(connection, 1)
    connection.execute(f"UPDATE outbox.bucket SET {column} = true")
    answer = claim(connection, worker)
    assert (answer.lanes, answer.ask_again_s) == ([], None)


def test_the_soonest_of_several_bots_counts(connection: Connection, frozen: FrozenClock) -> None:
    bots = [add_bot(connection, bot) for bot in ("a", "b", "c")]
    worker = register(connection, *bots)
    for bot, delay_s in zip(bots, (50, 7, 30), strict=True):
        insert(connection, 1, bot=bot, next_attempt_at=frozen.at + timedelta(seconds=delay_s))
    assert claim(connection, worker, bots=bots).ask_again_s == pytest.approx(7)
