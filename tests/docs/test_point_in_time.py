"""docs/operations/backup.md: a recovered server is taken for the original; adopt --hold keeps the rest."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from outbox.database.binaries import Account, give_to, run, runnable_programs
from outbox.database.embedded import free_port
from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from tests.conftest import Database
from tests.docs.endings import end

DEADLINE_S = 30.0
TARGET = "before_it_went_wrong"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the account that runs PostgreSQL."""
    path = Path(tempfile.mkdtemp(prefix="outbox-recovery-", dir="/tmp"))
    account = Account.for_server()
    give_to(account, path)
    for name in ("archive", "base"):
        (path / name).mkdir(mode=0o700)
        give_to(account, path / name)
    yield path
    shutil.rmtree(path)


def program(folder: Path, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs to its end."""
    account = Account.for_server()
    done = run([str(runnable_programs(folder, account) / name), *arguments], account)
    assert done.returncode == 0, done.stderr


def archive_everything(db: Database) -> None:
    [(last,)] = db.execute("SELECT pg_walfile_name(pg_switch_wal())")
    until_s = time.monotonic() + DEADLINE_S
    while (db.execute("SELECT last_archived_wal FROM pg_stat_archiver")[0][0] or "") < last:
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.fixture
def recovered(folder: Path) -> Iterator[Database]:
    """Message 1 was sent before the target, 2 after it, 3 never; a server that was recovered to the target."""
    settings = {"archive_mode": "on", "archive_command": f"cp %p {folder}/archive/%f", "full_page_writes": "on"}
    with ephemeral_server(settings) as url:
        db = Database(url)
        migrate(url)
        assert db.execute("SELECT * FROM outbox.check_identity('default', '{\"default\": 1}')") == []
        where = conninfo_to_dict(url)
        base = (
            "-h",
            str(where["host"]),
            "-p",
            str(where["port"]),
            "-U",
            "postgres",
            "-D",
            f"{folder}/base",
            "-c",
            "fast",
        )
        program(folder, "pg_basebackup", *base)
        db.execute("INSERT INTO outbox.message (chat_id, payload) SELECT i, '{}' FROM generate_series(1, 3) i")
        end(db, [1])
        db.execute("SELECT pg_create_restore_point(%s)", [TARGET])
        end(db, [2])
        archive_everything(db)
    with (folder / "base" / "postgresql.conf").open("a") as configuration:
        configuration.write(
            f"restore_command = 'cp {folder}/archive/%f %p'\n"
            f"recovery_target_name = '{TARGET}'\nrecovery_target_action = 'promote'\n"
        )
    (folder / "base" / "recovery.signal").touch()
    give_to(Account.for_server(), folder / "base" / "recovery.signal")
    port = free_port()
    server = ("-D", f"{folder}/base", "-w", "-l", f"{folder}/log")
    program(
        folder, "pg_ctl", *server, "-o", f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off", "start"
    )
    try:
        again = Database(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        until_s = time.monotonic() + DEADLINE_S
        while again.execute("SELECT pg_is_in_recovery()") == [(True,)]:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        yield again
    finally:
        program(folder, "pg_ctl", *server, "-m", "immediate", "stop")


def test_what_was_sent_since_the_target_waits_again_and_is_held_by_adopt(recovered):
    assert recovered.execute("SELECT id, status FROM outbox.history ORDER BY id") == [
        (1, "sent"),
        (2, "queued"),
        (3, "queued"),
    ]
    refused = recovered.execute("SELECT * FROM outbox.check_identity('default', '{\"default\": 1}')")
    assert refused == [], "it cannot be told from the original: the page says to adopt before a worker starts"
    recovered.execute("SELECT * FROM outbox.adopt('default', '{\"default\": 1}', true)")
    held = recovered.execute("SELECT id, status, error_class FROM outbox.history WHERE id > 1 ORDER BY id")
    assert held == [(2, "uncertain", "adopted"), (3, "uncertain", "adopted")]
    with psycopg.connect(recovered.url, autocommit=True) as connection:
        [(worker,)] = connection.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, 'v')").fetchall()
        claimed = connection.execute(
            "SELECT message_id FROM outbox.claim(%s, '{default}', 10, '[]') WHERE message_id IS NOT NULL", [worker]
        ).fetchall()
    assert claimed == []
