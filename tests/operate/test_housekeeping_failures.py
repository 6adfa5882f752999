"""What goes wrong in housekeeping is on record, and never takes the worker's connections from its messages."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg.conninfo import make_conninfo

from tests.conftest import Database
from tests.operate.dead_letters import die, unlimited
from tests.operate.test_housekeeping import keeping_house, until

NOTED = "SELECT last_error FROM outbox.housekeeping WHERE duty = %s AND runs > 0"


def break_function(db: Database, signature: str, returns: str, body: str) -> str:
    """Replace a function of ours; return the statement that mends it."""
    [(whole,)] = db.execute("SELECT pg_get_functiondef(%s::regprocedure)", [f"outbox.{signature}"])
    name, _, arguments = signature.partition("(")
    [(arguments,)] = db.execute("SELECT pg_get_function_arguments(%s::regprocedure)", [f"outbox.{signature}"])
    db.execute(
        f"CREATE OR REPLACE FUNCTION outbox.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql AS $$"
        f" BEGIN {body}; END $$"
    )
    return str(whole)


async def test_a_duty_that_fails_is_on_record_until_it_succeeds(db: Database) -> None:
    mend = break_function(db, "make_partitions(int)", "int", "RAISE EXCEPTION 'no room left'")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute(NOTED, ["make_partitions"]) == [("no room left (P0001)",)])
        # The others go on.
        await until(lambda: db.execute(NOTED, ["repair"]) == [(None,)])
    db.execute(mend)
    async with keeping_house(db.url, "b"):
        await until(lambda: db.execute(NOTED, ["make_partitions"]) == [(None,)])


async def test_a_batch_knows_the_error_of_a_call_that_was_rolled_back(db: Database) -> None:
    with db.connect() as connection:
        unlimited(connection)
        die(connection, 1)
    db.execute("SELECT outbox.start_batch('retry', p_class => 'bad_request')")
    mend = break_function(db, "run_batches()", "bigint", "RAISE EXCEPTION 'too long' USING ERRCODE = 'query_canceled'")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute("SELECT last_error FROM outbox.batches") == [("too long (57014)",)])
        await until(lambda: db.execute(NOTED, ["batches"]) == [("too long (57014)",)])
        db.execute(mend)
        await until(lambda: db.execute("SELECT state FROM outbox.batches") == [("done",)])
    assert db.execute("SELECT last_error FROM outbox.batches") == [(None,)]
    assert db.execute(NOTED, ["batches"]) == [(None,)]


async def test_two_long_duties_never_hold_both_connections(db: Database) -> None:
    """Both want the time that only a long call has; one of them waits for the other."""
    db.execute("CREATE TABLE public.gate (duty text)")
    for signature, returns in (("repair()", "bigint"), ("measure_queue()", "int")):
        [(returns,)] = db.execute("SELECT pg_get_function_result(%s::regprocedure)", [f"outbox.{signature}"])
        answer = "RETURN" if returns == "void" else "RETURN 0"
        break_function(
            db,
            signature,
            returns,
            "IF current_setting('statement_timeout')::interval < interval '1 min' THEN"
            "  RAISE EXCEPTION 'too long' USING ERRCODE = 'query_canceled'; END IF;"
            " SET LOCAL lock_timeout = 0;"
            f" LOCK TABLE public.gate IN SHARE MODE; {answer}",
        )
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name = 'test a'"
    )
    with db.connect(autocommit=False) as keeper:
        keeper.execute("LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE")
        async with keeping_house(db.url, "a") as housekeeper:
            await until(lambda: db.execute(running) == [(1,)])
            await until(lambda: {"repair", "measure"} <= housekeeper._slow)
            async with asyncio.timeout(5):
                await housekeeper._connections.call("SELECT 1")
            assert db.execute(running) == [(1,)]
            keeper.rollback()
            await until(
                lambda: len(db.execute("SELECT 1 FROM outbox.housekeeping WHERE duty IN ('repair', 'measure')")) == 2
            )


async def test_an_index_that_takes_long_has_a_connection_of_its_own_and_stops_no_other_duty(db: Database) -> None:
    db.execute("CREATE TABLE public.gate (duty text)")
    too_long = (
        "IF current_setting('statement_timeout')::interval < interval '1 min' THEN"
        "  RAISE EXCEPTION 'too long' USING ERRCODE = 'query_canceled'; END IF"
    )
    gate = "SET LOCAL lock_timeout = 0; LOCK TABLE public.gate IN SHARE MODE"
    break_function(db, "index_history()", "int", f"{too_long}; {gate}; RETURN 0")
    break_function(db, "repair()", "bigint", f"{too_long}; RETURN 0")
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test a'"
    with db.connect(autocommit=False) as keeper:
        keeper.execute("LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE")
        async with keeping_house(db.url, "a") as housekeeper:
            await until(lambda: housekeeper.holds)
            building = asyncio.create_task(housekeeper._index_history())
            await until(lambda: db.execute(f"{mine} AND wait_event_type = 'Lock'") == [(1,)])
            async with asyncio.timeout(5):
                await housekeeper._repair()
                await asyncio.gather(*(housekeeper._connections.call("SELECT pg_sleep(0.1)") for _ in range(2)))
            assert db.execute(NOTED, ["repair"]) == [(None,)]
            assert not building.done()
            keeper.rollback()
            await building
            assert db.execute(NOTED, ["index_history"]) == [(None,)]
            await until(lambda: db.execute(mine)[0][0] <= 2)


async def test_a_batch_that_loses_its_answer_has_the_error_and_not_the_one_whose_turn_it_is_then(db: Database) -> None:
    for _ in range(2):
        db.execute("SELECT outbox.start_batch('retry', p_bot => 'default')")
    # As if the server had committed, and the answer had not come.
    break_function(
        db,
        "batch_in_turn()",
        "bigint",
        "UPDATE outbox.batch SET due_at = outbox.clock() + interval '1 d' WHERE id = 2; RETURN 2",
    )
    break_function(db, "run_batches()", "bigint", "RAISE EXCEPTION 'too long' USING ERRCODE = 'query_canceled'")
    async with keeping_house(db.url, "a"):
        await until(lambda: db.execute(NOTED, ["batches"]) == [("too long (57014)",)])
    assert db.execute("SELECT id, last_error FROM outbox.batches ORDER BY id") == [(1, None), (2, "too long (57014)")]


async def test_a_worker_s_login_keeps_house_and_runs_batches(db: Database, login: Any) -> None:
    with db.connect() as connection:
        unlimited(connection)
        die(connection, 1)
    db.execute("SELECT outbox.start_batch('retry', p_class => 'bad_request')")
    name = login("outbox_worker").info.user
    async with keeping_house(make_conninfo(db.url, user=name), "a"):
        await until(lambda: db.execute("SELECT state FROM outbox.batches") == [("done",)])
    failed = db.execute("SELECT duty, last_error FROM outbox.housekeeping WHERE last_error IS NOT NULL")
    assert failed == []
