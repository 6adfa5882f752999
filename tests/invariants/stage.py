"""What a shared check plays on: a database, its clock, and sessions side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.invariants.calls import Connection
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session


@dataclass(frozen=True)
class Stage:
    connection: Connection
    frozen: FrozenClock
    open_session: Callable[[], Session]

    def in_flight(self, chat_id: str | int) -> tuple[int, int, int] | None:
        """The message, worker and attempt that this chat is in flight for; None: it is not."""
        row = self.connection.execute(
            "SELECT in_flight, worker, attempt FROM outbox.chat WHERE chat_id = %s AND in_flight IS NOT NULL",
            [str(chat_id)],
        ).fetchone()
        return None if row is None else (row[0], row[1], row[2])
