"""One message per chat and interval, twenty per group and minute; both count from the response (I6)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.invariants.calls import Connection, Lane, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock

GROUP_LIMIT, GROUP_WINDOW_S = 20, 60


def test_a_chats_interval_counts_from_the_response_and_not_from_its_report(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    insert(connection, 1)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    frozen.advance(3)  # the request took that long
    answered_at = frozen.at
    frozen.advance(0.3)  # until it was reported
    finish(connection, worker, lanes, age_s=0.3)
    assert claim_at(connection, frozen, worker, answered_at + timedelta(seconds=0.999)) == []
    assert len(claim_at(connection, frozen, worker, answered_at + timedelta(seconds=1))) == 1


@pytest.mark.parametrize("outcome", ["retry", "uncertain", "dead"])
def test_a_call_that_failed_counts_in_the_interval_too(
    connection: Connection, frozen: FrozenClock, outcome: str
) -> None:
    add_bot(connection, backoff_max_s=0.001)
    worker = register(connection)
    insert(connection, 1)
    insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, outcome)
    answered_at = frozen.at
    assert claim_at(connection, frozen, worker, answered_at + timedelta(seconds=0.999)) == []
    assert len(claim_at(connection, frozen, worker, answered_at + timedelta(seconds=1))) == 1


def test_the_interval_is_the_bots_own(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, chat_interval_s=0)
    worker = register(connection)
    for _ in range(2):
        insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    assert len(claim(connection, worker).lanes) == 1


@pytest.mark.parametrize("chat_id", ["-1001", "@channel"])
def test_a_group_gets_at_most_twenty_in_a_minute(connection: Connection, frozen: FrozenClock, chat_id: str) -> None:
    slots, answers = send_for(connection, frozen, chat_id, messages=50, seconds=150)
    assert len(slots) == 50
    # Each may have arrived anywhere between its slot and its answer: from one answer to the 20th slot after it.
    for i in range(len(slots) - GROUP_LIMIT):
        assert slots[i + GROUP_LIMIT] - answers[i] >= timedelta(seconds=GROUP_WINDOW_S)
    assert answers[GROUP_LIMIT - 1] - slots[0] < timedelta(seconds=30), "the first twenty need not wait"


def test_a_person_is_no_group(connection: Connection, frozen: FrozenClock) -> None:
    slots, _ = send_for(connection, frozen, "1001", messages=40, seconds=60)
    assert len(slots) == 40


def test_a_group_without_a_limit_is_a_chat_like_any_other(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, group_limit=None)
    slots, _ = send_for(connection, frozen, "-1001", messages=40, seconds=60)
    assert len(slots) == 40


def send_for(
    connection: Connection, frozen: FrozenClock, chat_id: str, messages: int, seconds: int
) -> tuple[list[datetime], list[datetime]]:
    """Send as fast as the chat may; return the slots and the times of the answers."""
    worker = register(connection)
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT %s, '{}' FROM generate_series(1, %s)", [chat_id, messages]
    )
    slots: list[datetime] = []
    answers: list[datetime] = []
    end = frozen.at + timedelta(seconds=seconds)
    while frozen.at < end and len(slots) < messages:
        answer = claim(connection, worker)
        for lane in answer.lanes:
            slots.append(lane.slot_at)
            answers.append(frozen.set(lane.slot_at + timedelta(seconds=0.04)))
            finish(connection, worker, [lane])
        frozen.advance(max(answer.ask_again_s or 0, 0.02))
    return slots, answers


def claim_at(connection: Connection, frozen: FrozenClock, worker: int, at: datetime) -> list[Lane]:
    frozen.set(at)
    return claim(connection, worker).lanes
