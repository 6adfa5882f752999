"""An application that inserts messages, and remembers what it saw committed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from tests.chaos.checker import Accepted

_INSERT: Final = """
    INSERT INTO outbox.message (chat_id, payload, priority, on_uncertain, max_attempts, tag, expires_at)
    SELECT chat_id, payload, priority, on_uncertain, max_attempts, tag, now() + make_interval(secs => expires_in_s)
      FROM jsonb_to_recordset(%s) m (chat_id text, payload jsonb, priority smallint, on_uncertain text,
                                     max_attempts int, tag text, expires_in_s float8)
    RETURNING id, chat_id, payload ->> 'text', priority, next_attempt_at, on_uncertain
"""
_FIND: Final = """
    SELECT id, chat_id, payload ->> 'text', priority, at, on_uncertain
      FROM (SELECT id, chat_id, payload, priority, next_attempt_at AS at, on_uncertain FROM outbox.message
            UNION ALL
            SELECT id, chat_id, payload, priority, scheduled_for, on_uncertain FROM outbox.dead_letter
            UNION ALL
            SELECT id, chat_id, payload, priority, scheduled_for, 'retry' FROM outbox.finished) m
     WHERE payload ->> 'text' = ANY (%s)
"""


class Producer:
    """Inserts messages with texts of their own. It survives the database: what it has no answer for is in doubt."""

    def __init__(self, url: str, seed: int, label: str = "message") -> None:
        self._url = url
        self._label = label
        self._numbers = itertools.count(1)
        self._connection: psycopg.Connection[Any] | None = None
        self._doubtful: list[str] = []
        self.rng = random.Random(f"producer {seed}")
        self.accepted: list[Accepted] = []

    def insert(
        self,
        count: int,
        chat: Callable[[], int | str],
        *,
        priorities: Sequence[int] = (0, 1, 2, 3),
        on_uncertain: str = "retry",
        max_attempts: int | None = None,
        tag: str | None = None,
        expires_in_s: float | None = None,
    ) -> list[Accepted]:
        """Insert `count` messages in one statement; return those accepted, none when the database did not answer."""
        rows = [
            {
                "chat_id": str(chat()),
                "payload": {"text": f"{self._label} {next(self._numbers)}"},
                "priority": self.rng.choice(priorities),
                "on_uncertain": on_uncertain,
                "max_attempts": max_attempts,
                "tag": tag,
                "expires_in_s": expires_in_s,
            }
            for _ in range(count)
        ]
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True)
            accepted = [Accepted(*row) for row in self._connection.execute(_INSERT, [Jsonb(rows)])]
        except psycopg.OperationalError:
            # Whether it was committed is known only later.
            self._doubtful += [str(row["payload"]["text"]) for row in rows]  # type: ignore[index]
            self.close()
            return []
        self.accepted += accepted
        return accepted

    def resolve_doubts(self) -> int:
        """Look for what the database was asked and did not confirm; return how many it has after all."""
        if not self._doubtful:
            return 0
        with psycopg.connect(self._url, autocommit=True) as connection:
            found = [Accepted(*row) for row in connection.execute(_FIND, [self._doubtful])]
        self._doubtful.clear()
        self.accepted += found
        return len(found)

    def close(self) -> None:
        """Give the connection up; the next insert opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def zipf(rng: random.Random, chats: int) -> Callable[[], int]:
    """Return a draw of chats of which few get most: the n-th has the weight 1 / n.

    Every 20th is a group, from the 3rd on: its limit must bite.
    """
    ids = [(-1 if rank % 20 == 3 else 1) * (10_000 + rank) for rank in range(1, chats + 1)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, chats + 1)))
    return lambda: rng.choices(ids, cum_weights=weights)[0]


def in_turn(first: int, chats: int) -> Callable[[], int]:
    """Return a draw that goes round the chats."""
    turns = itertools.cycle(range(first, first + chats))
    return lambda: next(turns)
