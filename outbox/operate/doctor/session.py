"""A connection for questions that must not take long, to a server that may be sick."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg

from outbox.database.connect import worker_conninfo

T = TypeVar("T")

GRACE_S: Final = 2.0  # after the server's own timeout: a server that is frozen does not keep it
LOCK_TIMEOUT_S: Final = 2.0

Row = tuple[Any, ...]


class NoAnswerError(Exception):
    """The server did not answer in time, nor did it end the statement."""


class Session:
    """Asks within a time, in transactions that only read. After a broken connection it makes another one."""

    def __init__(self, url: str, limit_s: float) -> None:
        """`limit_s`: the most that one question, or connecting, may take."""
        self._url = worker_conninfo(url)
        self._limit_s = limit_s
        self._connection: psycopg.Connection[Row] | None = None

    @property
    def limit_s(self) -> float:
        """The most that one question may take."""
        return self._limit_s

    def connect(self) -> psycopg.Connection[Row]:
        """Return the connection, made where there is none. Raises psycopg.Error or NoAnswerError."""
        if self._connection is None or self._connection.closed:
            self._connection = within(self._limit_s + GRACE_S, self.another)
        return self._connection

    def another(self) -> psycopg.Connection[Row]:
        """Return a connection beside it, for the caller to close."""
        connection: psycopg.Connection[Row] = psycopg.connect(
            self._url,
            autocommit=True,
            prepare_threshold=None,  # behind a transaction pooler the next statement is on another server session
            application_name="outbox doctor",
        )
        connection.read_only = True
        return connection

    def ask(self, query: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """Return the rows of one query. Raises psycopg.Error, QueryCanceled after the time; or NoAnswerError."""
        return self.run(lambda connection: connection.execute(query.encode(), parameters).fetchall())

    def run(self, work: Callable[[psycopg.Connection[Row]], T]) -> T:
        """Return what `work` returns, called with the connection in a transaction that is bounded as ask() is."""
        connection = self.connect()

        def ask() -> T:
            with connection.transaction():
                # Of this transaction, not of the session: a pooler would hand that to somebody else.
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                    (f"{self._limit_s * 1000:.0f}", f"{min(self._limit_s, LOCK_TIMEOUT_S) * 1000:.0f}"),
                )
                return work(connection)

        try:
            return within(self._limit_s + GRACE_S, ask)
        except NoAnswerError:
            self._connection = None  # its thread still waits with it
            raise

    def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns. Raises NoAnswerError when it takes longer; it is left to itself then."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    # A thread, because a call of libpq that waits for a frozen server has no end of its own.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise NoAnswerError(f"no answer within {seconds:g} s")
    return results[0]
