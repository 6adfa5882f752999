"""Who keeps house, and what is done."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from outbox.deliver.connections import Connections
from outbox.operate.housekeeping import Housekeeper
from outbox.operate.stage import simulator_process, worker_processes

DEADLINE_S = 20.0


@contextlib.asynccontextmanager
async def keeping_house(url: str, holder: str) -> AsyncIterator[Housekeeper]:
    connections = Connections(url, f"test {holder}")
    await connections.open()
    housekeeper = Housekeeper(connections, holder)
    housekeeper.start()
    try:
        yield housekeeper
    finally:
        await housekeeper.stop()
        await connections.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.05)


def test_the_lease_has_one_holder_until_it_runs_out(db, clock):
    assert db.execute("SELECT outbox.keep_house('a')") == [(True,)]
    assert db.execute("SELECT outbox.keep_house('b')") == [(False,)]
    clock.advance(14)
    assert db.execute("SELECT outbox.keep_house('b')") == [(False,)]
    clock.advance(2)
    assert db.execute("SELECT outbox.keep_house('b')") == [(True,)]
    assert db.execute("SELECT outbox.keep_house('a')") == [(False,)]


def test_a_lease_given_back_is_free_at_once(db):
    db.execute("SELECT outbox.keep_house('a')")
    db.execute("SELECT outbox.leave_house('a')")
    assert db.execute("SELECT outbox.keep_house('b')") == [(True,)]


def test_a_clock_that_steps_back_does_not_make_the_lease_last(db, clock):
    db.execute("SELECT outbox.keep_house('a')")
    clock.advance(-3600)
    assert db.execute("SELECT outbox.keep_house('b')") == [(True,)]


async def test_only_the_holder_does_its_duties(db):
    async with keeping_house(db.url, "a") as first:
        await until(lambda: first.holds)
        async with keeping_house(db.url, "b") as second:
            await until(lambda: db.execute("SELECT 1 FROM outbox.housekeeping WHERE duty = 'repair' AND runs > 0"))
            await asyncio.sleep(1.5)  # b has asked once
            assert not second.holds
            assert db.execute("SELECT holder FROM outbox.housekeeping WHERE duty = 'lease'") == [("a",)]


async def test_a_new_holder_repairs_at_once_and_counts_what_was_missing(db):
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}'), (2, '{}'), (2, '{}')")
    db.execute("DELETE FROM outbox.wakeup WHERE chat_id = '2'")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT 1 FROM outbox.housekeeping WHERE duty = 'repair' AND runs > 0"))
    assert db.execute("SELECT wakeups_repaired FROM outbox.housekeeping WHERE duty = 'repair'") == [(1,)]
    assert db.execute("SELECT count(*) FROM outbox.wakeup WHERE chat_id = '2'") == [(1,)]


async def test_cancelled_messages_that_no_claim_comes_across_end_and_no_call_is_too_large(db):
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag, next_attempt_at)"
        " SELECT i, '{}', 'sale', now() + interval '1 d' FROM generate_series(1, 2500) i"
    )
    db.execute("SELECT outbox.cancel(p_tag => 'sale')")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT count(*) FROM outbox.message") == [(0,)])
    assert db.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1") == [("cancelled", 2500)]
    [(most,)] = db.execute("SELECT max(n) FROM (SELECT count(*) AS n FROM outbox.finished GROUP BY xid) x")
    assert most <= 1000


async def test_a_new_holder_counts_what_ended_with_a_tag(db):
    db.execute("INSERT INTO outbox.message (chat_id, payload, tag) VALUES (1, '{}', 'sale')")
    db.execute(
        "SELECT outbox.finish_messages(array_agg(jsonb_populate_record(NULL::outbox.ending,"
        " jsonb_build_object('message_id', id, 'status', 'expired', 'attempts', 0)))) FROM outbox.message"
    )
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT 1 FROM outbox.broadcast"))
    assert db.execute("SELECT tag, expired FROM outbox.broadcast") == [("sale", 1)]


async def test_nothing_is_swept_while_nothing_is_cancelled_and_a_cancel_is_seen_with_the_next_renewal(db):
    sweeps = "SELECT runs FROM outbox.housekeeping WHERE duty = 'sweep'"
    async with keeping_house(db.url, "a") as housekeeper:
        await until(lambda: housekeeper.holds)
        db.execute("INSERT INTO outbox.message (chat_id, payload, tag) VALUES (1, '{}', 'sale')")
        db.execute("SELECT outbox.watch(1)")
        await asyncio.sleep(0.5)
        assert db.execute(sweeps) == []
        db.execute("SELECT outbox.cancel(p_tag => 'sale')")
        await until(lambda: db.execute("SELECT 1 FROM outbox.history WHERE status = 'cancelled'"))


def test_a_sweep_is_due_for_a_cancel_and_for_a_watch_that_ran_out(db, clock):
    due = "SELECT outbox.sweep_is_due()"
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
    db.execute("SELECT outbox.watch(1, 60)")
    assert db.execute(due) == [(False,)]
    clock.advance(61)
    assert db.execute(due) == [(True,)]
    db.execute("SELECT outbox.sweep()")
    assert db.execute(due) == [(False,)]
    db.execute("SELECT outbox.cancel(1)")
    assert db.execute(due) == [(True,)]


async def test_a_duty_that_is_cut_off_for_its_length_gets_the_time_it_needs(db):
    """Its statement is cancelled by the worker's own timeout first."""
    db.execute(
        "CREATE OR REPLACE FUNCTION outbox.repair() RETURNS bigint LANGUAGE plpgsql AS"
        " $$ BEGIN"
        "      IF current_setting('statement_timeout')::interval < interval '1 min' THEN"
        "          RAISE EXCEPTION 'too long' USING ERRCODE = 'query_canceled';"
        "      END IF;"
        "      RETURN 0;"
        "    END $$"
    )
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT 1 FROM outbox.housekeeping WHERE duty = 'repair' AND runs > 0"))


