"""Roles of one test, and what is the same on every kind of connection."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

Login = Callable[..., psycopg.Connection[Any]]


@pytest.fixture
def login(server: Any, db: Any) -> Iterator[Login]:
    """Return a function that makes a role of its own, grants it what is named, and connects as it."""
    made: list[str] = []
    connections: list[psycopg.Connection[Any]] = []

    def connect_as(*granted: str) -> psycopg.Connection[Any]:
        name = f"test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        made.append(name)
        for role in granted:
            server.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(name)))
        database = str(conninfo_to_dict(db.url)["dbname"])
        connections.append(psycopg.connect(server.url_of(database, user=name), autocommit=True))
        return connections[-1]

    yield connect_as
    for connection in connections:
        connection.close()
    for name in made:
        server.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def waits_for_a_lock(db: Any) -> Callable[[int], bool]:
    """Say whether the backend of that pid waits for a lock."""

    def waits(pid: int) -> bool:
        rows = db.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(rows and rows[0][0])

    return waits
