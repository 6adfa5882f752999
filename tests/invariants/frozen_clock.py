"""A clock that stands still until the test moves it: every deadline is exact and no test waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg


class FrozenClock:
    """outbox.clock() of one database; starts more than a day ahead, so that what reads now() lies in its past."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute("CREATE SCHEMA IF NOT EXISTS outbox_test")
        connection.execute("CREATE TABLE outbox_test.frozen (at timestamptz NOT NULL)")
        connection.execute(
            "INSERT INTO outbox_test.frozen SELECT date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
            " + interval '2 days'"
        )
        connection.execute(
            "CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE"
            " AS 'SELECT at FROM outbox_test.frozen'"
        )
        self.at = self._read()

    def advance(self, seconds: float) -> datetime:
        """Move the clock, back when negative; return its new time."""
        return self.set(self.at + timedelta(seconds=seconds))

    def set(self, at: datetime) -> datetime:
        self._connection.execute("UPDATE outbox_test.frozen SET at = %s", [at])
        self.at = at
        return at

    def _read(self) -> datetime:
        row = self._connection.execute("SELECT at FROM outbox_test.frozen").fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]
