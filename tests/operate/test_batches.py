"""Batches: dead letters that are retried or discarded in the background, at a pace, and none twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from outbox.operate.stage import simulator_process, worker_processes
from tests.conftest import Database
from tests.invariants.calls import Connection, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.observe.filled import fill_history
from tests.operate.dead_letters import audited, die, limited, operate, unlimited
from tests.operate.test_housekeeping import keeping_house, until


def batches(connection: Connection) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM outbox.batches ORDER BY id").fetchall()


def batch(connection: Connection, batch_id: int) -> dict[str, Any]:
    [row] = [row for row in batches(connection) if row["id"] == batch_id]
    return row


def run(connection: Connection) -> int:
    """How many a step moved; 0 also when none is due."""
    return operate(connection, "run_batches") or 0


def run_to_the_end(connection: Connection) -> list[int]:
    steps = []
    while operate(connection, "batch_is_due"):
        steps.append(run(connection))
        assert len(steps) < 100, batches(connection)
    return [step for step in steps if step]


def statuses(connection: Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1").fetchall())


@pytest.mark.parametrize(("verb", "status"), [("retry", "queued"), ("discard", "discarded")])
def test_all_that_meet_the_conditions_are_taken_in_steps(
    db: Database, connection: Connection, verb: str, status: str
) -> None:
    fill_history(db, finished=0, dead=1000, waiting=0, chats=10)
    number = operate(connection, "start_batch", verb, p_class="bad_request", p_status="dead")
    assert batch(connection, number)["total"] == 300
    assert statuses(connection) == {"dead": 900, "uncertain": 100}
    assert run_to_the_end(connection) == [200, 100]
    assert statuses(connection) == {"dead": 600, "uncertain": 100, status: 300}
    row = batch(connection, number)
    assert (row["state"], row["done"], row["progress"], row["eta_s"], row["last_error"]) == ("done", 300, 1, None, None)
    assert row["finished_at"] is not None


def test_a_batch_of_very_many_is_counted_in_part_and_taken_whole(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        "                                on_uncertain, created_at, scheduled_for, died_at, attempts, calls, xid)"
        " SELECT i, 'default', '1', 'sendMessage', '{}', 2, 'dead', i::text, 'retry', now(), now(), now(), 1, 1, '3'"
        "   FROM generate_series(1, 100001) i"
    )
    number = operate(connection, "start_batch", "discard", p_status="dead")
    assert batch(connection, number)["total"] == 100000
    connection.execute("UPDATE outbox.batch SET done = 99999")
    assert batch(connection, number)["eta_s"] is not None
    connection.execute("UPDATE outbox.batch SET done = 100000")
    row = batch(connection, number)
    assert (row["state"], row["eta_s"]) == ("running", None)
    assert run(connection) == 200


def test_what_dies_after_the_start_is_no_part_of_it_even_if_it_was_retried_by_it(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    first, second = die(connection, 1), die(connection, 2)
    frozen.advance(1)
    number = operate(connection, "start_batch", "retry", p_class="bad_request")
    frozen.advance(1)
    later = die(connection, 3)
    assert run(connection) == 2
    frozen.advance(10)
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_class="bad_request")
    assert run_to_the_end(connection) == []
    assert batch(connection, number)["done"] == 2
    rows = connection.execute("SELECT id FROM outbox.dead_letter ORDER BY id").fetchall()
    assert rows == [(first,), (second,), (later,)]


def test_until_is_never_later_than_the_start(connection: Connection, frozen: FrozenClock) -> None:
    tomorrow, yesterday = frozen.at + timedelta(days=1), frozen.at - timedelta(days=1)
    for asked, kept in ((tomorrow, frozen.at), (yesterday, yesterday)):
        number = operate(connection, "start_batch", "discard", p_until=asked)
        rows = connection.execute(
            "SELECT (filter ->> 'until')::timestamptz FROM outbox.batch WHERE id = %s", [number]
        ).fetchall()
        assert rows == [(kept,)]


def test_the_pace_is_kept(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    for chat in range(1, 21):
        die(connection, chat)
    frozen.advance(1)
    number = operate(connection, "start_batch", "retry", p_class="bad_request", p_per_s=2)
    assert batch(connection, number)["eta_s"] == 10
    assert [run(connection), run(connection)] == [1, 0]  # the first at once
    moved = []
    for _ in range(4):
        frozen.advance(1)
        moved += [run(connection), run(connection)]
    assert moved == [2, 0] * 4
    frozen.advance(0.4)
    assert run(connection) == 0
    frozen.advance(3600)  # nobody kept house: what was not used is not made up for
    assert run(connection) == 4
    assert batch(connection, number)["progress"] == 13 / 20


def test_a_pace_below_one_a_second_moves_too(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    for chat in range(1, 4):
        die(connection, chat)
    frozen.advance(1)
    operate(connection, "start_batch", "discard", p_class="bad_request", p_per_s=0.25)
    moved = []
    for _ in range(9):
        moved.append(run(connection))
        frozen.advance(1)
    assert moved == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_a_stopped_batch_takes_no_more(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=500, waiting=0, chats=10)
    number = operate(connection, "start_batch", "discard", p_status="dead")
    assert run(connection) == 200
    assert operate(connection, "stop_batch", number) is True
    assert operate(connection, "stop_batch", number) is False
    assert [what for what, _, _ in audited(connection)] == ["start_batch", "stop_batch"]
    assert run(connection) == 0
    row = batch(connection, number)
    assert (row["state"], row["done"], row["eta_s"]) == ("stopped", 200, None)


def test_to_stop_a_batch_that_is_not_there_is_refused_and_not_audited(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.NoDataFound, match="there is no batch 4711") as refused:
        operate(connection, "stop_batch", 4711)
    assert refused.value.diag.message_hint == "SELECT id, verb, state FROM outbox.batches shows them."
    assert audited(connection) == []


def test_everything_is_audited_under_the_name_of_who_asked(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    die(connection, 1)
    frozen.advance(1)
    connection.execute("SELECT set_config('outbox.operator', 'ann', false)")
    number = operate(connection, "start_batch", "retry", p_class="bad_request", p_per_s=5)
    stopped = operate(connection, "start_batch", "discard", p_class="other")
    operate(connection, "stop_batch", stopped)
    connection.execute("SELECT set_config('outbox.operator', 'housekeeper', false)")
    for _ in range(3):
        run(connection)
        frozen.advance(1)
    records = audited(connection)
    assert [(what, count) for what, _, count in records] == [
        ("start_batch", 1),
        ("start_batch", 0),
        ("stop_batch", 0),
        ("retry", 1),
    ]
    assert [records[0][1][key] for key in ("batch", "verb", "class", "per_s")] == [number, "retry", "bad_request", 5]
    assert records[3][1]["batch"] == number
    assert {who for (who,) in connection.execute("SELECT who FROM outbox.audit").fetchall()} == {"postgres (ann)"}
    assert batch(connection, number)["requested_by"] == "postgres (ann)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"p_verb": "retry"},
        {"p_verb": "retry", "p_text": ""},
        {"p_verb": "resend", "p_class": "x"},
        {"p_verb": None, "p_class": "x"},
        {"p_verb": "retry", "p_class": "x", "p_per_s": 0},
        {"p_verb": "retry", "p_class": "x", "p_per_s": "NaN"},
        {"p_verb": "retry", "p_class": "x", "p_per_s": 1e-7},
        {"p_verb": "retry", "p_class": "x", "p_per_s": 1e7},
        {"p_verb": "retry", "p_class": "x", "p_per_s": "Infinity"},
        {"p_verb": "retry", "p_ids": list(range(10001))},
        {"p_verb": "retry", "p_status": "sent"},
    ],
)
def test_a_slip_starts_nothing_and_says_what_to_do(connection: Connection, arguments: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        operate(connection, "start_batch", **arguments)
    assert refused.value.diag.message_hint
    assert batches(connection) == []


def test_an_unknown_bot_starts_nothing(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody" does not exist'):
        operate(connection, "start_batch", "retry", p_bot="nobody")


def test_a_second_call_with_the_same_key_starts_nothing(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    first = operate(connection, "start_batch", "retry", p_class="x", p_key="form 1")
    assert operate(connection, "start_batch", "retry", p_class="x", p_key="form 1") == first
    assert operate(connection, "start_batch", "retry", p_class="x", p_key="form 2") != first
    other = open_session()
    with connection.transaction():
        mine = operate(connection, "start_batch", "retry", p_class="x", p_key="form 3")
        call = other.start(operate, "start_batch", "retry", p_class="x", p_key="form 3")
        assert other.waits(call)
    assert call.result() == mine
    assert len(audited(connection)) == len(batches(connection)) == 3


def test_a_dead_letter_in_other_hands_is_taken_later(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    unlimited(connection)
    held, free = die(connection, 1), die(connection, 2)
    frozen.advance(1)
    number = operate(connection, "start_batch", "retry", p_class="bad_request")
    other = open_session().connection
    with other.transaction():
        other.execute("SELECT FROM outbox.chat WHERE chat_id = '1' FOR UPDATE")
        assert sum(run(connection) for _ in range(6)) == 1
        assert connection.execute("SELECT id FROM outbox.message").fetchall() == [(free,)]
        assert batch(connection, number)["state"] == "running"
        frozen.advance(1)
        assert sum(run(connection) for _ in range(6)) == 0
    frozen.advance(1)
    assert run_to_the_end(connection) == [1]
    assert sorted(connection.execute("SELECT id FROM outbox.message").fetchall()) == [(held,), (free,)]


def test_two_that_keep_house_share_the_batches(
    db: Database, connection: Connection, open_session: Callable[[], Session]
) -> None:
    fill_history(db, finished=0, dead=450, waiting=0, chats=10)
    number = operate(connection, "start_batch", "discard", p_status="dead")
    other = open_session().connection
    with other.transaction():
        assert run(other) == 200
        assert run(connection) == 0
    assert run(connection) == 200
    run_to_the_end(connection)
    assert batch(connection, number)["done"] == 405


def test_a_step_that_is_rolled_back_counts_nothing(
    db: Database, connection: Connection, open_session: Callable[[], Session]
) -> None:
    fill_history(db, finished=0, dead=300, waiting=0, chats=10)
    number = operate(connection, "start_batch", "discard", p_status="dead")
    crashes = open_session()
    assert run(crashes.begin()) == 200
    crashes.rollback()
    assert batch(connection, number)["done"] == 0
    run_to_the_end(connection)
    assert batch(connection, number)["done"] == batch(connection, number)["total"] == 270


def test_a_batch_that_fails_says_why_and_stops_no_other(connection: Connection) -> None:
    unlimited(connection)
    for chat, error_class in ((1, "one"), (2, "two")):
        die(connection, chat, error_class)
    connection.execute(
        "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no room left'; END $$"
    )
    connection.execute(
        "CREATE TRIGGER fail BEFORE INSERT ON outbox.message FOR EACH ROW WHEN (NEW.chat_id = '1')"
        " EXECUTE FUNCTION public.fail()"
    )
    first = operate(connection, "start_batch", "retry", p_class="one")
    second = operate(connection, "start_batch", "retry", p_class="two")
    assert [run(connection), run(connection)] == [0, 1]
    assert batch(connection, first)["last_error"] == "no room left"
    assert batch(connection, second)["done"] == 1
    connection.execute("DROP TRIGGER fail ON outbox.message")
    run_to_the_end(connection)
    row = batch(connection, first)
    assert (row["state"], row["done"], row["last_error"]) == ("done", 1, None)


def test_ids_narrow_a_batch(connection: Connection) -> None:
    unlimited(connection)
    dead = [die(connection, chat) for chat in range(1, 4)]
    number = operate(connection, "start_batch", "retry", p_ids=dead[:2])
    run_to_the_end(connection)
    assert (batch(connection, number)["total"], batch(connection, number)["done"]) == (2, 2)
    assert connection.execute("SELECT id FROM outbox.dead_letter").fetchall() == [(dead[2],)]


def test_only_admins_start_and_stop_workers_run_and_readers_look(connection: Connection) -> None:
    unlimited(connection)
    die(connection, 1)
    for role in ("outbox_reader", "outbox_worker"):
        connection.execute(f"SET ROLE {role}")
        for call in ("start_batch('retry', p_class => 'bad_request')", "stop_batch(1)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT outbox.{call}")
        assert batches(connection) == []
    connection.execute("SET ROLE outbox_admin")
    assert operate(connection, "start_batch", "retry", p_class="bad_request") is not None
    connection.execute("SET ROLE outbox_worker")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE outbox.batch SET total = 1")
    assert run(connection) == 1


async def test_housekeeping_runs_a_batch_to_its_end_and_rests_afterwards(db: Database) -> None:
    fill_history(db, finished=0, dead=900, waiting=0, chats=10)
    async with keeping_house(db.url, "a") as housekeeper:
        await until(lambda: housekeeper.holds)
        db.execute("SELECT outbox.start_batch('discard', p_status => 'dead')")
        await until(lambda: db.execute("SELECT 1 FROM outbox.batches WHERE state = 'done'"))
    assert db.execute("SELECT done, total FROM outbox.batches") == [(810, 810)]
    assert db.execute("SELECT last_error FROM outbox.housekeeping WHERE duty = 'batches'") == [(None,)]


async def test_a_batch_goes_on_under_the_next_who_keeps_house(db: Database) -> None:
    fill_history(db, finished=0, dead=100, waiting=0, chats=10)
    db.execute("SELECT outbox.start_batch('discard', p_status => 'dead', p_per_s => 40)")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT 1 FROM outbox.batches WHERE done > 0"))
    [(done, state)] = db.execute("SELECT done, state FROM outbox.batches")
    assert (done < 90, state) == (True, "running")
    async with keeping_house(db.url, "b"):
        await until(lambda: db.execute("SELECT 1 FROM outbox.batches WHERE state = 'done'"))
    assert db.execute("SELECT done FROM outbox.batches") == [(90,)]


async def test_a_retried_batch_is_sent_by_a_worker(db: Database) -> None:
    """From dead letters to Telegram, once each."""
    with db.connect() as connection:
        unlimited(connection)
        for chat in range(1, 61):
            insert(connection, chat)
        worker = register(connection)
        while lanes := claim(connection, worker).lanes:
            finish(connection, worker, lanes, "dead", error_class="bad_request")
        connection.execute("SELECT outbox.leave(%s)", [worker])
        limited(connection)
        operate(connection, "start_batch", "retry", p_class="bad_request")
    async with simulator_process() as telegram, worker_processes(db.url, telegram.url, telegram.url):
        await until(lambda: db.execute("SELECT 1 FROM outbox.finished WHERE status = 'sent' HAVING count(*) = 60"))
        await until(lambda: db.execute("SELECT 1 FROM outbox.batches WHERE state = 'done'"))
    assert db.execute("SELECT done FROM outbox.batches") == [(60,)]
    assert db.execute(
        "SELECT max(n) FROM (SELECT count(*) AS n FROM outbox.attempt WHERE outcome = 'sent' GROUP BY message_id) x"
    ) == [(1,)]
