"""AIMD: a bot-wide flood takes three tenths of the tokens, quiet gives them back one by one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.invariants.calls import Connection, Lane, add_bot
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill

RATE = 30


def flood(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    """Three chats are refused for a second, and nothing else is answered; then that second passes."""
    sender.answer(sender.take(3), "flood", retry_after_s=1)
    sender.settle()
    frozen.advance(1)


def recover(sender: Sender) -> None:
    """Let the probes pass that a flood asks for."""
    sender.answer(sender.take(3))
    sender.settle()


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    fill(connection, 2000)
    return Sender(connection, frozen)


def test_a_flood_leaves_seven_tenths_of_the_tokens(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    flood(connection, frozen, sender)
    assert bucket(connection, "active_tokens") == 21


def test_two_chats_429s_leave_all_of_them(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    sender.answer(sender.take(2), "flood", retry_after_s=1)
    sender.settle()
    assert bucket(connection, "active_tokens") == RATE


def test_two_floods_within_ten_seconds_lower_once(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    flood(connection, frozen, sender)
    frozen.advance(2.5)
    flood(connection, frozen, sender)
    assert bucket(connection, "active_tokens") == 21


def test_a_flood_ten_seconds_later_lowers_again(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    flood(connection, frozen, sender)
    frozen.advance(10)
    flood(connection, frozen, sender)
    # Two may have come back in between.
    assert 14 <= bucket(connection, "active_tokens") <= 16


def test_ever_so_many_floods_leave_a_third(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    seen = []
    for _ in range(12):
        flood(connection, frozen, sender)
        seen.append(bucket(connection, "active_tokens"))
        frozen.advance(10)
    assert min(seen) == RATE // 3


def test_one_token_comes_back_every_five_seconds(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    flood(connection, frozen, sender)
    recover(sender)
    sender.deliver(3)
    assert bucket(connection, "active_tokens") == 21
    sender.deliver(3)
    assert bucket(connection, "active_tokens") == 22
    sender.deliver(5)
    assert bucket(connection, "active_tokens") == 23


def test_a_bot_that_rested_gets_its_tokens_back_one_by_one_too(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Nothing was sent meanwhile: so nothing says that the limit has risen by more than the time allows."""
    flood(connection, frozen, sender)
    recover(sender)
    frozen.advance(20)
    sender.deliver(0.5)
    assert 21 <= bucket(connection, "active_tokens") <= 25


def test_all_tokens_are_back_in_the_end_and_never_more(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    flood(connection, frozen, sender)
    recover(sender)
    frozen.advance(3600)  # the level that flooded is forgotten by then
    most = 0
    for _ in range(20):
        frozen.advance(4.9)
        sender.deliver(0.1)
        most = max(most, bucket(connection, "active_tokens"))
    assert most == RATE


def test_no_window_holds_more_slots_than_tokens_are_active(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    flood(connection, frozen, sender)
    recover(sender)
    frozen.advance(1.1)  # nobody of before is in the windows looked at, and no token has come back yet
    slots = [lane.slot_at for lane in sender.deliver(2, step_s=0.05)]
    assert most_in_a_second(slots) <= 21
    assert len(slots) >= 30, "they are used"


def test_a_bot_of_one_token_keeps_it(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=1)
    sender = Sender(connection, frozen)
    for chat_id in (1, 2, 3):
        sender.tell("flood", chat_id=chat_id, retry_after_s=1)
    sender.settle()
    assert bucket(connection, "active_tokens") == 1


@pytest.mark.parametrize("rate", [200, None])
def test_a_bot_without_a_ring_goes_on_after_floods_too(
    connection: Connection, frozen: FrozenClock, sender: Sender, rate: int | None
) -> None:
    add_bot(connection, rate=rate)
    for _ in range(3):
        flood(connection, frozen, sender)
        recover(sender)
        frozen.advance(11)
    assert len(sender.take(30)) == 30


def test_a_changed_rate_begins_with_all_its_tokens(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    flood(connection, frozen, sender)
    add_bot(connection, rate=40)
    recover(sender)
    assert bucket(connection, "active_tokens") == 40


# Floods that are fewer than half (docs/decisions/0007): a limit that is lower than we think.


def exceed(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    """Use the whole limit for 2 s; the last three chats of the second second are refused."""
    lanes: list[Lane] = []
    for _ in range(40):
        given = sender.claim().lanes
        refused = given if len(lanes) >= 2 * RATE - 7 else []
        refused = refused[: max(0, 2 * RATE - 4 - len(lanes))]
        sender.answer([lane for lane in given if lane not in refused])
        sender.answer(refused, "flood", retry_after_s=1)
        lanes += given
        frozen.advance(0.05)
    sender.settle()


def test_a_few_429s_at_the_limit_lower_to_what_was_accepted_and_pause_nobody(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    exceed(connection, frozen, sender)
    assert 21 <= bucket(connection, "active_tokens") < RATE
    assert bucket(connection, "paused_until") is None
    assert bucket(connection, "breaker") == "closed"


def test_the_level_that_flooded_is_tried_again_after_a_minute_and_then_later(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    fill(connection, 3000, first=3000)
    exceed(connection, frozen, sender)
    assert bucket(connection, "ceiling") == RATE
    probe_s = bucket(connection, "probe_s")
    lowered_at = frozen.at
    for _ in range(60):
        sender.deliver(2)
        if bucket(connection, "active_tokens") == RATE:
            break
    assert 55 <= (frozen.at - lowered_at).total_seconds() < 110

    sender.answer(sender.take(1), "flood", retry_after_s=1)
    sender.settle()
    assert bucket(connection, "active_tokens") == RATE - 1, "one 429 just after a step takes the step back"
    assert bucket(connection, "probe_s") == 2 * probe_s


def most_in_a_second(slots: list[datetime]) -> int:
    return max(sum(start <= slot < start + timedelta(seconds=1) for slot in slots) for start in slots)
