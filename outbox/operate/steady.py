"""For commands that go on for hours: a connection that comes back, and an end without noise."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, LiteralString, Self

import psycopg

from outbox.database.connect import database_url, worker_conninfo
from outbox.operate.console import Connection, connect
from outbox.settings import load_settings

# What ends a connection or keeps one from being made; anything else would be the same the next time.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError)


class SteadyConnection:
    """A connection that is made again by the next fetch() after one that failed."""

    def __init__(self, url: str, name: str) -> None:
        # It may be idle for long: a server that vanished without a word must be noticed.
        self._url = worker_conninfo(url)
        self._name = name
        self._connection: Connection | None = None

    def fetch(self, query: LiteralString, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a query. Raises one of AWAY while the database cannot be reached."""
        if self._connection is None:
            self._connection = connect(self._url, self._name)
        try:
            return self._connection.execute(query, parameters).fetchall()
        except AWAY:
            self.close()
            raise

    def close(self) -> None:
        """End the connection that there is."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def steadily_connected(name: str) -> Iterator[SteadyConnection]:
    """Yield a SteadyConnection of command `name`. Raises UsageError where no database is named."""
    with database_url(load_settings(), name) as url, SteadyConnection(url, name) as connection:
        yield connection


@contextlib.contextmanager
def until_told() -> Iterator[None]:
    """Run the block until it ends, or until Ctrl-C, SIGTERM, a closed terminal or a reader that left (`… | head`) ends
    it, which is no failure.
    """
    before = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go; Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
