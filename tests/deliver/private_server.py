"""A PostgreSQL of one test file's own, which can crash and come back."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from outbox.database.embedded import EmbeddedServer
from outbox.database.migrate import migrate

GONE_WITHIN_S = 20.0


class PrivateServer:
    """The embedded server in a folder of its own, durable as in production, and one migrated database in it."""

    def __init__(self, server: EmbeddedServer, database: str) -> None:
        self._server = server
        self._database = database

    @property
    def url(self) -> str:
        return make_conninfo(self._server.url, dbname=self._database)

    async def start(self, port: int | None = None) -> None:
        """Start it, after a crash with its recovery; on another port it is as a standby that was promoted."""
        if port is not None:
            (self._server.home / "port").write_text(f"{port}\n")
        await asyncio.to_thread(self._server.start)

    async def crash(self) -> None:
        """Stop it in immediate mode: no checkpoint, no goodbye."""
        pid = int((self._server.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGQUIT)
        await asyncio.to_thread(_wait_for_end, pid)


@contextmanager
def private_server() -> Iterator[EmbeddedServer]:
    """One that runs, with the template of each test's database; gone after the block."""
    # Not tmp_path: `nobody`, who runs root's PostgreSQL, could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="outbox-test-server-", dir="/tmp"))
    folder.chmod(0o711)
    server = EmbeddedServer(folder)
    try:
        migrate(server.start())
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def database_of_one_test(server: EmbeddedServer) -> Iterator[PrivateServer]:
    """A migrated database; the server runs, however the test before left it."""
    server.start()
    maintenance = make_conninfo(server.url, dbname="postgres")
    name = f"test_{time.monotonic_ns()}"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE outbox").format(sql.Identifier(name)))
    yield PrivateServer(server, name)


def _wait_for_end(pid: int) -> None:
    until = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError(f"PostgreSQL {pid} lives on after SIGQUIT")
