"""A worker without HTTP: claims and completes over one connection, as fast as the database lets it."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import psycopg

HEARTBEAT_EVERY_S: Final = 5.0

# As the worker asks: text and float8, so that nothing is parsed here that it would not parse.
_CLAIM: Final = """
SELECT bot, chat_id, message_id, attempt, method, payload::text, priority, on_uncertain, correlation_id, slot,
       extract(epoch FROM slot_at)::float8, extract(epoch FROM created_at)::float8,
       extract(epoch FROM clock_at)::float8, ask_again_s, settled
  FROM outbox.claim(%s::bigint, %s::text[], %s::int, %s::jsonb)"""
_COMPLETE: Final = "SELECT outbox.complete(%s::bigint, %s::jsonb)"


class NoopWorker:
    """Everything it claims is sent at once, with a round trip of 10 ms."""

    def __init__(self, connection: psycopg.Connection[Any], batch: int) -> None:
        """`connection` must be in autocommit."""
        self._connection = connection
        self._batch = batch
        self._settlements: list[dict[str, Any]] = []
        connection.prepare_threshold = None  # like the worker, which may sit behind a transaction pooler
        self._worker = register(connection)
        self._beat_s = time.monotonic()
        self.claim_s = 0.0

    def turn(self) -> list[str]:
        """Claim a batch and complete it; return the chats it went to, in order. Its claim took `claim_s` seconds."""
        if time.monotonic() - self._beat_s > HEARTBEAT_EVERY_S:
            self._beat_s = time.monotonic()
            self._connection.execute("SELECT outbox.heartbeat(%s, false)", [self._worker])
        asked_s = time.perf_counter()
        *lanes, closing = self._connection.execute(
            _CLAIM, (self._worker, ["default"], self._batch, json.dumps(self._settlements))
        ).fetchall()
        self.claim_s = time.perf_counter() - asked_s
        if closing[14]:
            self._settlements = []
        if not lanes:
            return []
        self._settlements += [
            {
                "bot": lane[0],
                "chat_id": lane[1],
                "slot": lane[9],
                "age_s": 0,
                "result": "ok",
                "round_trip_s": 0.01,
                "retry_after_s": None,
            }
            for lane in lanes
        ]
        self._connection.execute(
            _COMPLETE, (self._worker, json.dumps([sent(lane[0], lane[1], lane[2], lane[3], lane[8]) for lane in lanes]))
        )
        return [lane[1] for lane in lanes]


def register(connection: psycopg.Connection[Any]) -> int:
    """Return the id of a new worker of the bot `default`."""
    [[worker]] = connection.execute("SELECT outbox.register_worker('bench', '{default}', 'bench', 1, '0')").fetchall()
    return int(worker)


def sent(bot: str, chat_id: str, message_id: int, attempt: int, correlation_id: str | None = None) -> dict[str, Any]:
    """Return the result of a message that was sent just now, with every field that a worker sends."""
    return {
        "bot": bot,
        "chat_id": chat_id,
        "message_id": message_id,
        "attempt": attempt,
        "outcome": "sent",
        "age_s": 0,
        "duration_s": 0.01,
        "http_status": 200,
        "error_code": None,
        "error_class": None,
        "error_text": None,
        "retry_after_s": None,
        "telegram_message_id": 1,
        "meaning": "sent",
        "reach": None,
        "migrate_to": None,
        "telegram_answer": {"message_id": 1},
        "correlation_id": correlation_id,
    }
