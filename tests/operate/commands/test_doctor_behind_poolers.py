"""outbox doctor tells what stands between it and the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outbox.database.binaries import Account, give_to, server_process_options
from outbox.database.embedded import free_port
from outbox.operate.doctor.run import EXAMINED
from tests.conftest import Database
from tests.operate.commands.doctor import doctor

__all__ = ["doctor"]

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
DEADLINE_S = 30.0


@pytest.fixture
def pooled(db: Database) -> Iterator[Callable[[str], str]]:
    """Start a PgBouncer in this mode before the test's database; return its URL."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    parts = conninfo_to_dict(db.url)
    account = Account.for_server()
    home = Path(tempfile.mkdtemp(prefix="outbox-pgbouncer-", dir="/tmp"))
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        port = free_port()
        configuration = home / f"{mode}.ini"
        configuration.write_text(
            f"[databases]\n* = host={parts['host']} port={parts['port']} user={parts['user']}"
            f" {'password=' + str(parts['password']) if 'password' in parts else ''}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        )
        for path in (home, configuration):
            give_to(account, path)
        started.append(
            subprocess.Popen(
                [str(PGBOUNCER), str(configuration)], stderr=subprocess.DEVNULL, **server_process_options(account)
            )
        )
        url = make_conninfo(db.url, host="127.0.0.1", port=str(port))
        until_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                psycopg.connect(url).close()
                return url
            except psycopg.OperationalError:
                assert started[-1].poll() is None
                assert time.monotonic() < until_s
                time.sleep(0.02)

    yield start
    for pooler in started:
        pooler.terminate()
        pooler.wait(DEADLINE_S)
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("mode", "verdict", "says"),
    [
        ("session", "ok", "a pooler in session mode stands in between"),
        ("transaction", "warn", "a pooler in transaction mode stands in between"),
        ("statement", "fail", "a pooler in statement mode stands in between"),
    ],
)
def test_a_pooler_in_between_is_named_by_its_mode(pooled, doctor, mode, verdict, says):
    _, findings = doctor(OUTBOX_DATABASE_URL=pooled(mode))
    assert (findings["pooler"]["verdict"], findings["pooler"]["finding"].partition(":")[0]) == (verdict, says)


def test_behind_a_transaction_pooler_every_check_still_gets_an_answer(pooled, doctor):
    _, findings = doctor(OUTBOX_DATABASE_URL=pooled("transaction"))
    assert [finding for finding in findings.values() if "not checked" in finding["finding"]] == []
    assert set(EXAMINED) <= set(findings)


def test_nothing_in_between_is_said_too(db, doctor):
    assert doctor()[1]["pooler"]["finding"] == "none in between"
