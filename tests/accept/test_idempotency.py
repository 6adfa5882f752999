"""A key that was used already: nothing inserted, nothing raised; the same key at the same time waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

INSERT = (
    "INSERT INTO outbox.message (chat_id, payload, idempotency_key) VALUES (42, '{}', %s) RETURNING id, correlation_id"
)


def test_a_repeated_key_inserts_nothing_and_returns_no_row(db):
    with db.connect() as connection:
        assert len(connection.execute(INSERT, ["order-1"]).fetchall()) == 1
        again = connection.execute(INSERT, ["order-1"])
        assert again.rowcount == 0
        assert again.fetchall() == []
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]
    assert db.execute("SELECT count(*) FROM outbox.wakeup") == [(1,)]


def test_a_repeated_key_does_not_abort_the_business_transaction(db):
    db.execute(INSERT, ["order-1"])
    with db.connect(autocommit=False) as connection:
        connection.execute("CREATE TABLE public.business (n int)")
        connection.execute(INSERT, ["order-1"])
        connection.execute("INSERT INTO public.business VALUES (1)")
    assert db.execute("SELECT n FROM public.business") == [(1,)]


def test_a_key_twice_in_one_statement_is_one_message(db):
    rows = db.execute(
        "INSERT INTO outbox.message (chat_id, payload, idempotency_key)"
        " VALUES (1, '{}', 'a'), (2, '{}', 'b'), (1, '{}', 'a') RETURNING id"
    )
    assert len(rows) == 2
    assert db.execute("SELECT chat_id FROM outbox.message ORDER BY 1") == [("1",), ("2",)]


def test_the_same_key_of_another_bot_is_another_message(db):
    db.execute("SELECT outbox.set_bot('alerts')")
    for bot in ("default", "alerts"):
        db.execute(
            "INSERT INTO outbox.message (bot, chat_id, payload, idempotency_key) VALUES (%s, 42, '{}', 'a')", [bot]
        )
    assert db.execute("SELECT count(*) FROM outbox.message") == [(2,)]


def test_a_key_may_be_used_again_after_it_expired(db, clock):
    assert len(db.execute(INSERT, ["a"])) == 1
    clock.advance(7 * 86400 - 60)
    assert db.execute(INSERT, ["a"]) == []
    clock.advance(120)
    assert len(db.execute(INSERT, ["a"])) == 1
    assert db.execute(INSERT, ["a"]) == []


def test_the_bot_says_how_long_a_key_is_kept(db, clock):
    db.execute("UPDATE outbox.bot SET idempotency_s = 60")
    db.execute(INSERT, ["a"])
    clock.advance(61)
    assert len(db.execute(INSERT, ["a"])) == 1


def test_a_key_outlives_its_message(db):
    db.execute(INSERT, ["a"])
    db.execute("DELETE FROM outbox.message")
    assert db.execute(INSERT, ["a"]) == []


@pytest.mark.parametrize(
    "bad", ["priority, chat_id) VALUES ('{}', 'a', 9, '42')", "bot, chat_id) VALUES ('{}', 'a', 'nobody', '42')"]
)
def test_a_refused_row_does_not_use_up_its_key(db, bad):
    with db.connect() as connection, pytest.raises(psycopg.IntegrityError):
        connection.execute(f"INSERT INTO outbox.message (payload, idempotency_key, {bad}")
    assert len(db.execute(INSERT, ["a"])) == 1


def test_a_rolled_back_message_does_not_use_up_its_key(db):
    with db.connect(autocommit=False) as connection:
        connection.execute(INSERT, ["a"])
        connection.rollback()
    assert len(db.execute(INSERT, ["a"])) == 1


def test_an_empty_key_is_a_key(db):
    assert len(db.execute(INSERT, [""])) == 1
    assert db.execute(INSERT, [""]) == []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("end", "stored"), [("commit", 0), ("rollback", 1)])
async def test_a_second_writer_of_a_key_waits_for_the_first_and_then_knows(db, waits_for_a_lock, end, stored):
    first: Any = await db.connect_async(autocommit=False)
    second: Any = await db.connect_async(autocommit=False)
    async with first, second:
        await first.execute(INSERT, ["a"])
        waiting = asyncio.create_task(second.execute(INSERT, ["a"]))
        await _until(lambda: waits_for_a_lock(second.info.backend_pid))
        await getattr(first, end)()
        cursor = await waiting
        assert len(await cursor.fetchall()) == stored
        await second.commit()
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]
    assert db.execute("SELECT count(*) FROM outbox.idempotency i JOIN outbox.message m ON m.id = i.message_id") == [
        (1,)
    ]


async def test_writers_of_different_keys_do_not_wait(db):
    with db.connect(autocommit=False) as first, db.connect(autocommit=False) as second:
        for connection, key in ((first, "a"), (second, "b"), (first, "c"), (second, "d")):
            connection.execute("SET LOCAL lock_timeout = '200ms'")
            connection.execute(INSERT, [key])


async def test_repeats_of_a_key_that_was_committed_long_ago_do_not_wait_for_each_other(db):
    db.execute(INSERT, ["a"])
    with db.connect(autocommit=False) as first, db.connect(autocommit=False) as second:
        for connection in (first, second):
            connection.execute("SET LOCAL lock_timeout = '200ms'")
            assert connection.execute(INSERT, ["a"]).fetchall() == []
