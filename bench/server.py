"""The PostgreSQL of a bench: durable, with the settings of a small production server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from outbox.operate.stage import scratch_database

SETTINGS: Final = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True)
class Server:
    """`url` is a superuser's; databases are made beside its own, which holds pg_stat_statements."""

    url: str

    @contextlib.contextmanager
    def database(self, label: str) -> Iterator[str]:
        """Yield the URL of a new, migrated database; it is dropped after the block."""
        with scratch_database(self.url, f"outbox_bench_{os.getpid()}_{label}") as url:
            migrate(url)
            yield url

    @contextlib.contextmanager
    def copy(self, url: str, label: str) -> Iterator[str]:
        """Yield the URL of a copy of a database that nobody is connected to."""
        with scratch_database(self.url, f"outbox_bench_{os.getpid()}_{label}") as copied:
            template, copy = (sql.Identifier(str(conninfo_to_dict(one)["dbname"])) for one in (url, copied))
            with self.connect() as connection:
                connection.execute(sql.SQL("DROP DATABASE {}").format(copy))
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(copy, template))
            yield copied

    def connect(self) -> psycopg.Connection[Any]:
        """Return an autocommit connection to the server's own database: its statements count in no bench."""
        return psycopg.connect(self.url, autocommit=True)


@contextlib.contextmanager
def bench_server(url: str | None) -> Iterator[Server]:
    """Yield the server at `url`, or a throw-away one. Raises psycopg.Error where pg_stat_statements is missing."""
    with contextlib.ExitStack() as stack:
        server = Server(url or stack.enter_context(ephemeral_server(SETTINGS, durable=True)))
        with server.connect() as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        yield server


def rows(connection: psycopg.Connection[Any], query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run one query and return its rows."""
    return connection.execute(query.encode(), parameters).fetchall()


def number(connection: psycopg.Connection[Any], query: str, parameters: Any = None) -> float:
    """Run a query of one number."""
    [[value]] = rows(connection, query, parameters)
    return float(value or 0)