async def test_a_frozen_housekeeper_is_replaced_within_its_lease(db, clock):
    holder = "SELECT holder FROM outbox.housekeeping WHERE duty = 'lease'"
    async with simulator_process() as telegram, worker_processes(db.url, telegram.url, telegram.url) as workers:
        await until(lambda: db.execute(f"{holder} AND holder IS NOT NULL"))
        [(frozen,)] = db.execute(holder)
        process = workers[int(frozen.partition(":")[0].removeprefix("worker-")) - 1]
        process.send_signal(signal.SIGSTOP)
        try:
            clock.advance(16)
            await until(lambda: db.execute(holder) != [(frozen,)])
        finally:
            process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
        assert db.execute(holder) != [(frozen,)]


def test_a_wakeup_deleted_by_hand_is_filed_again_and_its_message_is_claimed(db):
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (7, \'{"text": "hi"}\')')
    db.execute("DELETE FROM outbox.wakeup")
    [(worker,)] = db.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, '0')")
    claim = "SELECT chat_id FROM outbox.claim(%s, '{default}', 5, '[]') WHERE message_id IS NOT NULL"
    assert db.execute(claim, [worker]) == []
    assert db.execute("SELECT outbox.repair()") == [(1,)]
    assert db.execute("SELECT outbox.repair()") == [(0,)]
    assert db.execute(claim, [worker]) == [("7",)]
    assert db.execute("SELECT wakeups_repaired FROM outbox.housekeeping") == [(1,)]


def test_partitions_are_made_two_weeks_ahead_and_only_once(db):
    ahead = """
        SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox.finished'::regclass
           AND c.relname BETWEEN to_char(now() AT TIME ZONE 'UTC', '"finished_"YYYYMMDD')
                             AND to_char(now() AT TIME ZONE 'UTC' + interval '14 days', '"finished_"YYYYMMDD')"""
    assert db.execute(ahead) == [(15,)]
    assert db.execute("SELECT outbox.make_partitions()") == [(0,)]


def test_retention_drops_whole_days_and_keeps_the_newer(db, clock):
    clock.advance(40 * 86400)
    assert db.execute("SELECT outbox.make_partitions()") != [(0,)]
    assert db.execute("SELECT outbox.drop_history(30)") == [(1,)]
    while db.execute("SELECT outbox.drop_history(30)") == [(1,)]:
        pass
    old = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'outbox' AND c.relname ~ '^(attempt|finished)_[0-9]{8}$'
                AND to_date(right(c.relname, 8), 'YYYYMMDD')
                    < (outbox.clock() AT TIME ZONE 'UTC')::date - 30"""
    assert db.execute(old) == [(0,)]


def test_a_day_that_somebody_reads_is_dropped_later_and_nobody_waits(db, clock):
    days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox.attempt'::regclass"
    [(before,)] = db.execute(days)
    clock.advance(40 * 86400)
    with db.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM outbox.attempt").fetchone()
        assert db.execute("SELECT outbox.drop_history(30)") == [(0,)]
    assert db.execute(days) == [(before,)]
    assert db.execute("SELECT outbox.drop_history(30)") == [(1,)]
    assert db.execute(days) == [(before - 1,)]


def test_retention_of_less_than_a_day_is_refused(db):
    with pytest.raises(Exception, match="would drop what is being written"):
        db.execute("SELECT outbox.drop_history(0)")


def test_old_dead_letters_become_history_as_discarded(db, clock):
    db.execute("INSERT INTO outbox.message (chat_id, payload, tag) VALUES (7, '{}', 'x')")
    [(worker,)] = db.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, '0')")
    [(message, attempt)] = db.execute(
        "SELECT message_id, attempt FROM outbox.claim(%s, '{default}', 5, '[]') WHERE message_id IS NOT NULL", [worker]
    )
    db.execute(
        "SELECT outbox.complete(%s, jsonb_build_array(jsonb_build_object('bot', 'default', 'chat_id', '7',"
        " 'message_id', %s::bigint, 'attempt', %s::int, 'outcome', 'dead', 'age_s', 0)))",
        [worker, message, attempt],
    )
    assert db.execute("SELECT status FROM outbox.history") == [("dead",)]
    clock.advance(91 * 86400)
    db.execute("SELECT outbox.drop_history()")
    assert db.execute("SELECT status, error_class FROM outbox.history") == [("discarded", "retention")]


def test_the_measured_depth_follows_the_queue_and_forgets_what_is_empty(db):
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority) VALUES (1, '{}', 0), (2, '{}', 3), (3, '{}', 3)"
    )
    db.execute("SELECT outbox.measure_queue()")
    assert db.execute("SELECT priority, depth FROM outbox.depth ORDER BY 1") == [(0, 1), (3, 2)]
    db.execute("DELETE FROM outbox.message WHERE priority = 3")
    db.execute("SELECT outbox.measure_queue()")
    assert db.execute("SELECT priority, depth FROM outbox.depth") == [(0, 1)]
