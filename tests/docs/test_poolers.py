"""docs/operations/poolers.md: PgBouncer in transaction mode between everything and the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import outbox
from outbox.database.binaries import Account, give_to, server_process_options
from outbox.database.embedded import free_port
from outbox.database.migrate import migrate
from outbox.operate.stage import simulator_process, worker_processes
from tests.conftest import Database

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
DEADLINE_S = 40.0
CONFIGURATION = """\
[databases]
* = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
"""

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)


@pytest.fixture
def pooled(empty_db: Database) -> Iterator[Database]:
    """An empty database behind a PgBouncer of its own."""
    parts = conninfo_to_dict(empty_db.url)
    account = Account.for_server()  # pgbouncer refuses root as well
    home = Path(tempfile.mkdtemp(prefix="outbox-pgbouncer-", dir="/tmp"))
    port = free_port()
    configuration = home / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(
            host=parts["host"],
            port=parts.get("port", 5432),
            user=parts["user"],
            password=f"password={parts['password']}" if "password" in parts else "",
            listen=port,
        )
    )
    for path in (home, configuration):
        give_to(account, path)
    pooler = subprocess.Popen(
        [str(PROGRAM), str(configuration)], stderr=subprocess.DEVNULL, **server_process_options(account)
    )
    try:
        database = Database(make_conninfo(empty_db.url, host="127.0.0.1", port=str(port)))
        until_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                database.execute("SELECT 1")
                break
            except psycopg.OperationalError:
                assert pooler.poll() is None
                assert time.monotonic() < until_s
                time.sleep(0.02)
        yield database
    finally:
        pooler.terminate()
        pooler.wait(DEADLINE_S)
        shutil.rmtree(home)


async def test_everything_works_behind_a_transaction_pooler(pooled, tmp_path):
    migrate(pooled.url)
    connections = [pooled.connect(prepare_threshold=None) for _ in range(3)]
    with (tmp_path / "log").open("wb") as log:
        async with (
            simulator_process() as telegram,
            worker_processes(pooled.url, telegram.url, telegram.url, log=log),
        ):
            for i in range(45):
                with connections[i % 3].transaction():
                    outbox.enqueue(connections[i % 3], chat_id=1000 + i, payload={"text": f"message {i}"})
            last = outbox.send(connections[0], chat_id=2000, payload={"text": "the last"}, priority=3)
            status = await asyncio.to_thread(outbox.wait, connections[1], last, DEADLINE_S)
            assert (status.status, status.cancel_requested) == ("sent", False)
            [(ticket, _, delay_s)] = pooled.execute("CALL outbox.acquire('default', '3000')")
            assert ticket is not None
            assert delay_s >= 0
            async with asyncio.timeout(DEADLINE_S):
                while pooled.execute("SELECT count(*) FROM outbox.history WHERE status = 'sent'") != [(46,)]:
                    await asyncio.sleep(0.1)
                while "NOTIFY does not reach this worker" not in (tmp_path / "log").read_text():
                    await asyncio.sleep(0.1)
            stats = await telegram.stats()
    for connection in connections:
        connection.close()
    assert (stats["accepted"], stats["duplicates"], stats["max_in_flight_per_chat"]) == (46, 0, 1)
