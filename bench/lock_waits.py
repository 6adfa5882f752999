"""Whether sessions wait for each other's locks: looked at from outside, and told by the server itself."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg.errors import Diagnostic

_LOOK: Final = """
    SELECT coalesce(l.locktype, a.wait_event)
      FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
       AND (a.wait_event_type = 'Lock' OR l.pid IS NOT NULL)
"""
# Each waiter says so itself, once it has waited for the shortest time that can be set.
_TELL: Final = """
    SELECT set_config('log_lock_waits', 'on', false), set_config('deadlock_timeout', '1ms', false),
           set_config('client_min_messages', 'log', false)
"""
GROWS: Final = "extend"  # the lock under which a table's file becomes longer, whoever writes to it


class LockWaits:
    """What was seen, by kind of lock; `looks` says how often somebody looked."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.looks = 0

    def between_writers(self) -> int:
        """Waits for a row, a transaction or anything else that a writer holds; not for a file that grows."""
        return self.seen.total() - self.seen[GROWS] + self.told.total() - self.told[GROWS]

    def listen_to(self, connection: psycopg.Connection[Any]) -> None:
        """Count what this session tells of its own waits of a millisecond and more. It must be a superuser's."""
        connection.execute(_TELL)
        connection.add_notice_handler(self._note)

    def _note(self, notice: Diagnostic) -> None:
        text = notice.message_primary or ""
        if "still waiting for" in text:
            self.told[GROWS if "on extension of" in text else "lock"] += 1


@contextlib.contextmanager
def watching_lock_waits(url: str) -> Iterator[LockWaits]:
    """Look without a pause, in a thread and a session of its own, for as long as the block lasts."""
    waits = LockWaits()
    done = threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.is_set():
                waits.seen.update(kind for (kind,) in connection.execute(_LOOK))
                waits.looks += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()
