"""What stands in a batch's way stops neither it nor others, and is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.observe.filled import fill_history
from tests.observe.test_cost import rows_read
from tests.operate.dead_letters import audited, die, operate, unlimited
from tests.operate.test_batches import batch, batches, run, run_to_the_end


def poison(connection: Connection, condition: str, what: str = "RAISE EXCEPTION 'no room left'") -> None:
    """Make it impossible to put such messages back."""
    connection.execute(
        f"CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$"
    )
    connection.execute(
        f"CREATE TRIGGER fail BEFORE INSERT ON outbox.message FOR EACH ROW WHEN ({condition})"
        " EXECUTE FUNCTION public.fail()"
    )


def test_one_that_cannot_be_moved_is_stepped_past_and_counted_as_failed(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=300, waiting=0, chats=10)
    [(bad,)] = connection.execute(
        "SELECT id FROM outbox.dead_letter ORDER BY died_at, id OFFSET 120 LIMIT 1"
    ).fetchall()
    poison(connection, f"NEW.id = {bad}")
    number = operate(connection, "start_batch", "retry", p_until="infinity")
    while operate(connection, "batch_is_due"):
        run(connection)
        row = batch(connection, number)
        assert row["last_error"] == "no room left" or row["failed"] == 0
    assert connection.execute("SELECT id FROM outbox.dead_letter").fetchall() == [(bad,)]
    row = batch(connection, number)
    assert (row["state"], row["done"], row["failed"], row["progress"]) == ("done", 299, 1, 1)
    assert row["last_error"] == "no room left"
    what, ended, count = audited(connection)[-1]
    assert (what, count) == ("retry", 299)
    assert (ended["failed"], ended["last_error"], ended["batch"]) == (1, "no room left", number)


def test_where_none_can_be_moved_the_batch_ends_and_says_so(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=40, waiting=0, chats=10)
    poison(connection, "true")
    number = operate(connection, "start_batch", "retry", p_until="infinity")
    steps = 0
    while operate(connection, "batch_is_due"):
        assert run(connection) == 0
        steps += 1
        assert steps < 60
    row = batch(connection, number)
    assert (row["state"], row["done"], row["failed"], row["last_error"]) == ("done", 0, 40, "no room left")


def test_a_step_that_meets_the_statement_timeout_is_a_smaller_one_the_next_time(
    db: Database, connection: Connection
) -> None:
    fill_history(db, finished=0, dead=150, waiting=0, chats=10)
    poison(connection, "true", "PERFORM pg_sleep(0.01)")
    number = operate(connection, "start_batch", "retry", p_until="infinity")
    connection.execute("SET statement_timeout = '1s'")
    assert run(connection) == 0
    assert "statement timeout" in batch(connection, number)["last_error"]
    run_to_the_end(connection)
    row = batch(connection, number)
    assert (row["state"], row["done"], row["failed"], row["last_error"]) == ("done", 150, 0, None)


def test_an_error_is_seen_until_a_step_succeeds(connection: Connection) -> None:
    unlimited(connection)
    die(connection, 1)
    poison(connection, "true")
    number = operate(connection, "start_batch", "retry", p_class="bad_request")
    assert run(connection) == 0
    assert batch(connection, number)["last_error"] == "no room left"
    connection.execute("DROP TRIGGER fail ON outbox.message")
    assert run(connection) == 1
    assert batch(connection, number)["last_error"] is None


def test_batches_take_turns(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=1000, waiting=0, chats=10)
    first = operate(connection, "start_batch", "discard", p_status="dead")
    second = operate(connection, "start_batch", "discard", p_status="dead")
    done = []
    for _ in range(4):
        assert run(connection) == 200
        done.append((batch(connection, first)["done"], batch(connection, second)["done"]))
    assert done == [(200, 0), (200, 200), (400, 200), (400, 400)]


def test_a_held_chat_does_not_stop_a_slow_batch(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    unlimited(connection)
    held = die(connection, 1)
    for chat in range(2, 7):
        die(connection, chat)
    frozen.advance(1)
    number = operate(connection, "start_batch", "retry", p_class="bad_request", p_per_s=1)
    holder = open_session()
    holder.begin().execute("SELECT FROM outbox.chat WHERE chat_id = '1' FOR UPDATE")
    moved = []
    for _ in range(5):
        moved.append(run(connection))
        frozen.advance(1)
    assert moved == [1] * 5
    assert connection.execute("SELECT id FROM outbox.dead_letter").fetchall() == [(held,)]
    holder.rollback()
    for _ in range(4):
        frozen.advance(1)
        run(connection)
    row = batch(connection, number)
    assert (row["state"], row["done"]) == ("done", 6)


def test_a_slow_batch_waits_for_its_turn_and_a_fast_one_does_not_wait_for_it(
    db: Database, connection: Connection
) -> None:
    fill_history(db, finished=0, dead=1000, waiting=0, chats=10)
    slow = operate(connection, "start_batch", "discard", p_status="uncertain", p_per_s=0.001)
    fast = operate(connection, "start_batch", "discard", p_status="dead")
    assert [run(connection) for _ in range(6)] == [1, 200, 200, 200, 200, 100]
    assert (batch(connection, slow)["done"], batch(connection, fast)["done"]) == (1, 900)
    assert [operate(connection, "run_batches") for _ in range(3)] == [0, 0, None]
    assert batch(connection, fast)["state"] == "done"


def test_a_step_reads_a_bounded_part_and_goes_on_behind_it(db: Database, connection: Connection) -> None:
    """The few that meet the condition lie behind 30,000 that do not."""
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        "                                on_uncertain, created_at, scheduled_for, died_at, attempts, calls, xid,"
        "                                error_class)"
        " SELECT -i, 'default', '1', 'sendMessage', '{}', 2, 'dead', i::text, 'retry', now(), now(),"
        "        now() - make_interval(secs => i / 1000), 1, 1, '3', CASE WHEN i <= 7 THEN 'rare' ELSE 'other' END"
        "   FROM generate_series(1, 30000) i"
    )
    number = operate(connection, "start_batch", "discard", p_class="rare")
    assert [run(connection) for _ in range(2)] == [0, 7]
    run_to_the_end(connection)
    assert (batch(connection, number)["state"], batch(connection, number)["done"]) == ("done", 7)


def test_an_error_that_a_lost_call_could_not_write_is_noted_and_the_others_go_first(
    db: Database, connection: Connection
) -> None:
    fill_history(db, finished=0, dead=1000, waiting=0, chats=10)
    first = operate(connection, "start_batch", "discard", p_status="dead")
    second = operate(connection, "start_batch", "discard", p_status="uncertain")
    assert operate(connection, "batch_in_turn") == first
    operate(connection, "note_batch_error", first, "no answer within 15 s")
    assert batch(connection, first)["last_error"] == "no answer within 15 s"
    assert run(connection) == 100
    assert batch(connection, second)["done"] == 100


def test_an_error_is_never_noted_in_another_batch_than_the_one_it_is_about(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    """The server may still be at the step whose answer was lost; the batch may have ended."""
    first, second = (operate(connection, "start_batch", "discard", p_bot="default") for _ in range(2))
    running = open_session()
    running.begin().execute("SELECT FROM outbox.batch WHERE id = %s FOR UPDATE", [first])
    assert operate(connection, "batch_in_turn") == second
    operate(connection, "note_batch_error", first, "no answer within 15 s")
    running.rollback()
    operate(connection, "stop_batch", first)
    operate(connection, "note_batch_error", first, "no answer within 15 s")
    assert [row["last_error"] for row in batches(connection)] == [None, None]
    operate(connection, "stop_batch", second)
    assert operate(connection, "batch_in_turn") is None


def test_of_very_many_ids_the_view_shows_how_many(connection: Connection) -> None:
    number = operate(connection, "start_batch", "retry", p_ids=list(range(1, 2001)))
    shown = batch(connection, number)["filter"]
    assert (shown["ids"], shown["ids_count"]) == (list(range(1, 101)), 2000)


def test_what_housekeeping_calls_every_few_seconds_a_worker_s_login_may_call(
    connection: Connection, login: Callable[..., psycopg.Connection[Any]]
) -> None:
    """Word for word: Housekeeper._renew and _step_batches."""
    unlimited(connection)
    die(connection, 1)
    number = operate(connection, "start_batch", "retry", p_class="bad_request")
    worker = login("outbox_worker")
    renewal = "SELECT outbox.keep_house(%s), outbox.sweep_is_due(), outbox.batch_is_due()"
    assert worker.execute(renewal, ["a"]).fetchall() == [(True, False, True)]
    for _ in range(3):
        worker.execute("SELECT outbox.batch_in_turn()")
        worker.execute("SELECT outbox.run_batches(), outbox.note_duty(%s, NULL)", ["batches"])
    assert worker.execute("SELECT outbox.batch_is_due()").fetchall() == [(False,)]
    assert (batch(connection, number)["state"], batch(connection, number)["done"]) == ("done", 1)
    worker.execute("SELECT outbox.note_batch_error(%s, %s)", [number, "x"])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("UPDATE outbox.batch SET done = 0")


@pytest.mark.parametrize("analysed", [False, True])
def test_a_step_reads_no_more_than_it_looks_at(db: Database, connection: Connection, analysed: bool) -> None:
    """Of 20,000 that died at one moment."""
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        "                                on_uncertain, created_at, scheduled_for, died_at, attempts, calls, xid)"
        " SELECT i, 'default', '1', 'sendMessage', '{}', 2, 'dead', i::text, 'retry', now(), now(), now(), 1, 1, '3'"
        "   FROM generate_series(1, 20000) i"
    )
    if analysed:
        connection.execute("ANALYZE outbox.dead_letter")
    operate(connection, "start_batch", "discard", p_until="infinity")
    assert run(connection) == 200
    before = rows_read(db, connection)
    assert run(connection) == 200
    assert rows_read(db, connection) - before <= 2000
