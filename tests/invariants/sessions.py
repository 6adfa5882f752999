"""Sessions that run side by side: barriers are locks seen in the server, not pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

Answer = TypeVar("Answer")

PATIENCE_S = 10.0  # a barrier that was not reached by then never will be


class Session:
    """One connection with a thread of its own: a call can be started, and seen to wait for a lock."""

    def __init__(self, url: str) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self._watcher: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self._thread = ThreadPoolExecutor(max_workers=1)

    def begin(self) -> psycopg.Connection[Any]:
        """Open a transaction that stays open until commit() or rollback()."""
        self.connection.execute("BEGIN")
        return self.connection

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        self.connection.execute("ROLLBACK")

    def start(self, call: Callable[..., Answer], *arguments: Any, **columns: Any) -> Future[Answer]:
        """Run call(connection, ...) in this session's thread."""
        return self._thread.submit(call, self.connection, *arguments, **columns)

    def waits(self, call: Future[Any]) -> bool:
        """Return True once the running call waits for another session's lock, False once it has ended."""
        given_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < given_up_at:
            if call.done():
                return False
            row = self._watcher.execute(
                "SELECT cardinality(pg_blocking_pids(%s))", [self.connection.info.backend_pid]
            ).fetchone()
            if row is not None and row[0]:
                return True
        raise TimeoutError("the call neither ended nor waited for a lock")

    def close(self) -> None:
        self.connection.cancel_safe()
        self._thread.shutdown()
        self.connection.close()
        self._watcher.close()
