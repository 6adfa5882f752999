"""Dead letters by the row, as a worker would have left them, and the housekeeper who may be alive."""

from __future__ import annotations

import html
import re
from typing import Any

from tests.conftest import Database


def make_dead_letters(
    db: Database,
    count: int = 1,
    *,
    bot: str = "default",
    chat_id: str = "42",
    chats: int | None = None,
    status: str = "dead",
    tag: str | None = None,
    error_class: str | None = "bad_request",
    error_text: str | None = "Bad Request: no",
    died_ago_s: float = 60,
) -> list[int]:
    """Make dead letters, each a second younger than the one before, in one chat or in many. Return their ids."""
    db.execute("INSERT INTO outbox.bot (bot) VALUES (%s) ON CONFLICT DO NOTHING", [bot])
    rows = db.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, tag, correlation_id,"
        " on_uncertain, created_at, scheduled_for, died_at, attempts, calls, error_class, error_text)"
        " SELECT nextval(pg_get_serial_sequence('outbox.message', 'id')), %(bot)s,"
        " CASE WHEN %(chats)s::int IS NULL THEN %(chat_id)s ELSE (n %% %(chats)s::int + 1)::text END, 'sendMessage',"
        """ '{"text": "hi"}', 2, %(status)s, %(tag)s, 'order-' || n, 'retry', d.at - interval '1 min',"""
        " d.at - interval '1 min', d.at, 3, 3, %(error_class)s, %(error_text)s"
        " FROM generate_series(1, %(count)s) n"
        " CROSS JOIN LATERAL (SELECT clock_timestamp() + make_interval(secs => n - %(count)s - %(ago)s) AS at) d"
        " ORDER BY n RETURNING id",
        {
            "bot": bot,
            "chat_id": chat_id,
            "chats": chats,
            "status": status,
            "tag": tag,
            "error_class": error_class,
            "error_text": error_text,
            "count": count,
            "ago": died_ago_s,
        },
    )
    return [int(row[0]) for row in rows]


def house_is_kept(db: Database) -> None:
    """Let a housekeeper be alive."""
    assert db.execute("SELECT outbox.keep_house('somebody')") == [(True,)]


def run_batches(db: Database) -> None:
    """What housekeeping does until batches without a rate are done."""
    quiet = 0
    while quiet < 3:
        [(moved,)] = db.execute("SELECT outbox.run_batches()")
        quiet = 0 if moved else quiet + 1


def hidden_fields(text: str) -> dict[str, Any]:
    """Return the fields that a form carries without showing them; `id` as a list."""
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text)
    fields: dict[str, Any] = {name: html.unescape(value) for name, value in pairs if name != "id"}
    ids = [value for name, value in pairs if name == "id"]
    return fields | ({"id": ",".join(ids)} if ids else {})
