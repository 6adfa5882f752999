"""Replies of a bot beside the queue: together they break no limit, with the database and without."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import psycopg
import pytest

from outbox.limit import Limiter, Slot
from outbox.operate.stage import TOKEN, Simulator, simulator_process, worker_processes

RUN_S = 5.0


@contextlib.asynccontextmanager
async def limiting(url: str, **options: Any) -> AsyncIterator[tuple[Limiter, list[bool]]]:
    """A limiter, and whether it was local after each change."""
    changes: list[bool] = []
    async with Limiter(url, on_change=lambda local, _: changes.append(local), **options) as limiter:
        yield limiter, changes


async def test_a_slot_is_given_settled_and_the_next_of_the_chat_waits_for_its_turn(db):
    async with limiting(db.url) as (limiter, changes):
        async with limiter.slot(42) as slot:
            assert not slot.local
            started = time.monotonic()
        async with limiter.slot(42):
            assert time.monotonic() - started >= 1
        assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]
        assert changes == []


async def test_a_429_that_was_told_makes_the_chat_wait(db):
    async with limiting(db.url) as (limiter, _):
        async with limiter.slot(42) as slot:
            slot.flooded(30)
        with pytest.raises(TimeoutError, match="no slot for chat 42 within 2 s"):
            await limiter.acquire(42, timeout_s=2)
        await limiter.settle(await limiter.acquire(43, timeout_s=2))


async def test_a_caller_that_is_cancelled_gives_its_slot_back(db):
    db.execute("UPDATE outbox.bot SET rate = 1")
    async with limiting(db.url) as (limiter, _):
        await limiter.acquire(1)
        waiting = asyncio.create_task(limiter.acquire(2))
        await _until(lambda: db.execute("SELECT count(*) FROM outbox.ticket") == [(2,)])
        waiting.cancel()
        await _until(lambda: db.execute("SELECT count(*) FROM outbox.ticket") == [(1,)])


async def test_what_the_database_refuses_is_the_callers_and_no_reason_to_go_local(db):
    async with limiting(db.url) as (limiter, changes):
        with pytest.raises(psycopg.errors.CheckViolation, match="neither a number nor a @name"):
            await limiter.acquire("Anna")
    async with limiting(db.url, bot="nobody") as (limiter, changes):
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody" does not exist'):
            await limiter.acquire(1)
        assert changes == []


@pytest.mark.parametrize("database", ["postgresql://user:secret@", "host=x password='secret"])
def test_a_conninfo_that_cannot_be_read_is_not_quoted(database):
    if database.startswith("postgresql"):
        database += "[bad"
    with pytest.raises(ValueError, match="cannot be read") as caught:
        Limiter(database)
    assert "secret" not in str(caught.value)


async def test_many_tasks_and_a_worker_get_no_429(db):
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload)"
        " SELECT CASE WHEN i % 20 = 0 THEN -1 - i % 3 ELSE 1 + i % 60 END, jsonb_build_object('text', i)"
        " FROM generate_series(1, 400) i"
    )
    async with (
        simulator_process("--jitter-ms", "0-30") as telegram,
        worker_processes(db.url, telegram.url),
        limiting(db.url) as (limiter, changes),
        aiohttp.ClientSession() as session,
    ):
        while not (await telegram.stats())["accepted"]:
            await asyncio.sleep(0.05)
        deadline = time.monotonic() + RUN_S
        # The same chats as the queue's, and some more.
        sent = await asyncio.gather(
            *(_reply_until(deadline, limiter, session, telegram, chat_id) for chat_id in [*range(1, 61), -1, -2, -3])
        )
        stats = await telegram.stats()
    assert stats["rejected"] == {"bot": 0, "chat": 0, "group": 0}
    assert stats["max_in_1s"] <= 30
    assert stats["max_per_chat_in_1s"] <= 1
    assert sum(sent) >= 10 * RUN_S, "the bot sent"
    assert stats["accepted"] - sum(sent) >= 2 * RUN_S, "and the queue too"
    assert stats["accepted"] >= 0.9 * 30 * RUN_S
    assert changes == []


async def test_without_a_database_it_keeps_a_share_of_the_limits_and_says_so_until_it_is_back(db, server, caplog):
    async with limiting(db.url, timeout_s=1.0, local_share=0.5) as (limiter, changes):
        await limiter.settle(await limiter.acquire(1))
        with _away(db, server):
            slots = await asyncio.gather(*(_timed(limiter, chat_id) for chat_id in range(2, 20)))
            assert all(slot.local for slot, _ in slots)
            times = sorted(at for _, at in slots)
            assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 15
            assert changes == [True]
            assert "the database is away" in caplog.text
        await _until(lambda: changes == [True, False])
        slot = await limiter.acquire(100)
        assert not slot.local
        await limiter.settle(slot)


async def test_a_database_that_hangs_is_waited_for_no_longer_than_the_timeout(db):
    async with limiting(db.url, timeout_s=0.3) as (limiter, changes):
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.bot")
            started = time.monotonic()
            slot = await limiter.acquire(1)
            assert slot.local
            assert time.monotonic() - started < 4
            await limiter.settle(slot)
        await _until(lambda: changes == [True, False])


async def test_an_answer_that_the_database_could_not_be_told_is_brought_when_it_is_back(db, server):
    async with limiting(db.url, timeout_s=1.0) as (limiter, changes):
        slot = await limiter.acquire(42)
        with _away(db, server):
            await limiter.settle(slot, "flood", 60)
            assert changes == [True]
        await _until(lambda: changes == [True, False])
        [(wait_s,)] = db.execute("SELECT extract(epoch FROM next_send_at - outbox.clock())::float8 FROM outbox.chat")
        assert 40 < wait_s <= 60


async def test_what_was_sent_without_the_database_counts_when_it_is_back(db, server):
    [(before,)] = db.execute("SELECT outbox.clock()")
    async with limiting(db.url, timeout_s=1.0, local_share=1.0) as (limiter, changes):
        with _away(db, server):
            for chat_id in range(2, 12):
                await limiter.settle(await limiter.acquire(chat_id))
        await _until(lambda: changes == [True, False])
        [(counted,)] = db.execute(
            "SELECT count(*) FROM outbox.bucket, unnest(free_at) f WHERE bot = 'default' AND f > %s", [before]
        )
        assert 0 < counted <= 10


async def test_a_group_gets_no_more_than_its_limit_when_the_database_goes_and_when_it_is_back(db):
    db.execute("UPDATE outbox.bot SET chat_interval_s = 0.1, group_limit = 4, group_window_s = 60")
    async with limiting(db.url, timeout_s=0.3, local_share=0.5) as (limiter, changes):
        sent = []

        async def reply(chat_id: int, timeout_s: float) -> None:
            async with limiter.slot(chat_id, timeout_s=timeout_s) as slot:
                sent.append((chat_id, slot.local))

        for chat_id in (-1, -1, -2):
            await reply(chat_id, 10)
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.bot")
            # Its half of the limit is two: one group had both with the database, the other one.
            await reply(-2, 10)
            for chat_id in (-1, -2):
                with pytest.raises(TimeoutError):
                    await reply(chat_id, 1)
        await _until(lambda: changes == [True, False])
        for chat_id in (-1, -1, -2, -2):
            await reply(chat_id, 10)
        for chat_id in (-1, -2):
            with pytest.raises(TimeoutError):
                await reply(chat_id, 3)
    assert sorted(sent) == [(-2, False)] * 3 + [(-2, True)] + [(-1, False)] * 4


async def test_every_local_message_to_a_group_counts_when_the_database_is_back(db):
    db.execute("UPDATE outbox.bot SET chat_interval_s = 0.1")
    async with limiting(db.url, timeout_s=0.3, local_share=1.0) as (limiter, changes):
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.bot")
            for _ in range(3):
                await limiter.settle(await limiter.acquire(-1))
            await limiter.settle(await limiter.acquire(-1), "unsent")
            assert changes == [True]
        await _until(lambda: changes == [True, False])
        assert db.execute("SELECT cardinality(group_sent_at) FROM outbox.chat") == [(3,)]


@pytest.mark.parametrize("retry_after_s", [-1, float("nan"), float("inf"), 1e9])
async def test_a_retry_after_that_is_none_is_refused_at_once(db, retry_after_s):
    async with limiting(db.url) as (limiter, _):
        slot = await limiter.acquire(42)
        slot.flooded(retry_after_s)
        with pytest.raises(ValueError, match=r"retry_after of .* is none"):
            await limiter.settle(slot)
        await limiter.settle(slot, retry_after_s=1)
        assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]


async def test_an_answer_that_the_database_refuses_keeps_no_other_back(db, caplog):
    async with limiting(db.url, timeout_s=0.3) as (limiter, changes):
        slots = [await limiter.acquire(chat_id) for chat_id in (1, 2)]
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.ticket")
            await limiter.settle(slots[0], "nonsense")
            await limiter.settle(slots[1])
        await _until(lambda: changes == [True, False])
        [(left,)] = db.execute("SELECT array_agg(chat_id) FROM outbox.ticket")
        assert left == ["1"]
        assert "not told again" in caplog.text


async def test_closing_brings_the_answers_that_are_on_their_way(db):
    async with limiting(db.url) as (limiter, _):
        db.execute("UPDATE outbox.bot SET rate = 1")
        await limiter.settle(await limiter.acquire(1))
        waiting = asyncio.create_task(limiter.acquire(2))
        await _until(lambda: db.execute("SELECT count(*) FROM outbox.ticket") == [(1,)])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]


async def test_closing_brings_what_is_owed_to_a_database_that_is_back(db):
    async with limiting(db.url, timeout_s=0.3) as (limiter, changes):
        slot = await limiter.acquire(42)
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.ticket")
            await limiter.settle(slot)
            assert changes == [True]
    assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]


async def test_closing_waits_for_a_database_that_hangs_no_longer_than_two_seconds(db):
    async with limiting(db.url, timeout_s=0.3) as (limiter, _):
        slot = await limiter.acquire(42)
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.ticket")
            await limiter.settle(slot)
            started = time.monotonic()
            await limiter.close()
            assert time.monotonic() - started < 4


async def test_a_reply_waits_for_its_turn_to_ask_no_longer_than_it_has_time(db):
    async with limiting(db.url, timeout_s=3.0) as (limiter, changes):
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.bot")
            first = [asyncio.create_task(limiter.acquire(chat_id)) for chat_id in (1, 2)]
            await _until(lambda: limiter._asking.locked())
            started = time.monotonic()
            with pytest.raises(TimeoutError, match=r"no slot for chat 3 within 0\.1 s"):
                await limiter.acquire(3, timeout_s=0.1)
            assert time.monotonic() - started < 1
            assert changes == []
        await asyncio.gather(*first)


async def _reply_until(
    deadline: float, limiter: Limiter, session: aiohttp.ClientSession, telegram: Simulator, chat_id: int
) -> int:
    sent = 0
    while (left_s := deadline - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            async with limiter.slot(chat_id, timeout_s=left_s) as slot:
                body = {"chat_id": chat_id, "text": "reply"}
                async with session.post(f"{telegram.url}/bot{TOKEN}/sendMessage", json=body) as answer:
                    told = await answer.json()
                if answer.status == 429:
                    slot.flooded(told["parameters"]["retry_after"])
                sent += 1
    return sent


async def _timed(limiter: Limiter, chat_id: int) -> tuple[Slot, float]:
    slot = await limiter.acquire(chat_id)
    at = time.monotonic()
    await limiter.settle(slot)
    return slot, at


@contextlib.contextmanager
def _away(db: Any, server: Any) -> Any:
    """Let nobody connect to this database while the block runs."""
    name = psycopg.conninfo.conninfo_to_dict(db.url)["dbname"]
    server.execute(psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(psycopg.sql.Identifier(name)))
    server.execute(
        psycopg.sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name)
    )
    yield
    server.execute(psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(psycopg.sql.Identifier(name)))


async def _until(condition: Callable[[], bool], deadline_s: float = 15) -> None:
    """Wait until the condition holds: the database cannot tell us, so it is asked."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)
