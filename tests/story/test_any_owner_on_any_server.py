"""A plain owner's install, under a publication for all tables, on every PostgreSQL of this machine: one delivery."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from outbox.operate.stage import scratch_database, simulator_process, worker_processes
from tests.operate.test_up import arrived

# Debian's, wherever it is installed; None is the embedded one.
SERVERS = [None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]


@contextlib.contextmanager
def plain_owners_database(programs: Path | None) -> Iterator[str]:
    # wal_level: a publication has no effect on writes below logical.
    settings = {"wal_level": "logical"}
    with ephemeral_server(settings, programs=programs) as server, scratch_database(server, "shop") as url:
        with psycopg.connect(url, autocommit=True) as superuser:
            superuser.execute("CREATE ROLE owner LOGIN NOSUPERUSER NOCREATEROLE")
            superuser.execute("ALTER DATABASE shop OWNER TO owner")
            superuser.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        yield psycopg.conninfo.make_conninfo(url, user="owner")


@pytest.mark.parametrize("programs", SERVERS, ids=lambda programs: programs.parent.name if programs else "embedded")
async def test_a_plain_owner_delivers_through_a_publication_for_all_tables(programs):
    said: list[str] = []
    with plain_owners_database(programs) as url:
        migrate(url, echo=said.append)
        async with simulator_process() as telegram, worker_processes(url, telegram.url):
            with psycopg.connect(url, autocommit=True) as owner:
                owner.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
            await arrived(telegram, {"hi"})
        with psycopg.connect(url, autocommit=True) as owner:
            assert owner.execute("SELECT status FROM outbox.history").fetchall() == [("sent",)]
    assert any("outbox_producer" in line and "Ask a DBA" in line for line in said)
