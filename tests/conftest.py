"""One server per run (per xdist worker), one template database migrated once, one database per test from it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate

SERVER_SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "max_connections": "200"}


# A statement sees the offset that was committed before it.
CLOCK: Final = """
CREATE SCHEMA outbox_test;
CREATE TABLE outbox_test.clock (clock_offset interval NOT NULL);
INSERT INTO outbox_test.clock VALUES ('0 s');
GRANT USAGE ON SCHEMA outbox_test TO PUBLIC;
GRANT SELECT ON outbox_test.clock TO PUBLIC;
CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS 'SELECT clock_timestamp() + clock_offset FROM outbox_test.clock';
"""


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    url: str

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Return a new autocommit connection; close it or use it in a `with`."""
        return psycopg.connect(self.url, **({"autocommit": True} | options))

    async def connect_async(self, **options: Any) -> psycopg.AsyncConnection[Any]:
        """Return a new autocommit connection; close it or use it in an `async with`."""
        return await psycopg.AsyncConnection.connect(self.url, **({"autocommit": True} | options))

    def execute(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one query on a connection of its own and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


class Clock:
    """Moves outbox.clock() of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once; negative steps the clock back."""
        self._database.execute(
            "UPDATE outbox_test.clock SET clock_offset = clock_offset + make_interval(secs => %s)", [seconds]
        )


class Server:
    """A PostgreSQL with a superuser: makes and drops databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"outbox_{os.getpid()}_{uuid.uuid4().hex[:6]}"
        self._count = 0

    def create_database(self, template: str | None = None) -> Database:
        """Make a database: empty, or a copy of another of this server's."""
        self._count += 1
        name = f"{self.prefix}_{self._count}"
        self.execute(
            # Half the time of the other strategy where the data are in memory.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            ),
            # Shadowed variables and the like are errors; a setting of the database, because copies do not inherit it.
            sql.SQL("ALTER DATABASE {} SET plpgsql.extra_errors = 'all'").format(sql.Identifier(name)),
        )
        return Database(self.url_of(name))

    def drop_database(self, database: Database) -> None:
        name = str(conninfo_to_dict(database.url)["dbname"])
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def url_of(self, name: str, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of a database of this server, as another user when named."""
        parts = conninfo_to_dict(self.url)
        login = str(user or parts["user"])
        password = password if user else parts.get("password")  # type: ignore[assignment]
        if password:
            login += f":{password}"
        return f"postgresql://{login}@{parts['host']}:{parts.get('port', 5432)}/{name}"

    def execute(self, *queries: sql.Composed | sql.SQL) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for query in queries:
                connection.execute(query)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this run: our own, or the one in OUTBOX_TEST_SERVER_URL (a superuser's URL)."""
    given = os.environ.get("OUTBOX_TEST_SERVER_URL")
    if given:
        yield Server(given)
        return
    with ephemeral_server(SERVER_SETTINGS, in_memory=True) as url:
        yield Server(url)


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[Database]:
    """A migrated database that nobody connects to: tests copy it."""
    database = server.create_database()
    migrate(database.url)
    yield database
    server.drop_database(database)


@pytest.fixture
def db(server: Server, template: Database) -> Iterator[Database]:
    """A migrated database of this test's own."""
    database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    yield database
    server.drop_database(database)


@pytest.fixture
def empty_db(server: Server) -> Iterator[Database]:
    """A database where `outbox migrate` never ran."""
    database = server.create_database()
    yield database
    server.drop_database(database)


@pytest.fixture
def clock(db: Database) -> Clock:
    """Give the test the time of outbox.clock() in its database."""
    with db.connect() as connection:
        connection.execute(CLOCK)
    return Clock(db)
