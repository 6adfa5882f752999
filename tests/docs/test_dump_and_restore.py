"""docs/operations/backup.md: a dump restored elsewhere sends what waited in it, once somebody said that it may."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.database.binaries import installed_programs, run
from outbox.database.migrate import migrate
from outbox.operate.stage import TOKEN, Simulator, simulator_process, start_worker, stop_process
from tests.conftest import Database, Server

DEADLINE_S = 40.0
ENDED = 12
WAITING = 15


@pytest.fixture
def restored(server: Server) -> Iterator[Database]:
    """An empty database to restore into."""
    database = server.create_database()
    yield database
    server.drop_database(database)


def insert(db: Database, messages: int, first_chat: int) -> None:
    """To a chat each."""
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, idempotency_key) SELECT (%s::int + i)::text,"
        " jsonb_build_object('text', format('to %%s', %s::int + i)), format('key %%s', %s::int + i)"
        " FROM generate_series(1, %s) i",
        [first_chat, first_chat, first_chat, messages],
    )


async def deliver(db: Database, telegram: Simulator, accepted: int) -> None:
    """Run a worker until the simulator has accepted so many, and the database says so."""
    worker = await start_worker(db.url, telegram.url, name="w")
    try:
        async with asyncio.timeout(DEADLINE_S):
            while db.execute("SELECT count(*) FROM outbox.history WHERE status = 'sent'") != [(accepted,)]:
                assert worker.returncode is None
                await asyncio.sleep(0.1)
    finally:
        assert await stop_process(worker) == 0


def dump_and_restore(source: Database, target: Database, file: Path) -> None:
    """As the page has it, with the programs of the embedded server."""
    programs = installed_programs() / "bin"
    dumped = run([str(programs / "pg_dump"), "-Fc", "-d", source.url, "-f", str(file)], None)
    assert dumped.returncode == 0, dumped.stderr
    restored = run([str(programs / "pg_restore"), "-d", target.url, "--no-owner", "--no-acl", str(file)], None)
    # An older server does not know a setting of the newer program, which goes on.
    errors = [line for line in restored.stderr.splitlines() if "error:" in line and "transaction_timeout" not in line]
    assert errors == []


async def test_a_restored_dump_is_refused_until_it_is_adopted_and_then_sends_what_waited(db, restored, tmp_path):
    async with simulator_process() as telegram:
        insert(db, ENDED, first_chat=1000)
        await deliver(db, telegram, ENDED)
        insert(db, WAITING, first_chat=2000)
        dump_and_restore(db, restored, tmp_path / "app.dump")
        migrate(restored.url)

        refused = await start_worker(restored.url, telegram.url, name="w", log=(tmp_path / "log").open("wb"))
        async with asyncio.timeout(DEADLINE_S):
            assert await refused.wait() == 1
        assert "outbox adopt --send" in (tmp_path / "log").read_text()

        environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
        adopted = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "outbox", "adopt", "--send"],
            env=environment | {"OUTBOX_DATABASE_URL": restored.url, "OUTBOX_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
        )
        assert adopted.returncode == 0, adopted.stderr
        insert(restored, WAITING, first_chat=2000)  # the same keys
        await deliver(restored, telegram, ENDED + WAITING)
        stats = await telegram.stats()
        assert (stats["accepted"], stats["duplicates"]) == (ENDED + WAITING, 0)


def test_a_restore_leaves_no_function_open_to_the_public_after_migrate(db, restored, tmp_path):
    dump_and_restore(db, restored, tmp_path / "app.dump")
    open_to_public = (
        "SELECT count(*) FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " WHERE p.pronamespace = 'outbox'::regnamespace AND a.grantee = 0"
    )
    [(before,)] = restored.execute(open_to_public)
    assert before > 0, "as the page warns"
    migrate(restored.url)
    assert restored.execute(open_to_public) == [(0,)]
