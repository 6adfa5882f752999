"""Slots for replies that a bot sends itself: who may ask, the ring they share with the queue (I6), tickets."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.calls import (
    Connection,
    Lane,
    add_bot,
    claim,
    complete,
    finish,
    insert,
    register,
    result,
)
from tests.invariants.calls import settlement as queue_settlement
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.pacing import Use, most_in_a_window
from tests.pace.replies import acquire, answered_at_once, given, settle

AHEAD = timedelta(seconds=2)
ARRIVAL_BOUND = timedelta(seconds=1)


# Who may call it, and how


def test_a_free_bot_gives_a_slot_at_once(connection: Connection, frozen: FrozenClock) -> None:
    answer = acquire(connection, 42)
    assert (answer.slot_at, answer.delay_s) == (frozen.at, 0)


@pytest.mark.parametrize("call", ["CALL outbox.acquire('default', '42')", "CALL outbox.settle(1)"])
def test_inside_an_open_transaction_it_fails_at_once_and_says_why(db: Database, call: str) -> None:
    with (
        db.connect(autocommit=False) as opened,
        pytest.raises(psycopg.errors.InvalidTransactionTermination, match="commits by itself and cannot run") as caught,
    ):
        opened.execute(call)
    assert caught.value.diag.message_hint is not None
    assert "autocommit" in caught.value.diag.message_hint


def test_inside_a_function_it_fails_too(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION pg_temp.reply() RETURNS void LANGUAGE plpgsql AS 'BEGIN CALL outbox.settle(1); END'"
    )
    with pytest.raises(psycopg.errors.InvalidTransactionTermination, match=r"outbox\.settle commits by itself"):
        connection.execute("SELECT pg_temp.reply()")


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("CALL outbox.acquire('nobody', '42')", 'bot "nobody" does not exist'),
        ("CALL outbox.acquire('default', 'Anna')", 'chat_id "Anna" is neither a number nor a @name'),
        ("CALL outbox.acquire('default', NULL)", 'chat_id "NULL" is neither'),
        ("CALL outbox.acquire('default', '42', 0)", "a cost of 0 is not one of 1 to 100"),
        ("CALL outbox.settle(1, 0, 'sent')", 'result "sent" does not exist'),
        ("CALL outbox.settle(1, -1)", "an age of -1 s is none"),
        ("CALL outbox.settle(1, 0, 'flood', -5)", "a retry_after of -5 s is none"),
    ],
)
def test_bad_input_is_told_what_to_change(connection: Connection, call: str, fault: str) -> None:
    with pytest.raises(psycopg.Error, match=fault) as caught:
        connection.execute(call)
    assert caught.value.diag.message_hint
    assert connection.execute("SELECT count(*) FROM outbox.chat").fetchall() == [(0,)]


# The ring


def test_a_burst_of_replies_is_told_its_slots_up_to_two_seconds_ahead(
    connection: Connection, frozen: FrozenClock
) -> None:
    answers = [acquire(connection, chat_id) for chat_id in range(1, 101)]
    slots = [answer.slot_at for answer in answers if answer.slot_at is not None]
    assert slots == sorted(slots)
    assert slots[-1] <= frozen.at + AHEAD
    assert most_in_a_window([Use(i, at, at) for i, at in enumerate(slots)], 1, 0) <= 30
    late = [answer for answer in answers if answer.ticket is None]
    assert late
    assert all(0 < answer.delay_s < 1 for answer in late), "a token that nobody settles is back in two seconds"


def test_replies_and_the_queue_take_turns_in_one_ring(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    for chat_id in range(1000, 1200):
        insert(connection, chat_id)
    uses: list[Use] = []
    lanes: list[Lane] = []
    tickets: dict[int, datetime] = {}
    for turn in range(80):
        for ticket, slot_at in list(tickets.items()):
            if slot_at <= frozen.at:
                settle(connection, ticket, age_s=(frozen.at - slot_at).total_seconds())
                del tickets[ticket]
        done = [lane for lane in lanes if lane.slot_at <= frozen.at]
        taken = claim(connection, worker, settlements=[answered_at_once(lane, frozen) for lane in done]).lanes
        finish(connection, worker, done)
        lanes = [lane for lane in lanes if lane not in done] + taken
        uses += [Use(lane.slot, lane.slot_at, lane.slot_at) for lane in taken]
        for reply in range(2):
            answer = acquire(connection, 1 + turn * 2 + reply)
            if answer.ticket is not None and answer.slot_at is not None:
                uses.append(Use(-answer.ticket, answer.slot_at, answer.slot_at))
                tickets[answer.ticket] = answer.slot_at
        frozen.advance(0.1)
    assert most_in_a_window(uses, 1, 0) <= 30
    replies = sum(use.slot < 0 for use in uses)
    assert replies > 60
    assert len(uses) - replies > 60


def test_a_settled_reply_frees_its_token_one_window_after_the_answer(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, rate=1)
    ticket, slot_at = given(connection, 1)
    frozen.advance(0.3)
    settle(connection, ticket, age_s=0.1)
    assert given(connection, 2)[1] == slot_at + timedelta(seconds=0.2 + 1 + 0.0005)


def test_a_reply_that_nobody_settles_frees_its_token_one_window_and_the_arrival_bound_after_its_slot(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, rate=1)
    _, slot_at = given(connection, 1)
    frozen.advance(0.5)
    assert given(connection, 2)[1] == slot_at + timedelta(seconds=1) + ARRIVAL_BOUND


def test_an_unsent_reply_gives_token_and_turn_back(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=1)
    ticket, _ = given(connection, -1)
    frozen.advance(0.96)
    settle(connection, ticket, result="unsent")
    settle(connection, ticket, result="unsent")
    assert given(connection, -1)[1] == frozen.at
    assert connection.execute("SELECT cardinality(group_sent_at) FROM outbox.chat").fetchall() == [(1,)]


def test_no_answer_comes_before_its_slot(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=1)
    ticket, slot_at = given(connection, 1)
    settle(connection, ticket, age_s=500)
    assert given(connection, 2)[1] == slot_at + timedelta(seconds=1.0005)


def test_a_bot_that_is_nearer_than_every_worker_is_not_early_on_their_tokens(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, rate=1)
    worker = register(connection)
    answers = [{"bot": "default", "slot": -1, "age_s": 0, "result": "ok", "round_trip_s": 0.2}] * 100
    claim(connection, worker, n=0, settlements=answers)
    insert(connection, 1)
    [lane] = claim(connection, worker).lanes
    frozen.advance(0.2)
    claim(connection, worker, n=0, settlements=[queue_settlement(lane)])
    ticket, slot_at = given(connection, 2)
    # The worker's request may have arrived as late as its answer left; the reply may arrive at its slot.
    assert slot_at == frozen.at + timedelta(seconds=1.0005)
    frozen.set(slot_at)
    settle(connection, ticket)
    insert(connection, 3)
    frozen.advance(0.91)
    assert claim(connection, worker).lanes[0].slot_at == slot_at + timedelta(seconds=1.0005)


def test_an_album_takes_as_many_tokens_as_it_has_parts(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=10)
    ticket, slot_at = given(connection, 1, cost=4)
    assert connection.execute("SELECT count(*) FROM outbox.bucket, unnest(used_by) u WHERE u > 0").fetchall() == [(4,)]
    settle(connection, ticket, age_s=0)
    assert connection.execute("SELECT count(*) FROM outbox.bucket, unnest(used_by) u WHERE u > 0").fetchall() == [(0,)]
    others = [given(connection, chat_id)[1] for chat_id in range(2, 12)]
    assert others[6] == slot_at + timedelta(seconds=1.0005)
    uses = [Use(0, slot_at, slot_at)] * 4 + [Use(i, at, at) for i, at in enumerate(others)]
    assert most_in_a_window(uses, 1, 0) <= 10


def test_an_album_of_more_parts_than_tokens_takes_them_all(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=3, rate_window_s=10)
    _, slot_at = given(connection, 1, cost=10)
    assert connection.execute("SELECT count(*) FROM outbox.bucket, unnest(used_by) u WHERE u > 0").fetchall() == [(3,)]
    assert acquire(connection, 2).ticket is None
    frozen.set(slot_at + timedelta(seconds=11))
    given(connection, 2)


@pytest.mark.parametrize("rate", [200, None])
def test_bots_without_a_ring_give_slots_too(connection: Connection, frozen: FrozenClock, rate: int | None) -> None:
    add_bot(connection, rate=rate)
    slots = [given(connection, chat_id)[1] for chat_id in range(1, 101)]
    if rate is None:
        assert set(slots) == {frozen.at}
    else:
        assert all((b - a).total_seconds() >= 1 / rate for a, b in pairwise(slots))
    assert acquire(connection, 1).ticket is None, "its chat waits all the same"


@pytest.mark.parametrize(
    ("column", "value", "least_s", "most_s"),
    [
        ("stopped", "true", 4, 6),
        ("unauthorised", "true", 4, 6),
        ("paused_until", "outbox.clock() + interval '7 s'", 7, 7.2),
        ("breaker", "'open', breaker_until = outbox.clock() + interval '9 s'", 9, 9.2),
    ],
)
def test_what_stops_the_queue_stops_replies(
    connection: Connection, frozen: FrozenClock, column: str, value: str, least_s: float, most_s: float
) -> None:
    connection.execute(f"UPDATE outbox.bucket SET {column} = {value}")
    answer = acquire(connection, 1)
    assert answer.ticket is None
    assert least_s <= answer.delay_s <= most_s


def test_a_clock_that_steps_back_silences_no_reply(connection: Connection, frozen: FrozenClock) -> None:
    for chat_id in range(1, 70):
        acquire(connection, chat_id)
    frozen.advance(-600)
    assert acquire(connection, 100).delay_s <= 2
    assert acquire(connection, 1).delay_s <= 2
    frozen.advance(2.1)
    given(connection, 101)
    given(connection, 1)


# Tickets


def test_a_ticket_that_never_was_settles_nothing(connection: Connection) -> None:
    settle(connection, 12345)
    assert connection.execute("SELECT count(*) FROM outbox.chat").fetchall() == [(0,)]


def test_tickets_that_ran_out_do_not_pile_up(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=None)
    for chat_id in range(1, 70):
        given(connection, chat_id)
    frozen.advance(3700)
    for chat_id in range(100, 170):
        given(connection, chat_id)
    assert connection.execute("SELECT count(*) FROM outbox.ticket").fetchall() == [(70,)]


def test_a_reply_waits_for_nobody_who_holds_its_chat_or_bucket(
    db: Database, connection: Connection, frozen: FrozenClock
) -> None:
    given(connection, 1)
    with db.connect(autocommit=False) as holder:
        holder.execute("SELECT FROM outbox.chat WHERE chat_id = '1' FOR UPDATE")
        frozen.advance(5)
        assert 0 < acquire(connection, 1).delay_s < 0.02
    with db.connect(autocommit=False) as holder:
        holder.execute("SELECT FROM outbox.bucket FOR UPDATE")
        assert acquire(connection, 1).ticket is None


def test_two_answers_to_one_ticket_count_once(connection: Connection, frozen: FrozenClock) -> None:
    ticket, _ = given(connection, 42)
    settle(connection, ticket, result="fail")
    before = connection.execute("SELECT breaker_answered, breaker_failed FROM outbox.bucket").fetchall()
    settle(connection, ticket, result="fail")
    assert connection.execute("SELECT breaker_answered, breaker_failed FROM outbox.bucket").fetchall() == before


def test_results_of_the_queue_and_of_replies_keep_a_groups_window_together(
    connection: Connection, frozen: FrozenClock
) -> None:
    add_bot(connection, group_limit=2)
    worker = register(connection)
    insert(connection, -5)
    complete(connection, worker, map(result, claim(connection, worker).lanes))
    answered_at = frozen.at
    frozen.advance(1)
    ticket, _ = given(connection, -5)
    settle(connection, ticket)
    frozen.advance(1)
    message = insert(connection, -5, next_attempt_at=frozen.at)
    frozen.set(answered_at + timedelta(seconds=59.8))
    assert claim(connection, worker).message_ids == []
    frozen.set(answered_at + timedelta(seconds=60))
    assert claim(connection, worker).message_ids == [message]


def test_a_producer_may_acquire_and_settle_and_read_no_ticket(db: Database, connection: Connection) -> None:
    with db.connect() as producer:
        producer.execute("SET ROLE outbox_producer")
        ticket, _ = given(producer, 42)
        settle(producer, ticket, result="flood", retry_after_s=1)
        [limits] = producer.execute("SELECT * FROM outbox.reply_limits('default')").fetchall()
        assert limits == (30, 1.0, 1.0, 20, 60.0)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            producer.execute("SELECT * FROM outbox.ticket")
    assert json.dumps(connection.execute("SELECT count(*) FROM outbox.ticket").fetchall()) == "[[0]]"
