"""The SQL that producers and workers call, typed: the tests of the model speak through these alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]
Settlement = Mapping[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Lane:
    """One row of outbox.claim(): a message to send at its slot."""

    bot: str
    chat_id: str
    message_id: int
    attempt: int
    method: str
    payload: dict[str, Any]
    priority: int
    on_uncertain: str
    correlation_id: str
    slot: int
    slot_at: datetime
    created_at: datetime


@dataclass(frozen=True)
class Claim:
    """What one call of outbox.claim() said: its lanes and its closing row."""

    lanes: list[Lane]
    clock_at: datetime
    ask_again_s: float | None
    settled: list[str]

    @property
    def message_ids(self) -> list[int]:
        return [lane.message_id for lane in self.lanes]


def add_bot(connection: Connection, bot: str = "default", **policy: float | int | bool | str | None) -> str:
    """Add the bot if it is missing and set columns of its policy; a changed rate makes the ring anew."""
    connection.execute("INSERT INTO outbox.bot (bot) VALUES (%s) ON CONFLICT DO NOTHING", [bot])
    for column, value in policy.items():
        connection.execute(
            sql.SQL("UPDATE outbox.bot SET {} = %s WHERE bot = %s").format(sql.Identifier(column)), [value, bot]
        )
    return bot


def insert(connection: Connection, chat_id: str | int, payload: Mapping[str, Any] | None = None, **columns: Any) -> int:
    """Insert one message as a producer does; return its id."""
    row = {"chat_id": str(chat_id), "payload": json.dumps(payload or {"text": "hi"})} | columns
    found = connection.execute(
        sql.SQL("INSERT INTO outbox.message ({}) VALUES ({}) RETURNING id").format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(sql.Placeholder() * len(row))
        ),
        list(row.values()),
    ).fetchone()
    assert found is not None
    return int(found[0])


def register(connection: Connection, *bots: str) -> int:
    """Register a worker for these bots (none named: default) and return its incarnation."""
    row = connection.execute(
        "SELECT outbox.register_worker('w', %s::text[], 'host', 1, 'test')", [list(bots or ("default",))]
    ).fetchone()
    assert row is not None
    return int(row[0])


def claim(
    connection: Connection,
    worker: int,
    n: int = 30,
    bots: Sequence[str] = ("default",),
    settlements: Iterable[Settlement] = (),
) -> Claim:
    """Call outbox.claim() and part its closing row from its lanes."""
    rows = connection.execute(
        "SELECT bot, chat_id, message_id, attempt, method, payload, priority, on_uncertain, correlation_id, slot,"
        " slot_at, created_at, clock_at, ask_again_s, settled FROM outbox.claim(%s, %s::text[], %s, %s::jsonb)",
        [worker, list(bots), n, json.dumps(list(settlements))],
    ).fetchall()
    *lanes, closing = rows
    assert closing[2] is None
    return Claim([Lane(*row[:12]) for row in lanes], *closing[12:])


def settlement(lane: Lane, result: str = "ok", age_s: float = 0.0, round_trip_s: float | None = None) -> Settlement:
    return {"bot": lane.bot, "slot": lane.slot, "age_s": age_s, "result": result, "round_trip_s": round_trip_s}


def result(lane: Lane, outcome: str = "sent", **columns: Any) -> Result:
    """What complete() is told about this lane; columns such as age_s or retry_after_s override."""
    return {
        "bot": lane.bot,
        "chat_id": lane.chat_id,
        "message_id": lane.message_id,
        "attempt": lane.attempt,
        "outcome": outcome,
        "age_s": 0,
        "duration_s": 0.05,
    } | columns


def complete(connection: Connection, worker: int, results: Iterable[Result]) -> int:
    """Call outbox.complete(); return how many results were applied as their owner's."""
    row = connection.execute("SELECT outbox.complete(%s, %s::jsonb)", [worker, json.dumps(list(results))]).fetchone()
    assert row is not None
    return int(row[0])


def finish(connection: Connection, worker: int, lanes: Iterable[Lane], outcome: str = "sent", **columns: Any) -> int:
    """Complete these lanes with one outcome for all."""
    return complete(connection, worker, [result(lane, outcome, **columns) for lane in lanes])


def status(connection: Connection, message_id: int) -> str | None:
    """The message's status in outbox.history."""
    rows = connection.execute("SELECT status FROM outbox.history WHERE id = %s", [message_id]).fetchall()
    assert len(rows) <= 1, f"message {message_id} is in history {len(rows)} times"
    return str(rows[0][0]) if rows else None


def cancel(connection: Connection, message_id: int | None = None, **named: str | None) -> bool:
    """Call outbox.cancel() with an id, or with tag or correlation_id; bot narrows it."""
    row = connection.execute(
        "SELECT outbox.cancel(%s::bigint, %s, %s, %s)",
        [message_id, named.get("tag"), named.get("correlation_id"), named.get("bot")],
    ).fetchone()
    assert row is not None
    return bool(row[0])


def sweep(connection: Connection, most: int = 1000) -> int:
    """Call outbox.sweep(); return how much it ended."""
    row = connection.execute("SELECT outbox.sweep(%s)", [most]).fetchone()
    assert row is not None
    return int(row[0])
