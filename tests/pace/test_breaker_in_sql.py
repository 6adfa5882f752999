"""The breaker: opens on a share of failures, doubles its time, lets three probes through, closes when they pass."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, insert, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill


@pytest.fixture(params=[100, None], ids=["limited", "unlimited"])
def sender(connection: Connection, frozen: FrozenClock, request: pytest.FixtureRequest) -> Sender:
    """Of a bot with a limit, then of one without: no slots, but the same breaker. 300 chats wait."""
    add_bot(connection, rate=request.param)
    fill(connection, 300)
    return Sender(connection, frozen)


def state(connection: Connection) -> str:
    return str(bucket(connection, "breaker"))


def break_down(sender: Sender, failed: int = 20, passed: int = 0) -> None:
    """Answer so many, and bring it."""
    lanes = sender.take(failed + passed)
    sender.answer(lanes[:failed], "unavailable")
    sender.answer(lanes[failed:])
    sender.settle()


def half_open(connection: Connection, frozen: FrozenClock) -> None:
    """Let the time pass for which the breaker is open."""
    frozen.set(bucket(connection, "breaker_until") + timedelta(milliseconds=1))


@pytest.mark.parametrize(
    ("failed", "passed", "expected"),
    [(20, 0, "open"), (10, 10, "open"), (19, 0, "closed"), (9, 11, "closed"), (19, 20, "closed"), (20, 20, "open")],
)
def test_it_opens_at_twenty_answers_of_which_half_failed_and_not_before(
    connection: Connection, frozen: FrozenClock, sender: Sender, failed: int, passed: int, expected: str
) -> None:
    break_down(sender, failed, passed)
    assert state(connection) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("unavailable", "open"), ("timeout", "open"), ("bad request", "closed"), ("unsent", "closed")],
)
def test_what_may_or_may_not_have_been_executed_is_a_failure_and_a_refused_message_is_none(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str, expected: str
) -> None:
    sender.answer(sender.take(25), answer)
    sender.settle()
    assert state(connection) == expected


def test_what_was_given_back_unsent_is_no_answer(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    lanes = sender.take(30)
    sender.answer(lanes[:19], "unavailable")
    sender.answer(lanes[19:], "unsent")
    sender.settle()
    assert state(connection) == "closed"


def test_its_thresholds_are_the_bots_own(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, breaker_answers=5, breaker_failure_share=0.2, breaker_open_s=3)
    break_down(sender, failed=1, passed=4)
    assert state(connection) == "open"
    assert bucket(connection, "breaker_until") == frozen.at + timedelta(seconds=3)


def test_failures_brought_by_two_workers_count_together(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    other = Sender(connection, frozen)
    break_down(sender, 10)
    assert state(connection) == "closed"
    break_down(other, 10)
    assert state(connection) == "open"


@pytest.mark.parametrize(("apart_s", "expected"), [(18, "open"), (31, "closed")])
def test_only_the_failures_of_the_last_half_minute_count(
    connection: Connection, frozen: FrozenClock, sender: Sender, apart_s: float, expected: str
) -> None:
    break_down(sender, 12)
    frozen.advance(apart_s)
    break_down(sender, 12)
    assert state(connection) == expected


def test_open_it_gives_nothing_and_says_when_to_ask_again(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    frozen.advance(1)
    answer = sender.claim()
    assert answer.lanes == []
    assert answer.ask_again_s == pytest.approx(9)
    frozen.advance(8.9)
    assert sender.claim().lanes == []
    frozen.advance(0.1)
    assert sender.claim().lanes


def test_open_time_spends_no_attempt(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    break_down(sender)
    before = connection.execute("SELECT id, attempts, calls FROM outbox.message ORDER BY id").fetchall()
    for _ in range(9):
        frozen.advance(1)
        sender.claim()
    assert connection.execute("SELECT id, attempts, calls FROM outbox.message ORDER BY id").fetchall() == before
    assert connection.execute("SELECT count(*) FROM outbox.chat WHERE in_flight IS NOT NULL").fetchone() == (0,)


def test_requests_in_flight_when_it_opens_are_handled(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(25)
    sender.answer(lanes[:20], "unavailable")
    sender.settle()
    assert sender.answer(lanes[20:]) == 5
    sender.settle()
    assert {status(connection, lane.message_id) for lane in lanes[20:]} == {"sent"}
    assert state(connection) == "open", "they were under way before"


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_minute(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    waits = []
    for _ in range(6):
        waits.append((bucket(connection, "breaker_until") - frozen.at).total_seconds())
        half_open(connection, frozen)
        sender.answer(sender.take(1), "timeout")
        sender.settle()
        assert state(connection) == "open"
    assert waits == [10, 20, 40, 60, 60, 60]


def test_half_open_it_has_three_under_way_at_most_whoever_asks(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    other = Sender(connection, frozen)
    break_down(sender)
    half_open(connection, frozen)
    mine = sender.claim(2).lanes
    theirs = other.claim().lanes
    frozen.advance(0.1)
    mine += sender.claim().lanes
    theirs += other.claim().lanes
    assert (len(mine), len(theirs)) == (2, 1)

    sender.answer(mine[0])
    sender.settle()
    assert len(sender.claim().lanes) + len(other.claim().lanes) <= 1, "one place fell free"
    assert state(connection) == "half_open"


def test_three_probes_that_pass_close_it(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    break_down(sender)
    half_open(connection, frozen)
    probes = sender.take(3)
    for probe in probes:
        assert state(connection) != "closed"
        sender.answer(probe)
        sender.settle()
    assert state(connection) == "closed"
    assert bucket(connection, "breaker_until") is None
    assert len(sender.claim().lanes) > 3


def test_probes_that_pass_one_by_one_close_it_too(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    break_down(sender)
    half_open(connection, frozen)
    for _ in range(3):
        sender.answer(sender.take(1))
        sender.settle()
        frozen.advance(1)
    assert state(connection) == "closed"


def test_a_message_that_telegram_refuses_is_a_probe_that_passed(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    half_open(connection, frozen)
    sender.answer(sender.take(3), "bad request")
    sender.settle()
    assert state(connection) == "closed"


def test_two_passed_and_one_failed_open_it_again(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    break_down(sender)
    half_open(connection, frozen)
    probes = sender.take(3)
    sender.answer(probes[:2])
    sender.answer(probes[2], "unavailable")
    sender.settle()
    assert state(connection) == "open"
    assert bucket(connection, "breaker_until") == frozen.at + timedelta(seconds=20)


def test_a_probe_that_was_given_back_unsent_makes_room_for_another(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    half_open(connection, frozen)
    sender.answer(sender.take(3), "unsent")
    sender.settle()
    assert state(connection) == "half_open"
    frozen.advance(0.2)
    assert sender.claim().lanes


def test_what_failed_before_it_closed_does_not_open_it_again(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    half_open(connection, frozen)
    sender.answer(sender.take(3))
    sender.settle()
    frozen.advance(1)
    break_down(sender, failed=1, passed=2)
    assert state(connection) == "closed"


def test_closed_again_it_forgets_how_long_it_was_open(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    half_open(connection, frozen)
    sender.answer(sender.take(1), "unavailable")
    sender.settle()
    half_open(connection, frozen)
    sender.answer(sender.take(3))
    sender.settle()
    frozen.advance(60)
    break_down(sender, 30)
    assert bucket(connection, "breaker_until") == frozen.at + timedelta(seconds=10)


def test_probes_of_a_worker_that_died_make_room_after_its_lease(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    half_open(connection, frozen)
    assert len(sender.take(3)) == 3
    frozen.advance(1)
    assert Sender(connection, frozen).claim().lanes == []
    frozen.advance(25)
    other = Sender(connection, frozen)
    probes = other.take(1)
    other.answer(probes + other.take(2))
    other.settle()
    assert state(connection) == "closed"


def test_its_history_says_what_it_saw(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    break_down(sender, failed=15, passed=5)
    opened_at = frozen.at
    half_open(connection, frozen)
    sender.answer(sender.take(3))
    sender.settle()
    changes = connection.execute(
        "SELECT bot, at, breaker, reason, until, answered, failed, refused FROM outbox.breaker_change ORDER BY id"
    ).fetchall()
    assert [change[2] for change in changes] == ["open", "half_open", "closed"]
    assert changes[0] == (
        "default", opened_at, "open", "failures", opened_at + timedelta(seconds=10), 20, 15, 0,
    )  # fmt: skip


def test_one_bots_breaker_leaves_the_others_alone(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, 1, bot="other")
    break_down(sender)
    assert len(Sender(connection, frozen, "other").claim().lanes) == 1


def test_a_clock_that_steps_back_does_not_leave_it_open(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    break_down(sender)
    frozen.advance(-3600)
    connection.execute("UPDATE outbox.wakeup SET due_at = outbox.clock()")
    connection.execute("UPDATE outbox.message SET next_attempt_at = outbox.clock()")
    for _ in range(13):
        frozen.advance(10)
        if sender.claim().lanes:
            return
    raise AssertionError("two minutes of silence after an opening of 10 s")


def test_a_free_method_is_answered_for_too(connection: Connection, frozen: FrozenClock) -> None:
    """It has no slot, but what it says about the server is as true."""
    sender = Sender(connection, frozen)
    for chat_id in range(20):
        sender.tell("fail", chat_id)
    sender.settle()
    assert state(connection) == "open"


def test_a_pause_while_it_is_open_does_not_shorten_it(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(26)
    sender.answer(lanes[:20], "unavailable")
    sender.settle()
    frozen.advance(2.5)
    sender.answer(lanes[20:], "flood", retry_after_s=1)
    sender.settle()
    frozen.advance(7.4)
    assert sender.claim().lanes == []
