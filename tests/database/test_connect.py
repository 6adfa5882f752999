"""Worker connections: their settings, poolers that refuse them, and a server that goes and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout
from pydantic import SecretStr

from outbox.database import connect
from outbox.database.connect import database_url, normalise_url, open_pool, worker_conninfo, worker_pool
from outbox.settings import Settings, UsageError


async def test_a_pooled_connection_is_autocommit_and_bounded_in_time(db):
    pool = await open_pool(db.url)
    async with pool, pool.connection() as connection:
        assert connection.autocommit
        assert connection.prepare_threshold is None
        cursor = await connection.execute(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('statement_timeout', 'lock_timeout', 'application_name', 'tcp_user_timeout')"
        )
        assert dict(await cursor.fetchall()) | {"tcp_user_timeout": "0"} == {
            "statement_timeout": "10000",
            "lock_timeout": "1000",
            "application_name": "outbox worker",
            "tcp_user_timeout": "0",
        }
        assert conninfo_to_dict(connection.info.dsn)["tcp_user_timeout"] == "10000"


async def test_a_pooler_that_refuses_startup_options_gets_none(db, monkeypatch):
    tried: list[object] = []
    real = psycopg.AsyncConnection.connect.__func__

    async def pgbouncer(cls, conninfo="", **options):
        tried.append(options.get("options"))
        if "options" in options:
            raise psycopg.OperationalError("FATAL:  unsupported startup parameter in options: lock_timeout")
        return await real(cls, conninfo, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", classmethod(pgbouncer))
    async with worker_pool(db.url, max_size=1) as pool, pool.connection() as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
    assert tried == ["-c statement_timeout=10000 -c lock_timeout=1000", None]


async def test_any_other_refusal_is_not_tried_without_options(monkeypatch):
    tried: list[object] = []

    async def refuse(cls, conninfo="", **options):
        tried.append(options.get("options"))
        raise psycopg.OperationalError("FATAL:  too many connections")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", classmethod(refuse))
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        await connect.WorkerConnection.connect("", options="-c lock_timeout=1")
    assert len(tried) == 1


async def test_a_connection_to_a_demoted_primary_is_not_kept(db):
    async with worker_pool(db.url, max_size=1) as pool:
        async with pool.connection() as connection:
            demoted = connection.info.backend_pid
            await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with pool.connection() as connection:
                await connection.execute("CREATE TABLE public.anything ()")
        async with pool.connection() as connection:
            assert connection.info.backend_pid != demoted


async def test_a_server_that_comes_late_is_found(db, monkeypatch):
    monkeypatch.setattr(connect, "RECONNECT_GIVE_UP_S", 0.2)
    monkeypatch.setattr(connect, "POOL_TIMEOUT_S", 0.5)
    server = conninfo_to_dict(db.url)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    async with worker_pool(db.url.replace(f":{server['port']}/", f":{port}/"), max_size=1) as pool:
        with pytest.raises(PoolTimeout):
            async with pool.connection():
                pass
        relay = await asyncio.start_server(relay_to(server), "127.0.0.1", port)
        async with relay, asyncio.timeout(20):
            while True:
                try:
                    async with pool.connection() as connection:
                        await connection.execute("SELECT 1")
                        return
                except PoolTimeout:
                    continue


def relay_to(server: dict[str, object]):
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(server["host"]), int(str(server["port"]))
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    return relay


def test_several_hosts_want_the_one_that_writes():
    assert conninfo_to_dict(worker_conninfo("postgresql://u@a,b/app"))["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in conninfo_to_dict(worker_conninfo("postgresql://u@a/app"))


def test_what_the_url_says_wins():
    given = conninfo_to_dict(worker_conninfo("postgresql://u@a,b/app?target_session_attrs=any&connect_timeout=3"))
    assert given["target_session_attrs"] == "any"
    assert given["connect_timeout"] == "3"
    assert given["tcp_user_timeout"] == "10000"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg"])
def test_sqlalchemys_urls_are_understood(scheme):
    assert normalise_url(f"{scheme}://u:p@h/app") == "postgresql://u:p@h/app"


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/app", "postgresql://u:hunter2@[h/app", "u:hunter2@h"])
def test_a_url_of_something_else_is_one_line_without_the_password(url):
    with pytest.raises(UsageError, match="OUTBOX_DATABASE_URL") as caught:
        normalise_url(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["worker", "migrate", "doctor"])
def test_a_command_of_production_does_not_make_a_database_of_its_own(command, tmp_path):
    settings = Settings(database_url=None, data_dir=tmp_path)
    with pytest.raises(UsageError, match="OUTBOX_DATABASE_URL is not set"), database_url(settings, command):
        pass
    assert list(tmp_path.iterdir()) == []


def test_demo_without_a_url_uses_the_embedded_server_and_says_so(monkeypatch):
    class Embedded:
        def __init__(self, data_dir: Path) -> None:
            self.data_dir = data_dir

        def __enter__(self) -> str:
            return "postgresql://postgres@127.0.0.1:5433/outbox"

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(connect, "embedded_server", Embedded)
    said: list[str] = []
    with database_url(Settings(database_url=None, data_dir=Path("/srv/x")), "demo", said.append) as url:
        assert url.endswith("/outbox")
    assert said == ["OUTBOX_DATABASE_URL is not set: using the embedded PostgreSQL on port 5433 in /srv/x"]


def test_an_operators_command_joins_the_embedded_server_of_outbox_up(monkeypatch, tmp_path):
    with pytest.raises(UsageError), database_url(Settings(data_dir=tmp_path), "stats"):
        pass
    monkeypatch.setattr(connect.EmbeddedServer, "is_running", lambda server: True)
    joined = contextlib.nullcontext("postgresql://postgres@127.0.0.1:5433/outbox")
    monkeypatch.setattr(connect, "embedded_server", lambda data_dir: joined)
    with database_url(Settings(data_dir=tmp_path), "stats") as url:
        assert url.endswith(":5433/outbox")


def test_a_url_is_taken_from_the_settings():
    settings = Settings(database_url=SecretStr("postgresql+psycopg://u:p@h/app"))
    with database_url(settings, "worker") as url:
        assert url == "postgresql://u:p@h/app"
