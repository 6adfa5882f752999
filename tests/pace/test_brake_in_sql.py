"""The brake: refusals of many chats at once are more likely Telegram's fault than theirs, so nobody pays for them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, claim, insert, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender, bucket, fill


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    add_bot(connection, rate=100)
    fill(connection, 50)
    return Sender(connection, frozen)


def count(connection: Connection, query: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM outbox.{query}").fetchone()
    assert row is not None
    return int(row[0])


def refuse_many(sender: Sender, refused: int = 12, passed: int = 0, answer: str = "no_rights") -> None:
    lanes = sender.take(refused + passed)
    sender.answer(lanes[:refused], answer)
    sender.answer(lanes[refused:])
    sender.settle()


@pytest.mark.parametrize("answer", ["no_rights", "chat_not_found"])
def test_ten_chats_refused_and_half_of_all_answers_open_the_breaker(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    refuse_many(sender, refused=10, passed=10, answer=answer)
    assert bucket(connection, "breaker") == "open"
    assert bucket(connection, "breaker_reason") == "refusals"
    assert sender.claim().lanes == []
    assert bucket(connection, "breaker_until") == frozen.at + timedelta(seconds=10)


@pytest.mark.parametrize(("refused", "passed"), [(9, 0), (10, 11)])
def test_fewer_chats_or_fewer_than_half_do_not(
    connection: Connection, frozen: FrozenClock, sender: Sender, refused: int, passed: int
) -> None:
    refuse_many(sender, refused, passed)
    assert bucket(connection, "breaker") == "closed"


def test_one_chat_refused_ten_times_is_one_chat(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    for _ in range(12):
        sender.tell("refused", chat_id=7)
    sender.settle()
    assert bucket(connection, "breaker") == "closed"


def test_ten_chats_refused_over_minutes_do_not(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    """A bot that sends little, to chats that are gone: each is its own, though nothing else is answered meanwhile."""
    for chat_id in range(1, 16):
        sender.tell("refused", chat_id)
        sender.settle()
        frozen.advance(20)
    assert bucket(connection, "breaker") == "closed"


@pytest.mark.parametrize("answer", ["blocked", "deactivated", "kicked"])
def test_chats_that_blocked_the_bot_never_brake(
    connection: Connection, frozen: FrozenClock, sender: Sender, answer: str
) -> None:
    refuse_many(sender, refused=30, answer=answer)
    assert bucket(connection, "breaker") == "closed"
    assert count(connection, "dead_letter") == 30


def test_messages_that_are_refused_for_themselves_never_brake(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    refuse_many(sender, refused=30, answer="bad request")
    assert bucket(connection, "breaker") == "closed"


def test_while_it_brakes_a_refusal_costs_neither_message_nor_chat(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(15)
    sender.answer(lanes[:12], "no_rights")
    sender.settle()
    sender.answer(lanes[12:], "no_rights")
    late = [lane.message_id for lane in lanes[12:]]
    assert [status(connection, message_id) for message_id in late] == ["queued"] * 3
    spent = connection.execute("SELECT attempts FROM outbox.message WHERE id = ANY (%s)", [late]).fetchall()
    assert spent == [(0,)] * 3
    chats = connection.execute(
        "SELECT suppression_evidence, suppressed_until FROM outbox.chat WHERE chat_id = ANY (%s)",
        [[lane.chat_id for lane in lanes[12:]]],
    ).fetchall()
    assert chats == [(0, None)] * 3
    calls = connection.execute("SELECT outcome FROM outbox.attempt WHERE message_id = ANY (%s)", [late]).fetchall()
    assert calls == [("dead",)] * 3, "what Telegram said is on record"
    assert broken(connection) == []


def probe(connection: Connection, sender: Sender, *answers: str) -> None:
    """Answer the probes to new chats one by one, in critical messages that go first."""
    for number, answer in enumerate(answers, start=bucket(connection, "last_slot") + 1000):
        insert(connection, number, priority=0)
        [lane] = sender.take(1)
        assert lane.chat_id == str(number)
        sender.answer(lane, answer)
        sender.settle()


def test_three_refused_probes_open_it_for_longer(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    refuse_many(sender)
    frozen.set(bucket(connection, "breaker_until") + timedelta(milliseconds=1))
    probe(connection, sender, "no_rights", "no_rights")
    assert bucket(connection, "breaker") == "half_open"
    probe(connection, sender, "no_rights")
    assert (bucket(connection, "breaker"), bucket(connection, "breaker_reason")) == ("open", "refusals")
    assert bucket(connection, "breaker_until") == frozen.at + timedelta(seconds=20)


def test_three_probes_that_passed_close_it_though_two_were_refused(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    refuse_many(sender)
    frozen.set(bucket(connection, "breaker_until") + timedelta(milliseconds=1))
    probe(connection, sender, "no_rights", "sent", "no_rights", "sent", "sent")
    assert bucket(connection, "breaker") == "closed"


def test_a_chat_that_was_refused_before_is_no_evidence_that_the_incident_goes_on(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    refuse_many(sender)
    frozen.set(bucket(connection, "breaker_until") + timedelta(milliseconds=1))
    for _ in range(5):
        sender.tell("refused", chat_id=1, slot=10**6)
        sender.settle()
    assert bucket(connection, "breaker") == "half_open"


def test_a_probe_to_a_chat_that_blocked_the_bot_has_passed(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    refuse_many(sender)
    frozen.set(bucket(connection, "breaker_until") + timedelta(milliseconds=1))
    sender.answer(sender.take(3), "blocked")
    sender.settle()
    assert bucket(connection, "breaker") == "closed"


@pytest.mark.parametrize("max_attempts", [None, 1])
@pytest.mark.parametrize("incident_s", [5, 130])
def test_a_burst_of_refusals_over_fifty_chats_kills_and_suppresses_nobody_and_all_are_sent_once_it_is_over(
    connection: Connection, frozen: FrozenClock, incident_s: float, max_attempts: int | None
) -> None:
    fill(connection, 50, max_attempts=max_attempts)
    sender = Sender(connection, frozen)
    over_at = frozen.at + timedelta(seconds=incident_s)
    for _ in range(3000):
        lanes = sender.claim().lanes
        sender.answer(lanes, "no_rights" if frozen.at < over_at else "sent")
        frozen.advance(0.1)
        if not count(connection, "message"):
            break
    if max_attempts is None:
        assert count(connection, "dead_letter") == 0
        assert count(connection, "finished WHERE status = 'sent'") == 50
    else:
        # With one attempt only, what was refused before it braked is dead; nobody is suppressed for it.
        assert count(connection, "dead_letter") <= 25
    assert count(connection, "chat WHERE suppressed_until IS NOT NULL") == 0
    assert count(connection, "chat WHERE suppression_evidence > 1") == 0
    assert broken(connection) == []


def test_ever_so_many_refusals_while_it_brakes_spend_no_attempt(connection: Connection, frozen: FrozenClock) -> None:
    fill(connection, 20)
    sender = Sender(connection, frozen)
    for _ in range(6000):
        sender.answer(sender.claim().lanes, "no_rights")
        frozen.advance(0.2)
    assert count(connection, "attempt") >= 40, "it probes"
    row = connection.execute("SELECT max(attempts), count(*) FROM outbox.message").fetchone()
    assert row == (1, 20), "the one before it braked"


def test_the_brake_is_on_record(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    refuse_many(sender, refused=12, passed=3)
    changes = connection.execute("SELECT breaker, reason, answered, refused FROM outbox.breaker_change").fetchall()
    assert changes == [("open", "refusals", 15, 12)]


def test_a_breaker_that_opened_on_failures_excuses_no_refusal(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    lanes = sender.take(21)
    sender.answer(lanes[:20], "unavailable")
    sender.settle()
    sender.answer(lanes[20], "no_rights")
    row = connection.execute(
        "SELECT suppression_evidence FROM outbox.chat WHERE chat_id = %s", [lanes[20].chat_id]
    ).fetchone()
    assert row == (1,)


def test_one_bots_brake_excuses_no_other_bot(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, 1, bot="other")
    refuse_many(sender)
    other = Sender(connection, frozen, "other")
    other.answer(other.take(1), "no_rights")
    assert connection.execute("SELECT suppression_evidence FROM outbox.chat WHERE bot = 'other'").fetchall() == [(1,)]
    assert claim(connection, other.worker, bots=["other"]).lanes == []
