"""PostgreSQL crashes while messages flow: what was sent stays sent, and is not sent again."""

import asyncio
import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outbox.database.embedded import EmbeddedServer, free_port
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError
from outbox.deliver.events import DatabaseFailed, LeaseTaken, Sent, Spooled, Stopped
from outbox.operate.stage import TOKEN, Simulator, simulator_process, start_worker, stop_process
from outbox.simulator.config import Config
from outbox.simulator.ledger import Call
from outbox.simulator.server import Running, serve
from tests.deliver.conftest import working
from tests.deliver.private_server import PrivateServer, database_of_one_test, private_server

LEASE_S = 20.0


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    with private_server() as server:
        yield server


@pytest.fixture
def postgres(embedded: EmbeddedServer) -> Iterator[PrivateServer]:
    with database_of_one_test(embedded) as server:
        yield server


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def insert(url: str, messages: int, chats: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload)"
            " SELECT 1 + n %% %s, jsonb_build_object('text', n) FROM generate_series(1, %s) n",
            [chats, messages],
        )


def sends(telegram: Running) -> list[Call]:
    """The messages that reached Telegram."""
    return [call for call in telegram.ledger.calls if call.method == "sendMessage"]


async def until(condition: Callable[[], Any], deadline_s: float = 15.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


def all_sent(url: str, count: int) -> bool:
    return rows(url, "SELECT status, count(*)::int FROM outbox.history GROUP BY 1") == [("sent", count)]


async def test_a_crash_of_postgresql_in_the_middle_loses_nothing_and_sends_nothing_twice(postgres, tmp_path):
    messages, seed = 240, 7
    chance = random.Random(seed)
    insert(postgres.url, messages, chats=80)
    async with (
        serve(Config(latency_s=0.02, jitter_s=(0.0, 0.03), seed=seed)) as telegram,
        working(postgres.url, telegram.url, spool_dir=tmp_path) as (_, seen),
    ):
        for share in (0.2, 0.5):
            await seen.first(Sent, round(messages * share) + chance.randrange(20))
            await postgres.crash()
            await asyncio.sleep(chance.uniform(0.0, 1.5))
            await postgres.start()
        # The lanes of a claim whose answer was lost come back when the lease of the name they were claimed in ends.
        await until(lambda: all_sent(postgres.url, messages), deadline_s=LEASE_S + 25.0)
    assert seen.of(DatabaseFailed)
    calls = sends(telegram)
    assert Counter(call.text for call in calls) == Counter(map(str, range(1, messages + 1))), f"seed {seed}"
    assert {call.status for call in calls} == {200}, f"seed {seed}"
    told = rows(postgres.url, "SELECT chat_id, telegram_message_id FROM outbox.history")
    assert Counter(told) == Counter((call.chat, call.message_id) for call in calls), f"seed {seed}"


async def test_a_worker_follows_its_database_from_host_to_host_of_the_url(postgres, tmp_path):
    ports = [int(str(conninfo_to_dict(postgres.url)["port"])), free_port()]
    both = make_conninfo(postgres.url, host="127.0.0.1,127.0.0.1", port=",".join(map(str, ports)))
    async with (
        serve(Config()) as telegram,
        working(both, telegram.url, spool_dir=tmp_path) as (_, seen),
    ):
        for number, port in enumerate([ports[0], ports[1], ports[0]], start=1):
            await postgres.crash()
            await postgres.start(port)
            insert(postgres.url, 1, chats=1)
            await seen.first(Sent, number)
        await until(lambda: all_sent(postgres.url, 3))


async def test_a_server_that_is_no_longer_the_primary_is_left(db):
    connections = Connections(db.url, "outbox test")
    await connections.open()
    try:
        # A call that came first would make the pool open both, and the next one might get the other.
        await connections._pool.wait()
        await connections.call("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseAwayError, match="not the primary"):
            await connections.call("SELECT outbox.register_worker('w', '{default}', 'h', 1, 'v')")
        assert await connections.call("SELECT outbox.register_worker('w', '{default}', 'h', 1, 'v')")
    finally:
        await connections.close()


@contextlib.asynccontextmanager
async def swallowing(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the database that takes everything and brings nothing, and hangs up on nobody, once the event is set."""
    given = conninfo_to_dict(url)
    hole = asyncio.Event()
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not hole.is_set():
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_there, writer_there = await asyncio.open_connection(str(given["host"]), int(str(given["port"])))
        pumps.add(asyncio.create_task(pump(reader, writer_there)))
        pumps.add(asyncio.create_task(pump(reader_there, writer)))

    proxy = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield make_conninfo(url, host="127.0.0.1", port=proxy.sockets[0].getsockname()[1]), hole
    finally:
        proxy.close()
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


@pytest.mark.parametrize("end", ["timeout", "cancelled"])
async def test_a_call_to_a_server_that_hangs_ends_when_it_shall(db, end):
    async with swallowing(db.url) as (url, hole):
        connections = Connections(url, "outbox test")
        await connections.open()
        try:
            await connections.call("SELECT 1")
            hole.set()
            async with asyncio.timeout(3):  # psycopg's own cancelling takes 10
                if end == "timeout":
                    with pytest.raises(AnswerLostError, match="no answer within"):
                        await connections.call("SELECT 1", timeout_s=0.2)
                else:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await connections.call("SELECT 1")
            hole.clear()
            async with asyncio.timeout(10):
                assert await connections.call("SELECT 2") == [(2,)]
        finally:
            await connections.close()


async def test_an_empty_batch_asks_whether_the_server_takes_results_at_all(db):
    connections = Connections(db.url, "outbox test")
    await connections.open()
    try:
        assert await connections.call("SELECT outbox.complete(%s::bigint, %s::jsonb)", (1, "[]")) == [(0,)]
    finally:
        await connections.close()


async def test_results_are_brought_before_own_lanes_are_reaped(postgres, tmp_path):
    async with (
        serve(Config(answer_s=0.5)) as telegram,
        working(postgres.url, telegram.url, spool_dir=tmp_path) as (_, seen),
    ):
        insert(postgres.url, 5, chats=5)
        await until(lambda: len(sends(telegram)) == 5)
        # As if the outage were longer than the lease: at its end the worker finds itself dead.
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("UPDATE outbox.worker SET lease_until = clock_timestamp() - interval '1 s'")
        await postgres.crash()
        await seen.first(Sent, 5)
        await seen.first(Spooled)
        await postgres.start()
        await until(lambda: all_sent(postgres.url, 5))
        assert rows(postgres.url, "SELECT DISTINCT outcome FROM outbox.attempt") == [("sent",)]
    assert len(sends(telegram)) == 5
    assert seen.of(LeaseTaken)


# --- as processes -----------------------------------------------------------------------------------------------------


async def sent_while_away(
    postgres: PrivateServer, telegram: Simulator, data_dir: Path, log: Any
) -> asyncio.subprocess.Process:
    """A worker whose five messages Telegram has, and which cannot say so: the database crashed before the answers."""
    variables = {"OUTBOX_TOKEN": TOKEN, "OUTBOX_DATA_DIR": str(data_dir), "OUTBOX_LOG": "json"}
    insert(postgres.url, 5, chats=5)
    worker = await start_worker(
        postgres.url, telegram.url, name="first", tokens=variables, options=("--grace-s", "2"), log=log
    )
    async with asyncio.timeout(20):
        while len(await arrived(telegram)) < 5:
            await asyncio.sleep(0.02)
    await postgres.crash()
    spool = data_dir / "spool"
    await until(lambda: sum(len(path.read_bytes().splitlines()) for path in spool.glob("*.jsonl")) == 5)
    return worker


async def arrived(telegram: Simulator) -> list[dict[str, Any]]:
    return [call for call in await telegram.log() if call["method"] == "sendMessage"]


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
async def test_results_of_a_process_that_ended_while_the_database_was_away_are_found_by_the_next(
    postgres, tmp_path, end
):
    with tempfile.TemporaryFile() as log:
        async with simulator_process("--answer-ms", "1000") as telegram:
            worker = await sent_while_away(postgres, telegram, tmp_path, log)
            [left] = (tmp_path / "spool").glob("*.jsonl")
            assert TOKEN not in left.read_text()
            if end == "SIGKILL":
                worker.kill()
                await worker.wait()
            else:
                assert await stop_process(worker) == 0
            log.seek(0)
            said = log.read().decode()
            assert ('"spooled": 5' in said) == (end == "SIGTERM"), said
            assert left.exists()
            await postgres.start()
            variables = {"OUTBOX_TOKEN": TOKEN, "OUTBOX_DATA_DIR": str(tmp_path)}
            second = await start_worker(postgres.url, telegram.url, name="second", tokens=variables, log=log)
            try:
                await until(lambda: all_sent(postgres.url, 5))
                await until(lambda: not left.exists())
            finally:
                assert await stop_process(second) == 0
            assert len(await arrived(telegram)) == 5
    assert rows(postgres.url, "SELECT outcome, attempt, count(*)::int FROM outbox.attempt GROUP BY 1, 2") == [
        ("sent", 1, 5)
    ]
    assert not list((tmp_path / "spool").iterdir())


async def test_a_stop_while_the_database_is_away_says_what_is_on_the_disk(postgres, tmp_path):
    async with serve(Config(answer_s=0.5)) as telegram:
        async with working(postgres.url, telegram.url, spool_dir=tmp_path, grace_s=1.0) as (worker, seen):
            insert(postgres.url, 3, chats=3)
            await until(lambda: len(sends(telegram)) == 3)
            await postgres.crash()
            worker.stop()
        [stopped] = seen.of(Stopped)
        assert (stopped.unflushed, stopped.spooled) == (3, 3)
