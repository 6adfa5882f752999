"""A message that failed: its place, its wait, its end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register, status
from tests.invariants.frozen_clock import FrozenClock

LONGEST_S = 30.0
DRAWS = 2_000


def test_a_failed_message_keeps_its_place_only_better_priorities_pass(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    failed = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "retry")
    connection.execute("UPDATE outbox.chat SET backoff_until[3] = outbox.clock() + interval '20 s'")
    equal, worse, better = (insert(connection, 1, priority=priority) for priority in (2, 3, 1))
    sent: list[int] = []
    for _ in range(6):
        frozen.advance(1)
        lanes = claim(connection, worker).lanes
        sent += [lane.message_id for lane in lanes]
        finish(connection, worker, lanes)
    assert sent == [better], "what is worse or equal waits behind the failed one"

    for _ in range(18):
        frozen.advance(1)
        lanes = claim(connection, worker).lanes
        sent += [lane.message_id for lane in lanes]
        finish(connection, worker, lanes)
    assert sent == [better, failed, equal, worse]


@pytest.mark.parametrize("outcome", ["retry", "uncertain"])
def test_a_failed_message_goes_again_within_its_backoff(
    connection: Connection, frozen: FrozenClock, outcome: str
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, outcome, error_text="boom")
    assert connection.execute("SELECT attempts, last_error FROM outbox.message").fetchall() == [(1, "boom")]
    frozen.advance(1.0001)
    [again] = claim(connection, worker).lanes
    assert (again.message_id, again.attempt) == (message_id, 2)


def test_a_backoff_only_moves_later(connection: Connection, frozen: FrozenClock) -> None:
    worker = register(connection)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    until = frozen.at + timedelta(minutes=5)
    connection.execute("UPDATE outbox.chat SET backoff_until[3] = %s", [until])
    finish(connection, worker, lanes, "retry")
    assert connection.execute("SELECT backoff_until[3] FROM outbox.chat").fetchall() == [(until,)]


@pytest.mark.parametrize(("attempt", "most_s"), [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (70, 30), (2_000_000, 30)])
def test_a_backoff_is_in_full_jitter_below_a_bound_that_doubles(
    connection: Connection, attempt: int, most_s: float
) -> None:
    connection.execute("SELECT setseed(0.5)")
    row = connection.execute(
        "SELECT min(s), max(s), avg(s) FROM (SELECT extract(epoch FROM outbox.backoff('default', %s))::float8 AS s"
        "  FROM generate_series(1, %s)) x",
        [attempt, DRAWS],
    ).fetchone()
    assert row is not None
    least, most, mean = row
    assert 0 <= least < 0.02 * most_s
    assert 0.98 * most_s < most <= most_s <= LONGEST_S
    assert mean == pytest.approx(most_s / 2, rel=0.06)


def test_the_backoff_is_the_bots_own(connection: Connection) -> None:
    add_bot(connection, "slow", backoff_initial_s=100, backoff_factor=1, backoff_max_s=100)
    row = connection.execute(
        "SELECT max(extract(epoch FROM outbox.backoff('slow', 5))) FROM generate_series(1, 200)"
    ).fetchone()
    assert row is not None
    assert 50 < row[0] <= 100


@pytest.mark.parametrize(("bots_most", "own_most"), [(3, None), (10, 3)])
def test_a_message_dies_with_its_last_attempt(
    connection: Connection, frozen: FrozenClock, bots_most: int, own_most: int | None
) -> None:
    add_bot(connection, max_attempts=bots_most)
    worker, message_id = register(connection), insert(connection, 1, max_attempts=own_most)
    for attempt in (1, 2, 3):
        assert status(connection, message_id) == "queued"
        [lane] = claim(connection, worker).lanes
        assert lane.attempt == attempt
        finish(connection, worker, [lane], "retry", error_class="server_error", error_text="boom")
        frozen.advance(10)
    row = connection.execute("SELECT status, attempts, payload IS NOT NULL, error_text FROM outbox.dead_letter")
    assert row.fetchall() == [("dead", 3, True, "boom")]
    assert claim(connection, worker).lanes == []


def test_an_uncertain_message_on_hold_goes_to_the_dead_letters_and_not_again(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker, message_id = register(connection), insert(connection, 1, on_uncertain="hold")
    behind = insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "uncertain")
    assert connection.execute("SELECT id, status FROM outbox.dead_letter").fetchall() == [(message_id, "uncertain")]
    frozen.advance(2)
    assert claim(connection, worker).message_ids == [behind]


def test_hold_says_nothing_about_a_call_that_was_not_executed(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1, on_uncertain="hold")
    finish(connection, worker, claim(connection, worker).lanes, "retry")
    assert status(connection, message_id) == "queued"


def test_unsent_spends_no_attempt_and_waits_for_nothing(connection: Connection, frozen: FrozenClock) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "unsent")
    assert connection.execute("SELECT attempts FROM outbox.message").fetchall() == [(0,)]
    assert connection.execute("SELECT count(*) FROM outbox.attempt").fetchall() == [(0,)]
    assert claim(connection, worker).message_ids == [message_id]
