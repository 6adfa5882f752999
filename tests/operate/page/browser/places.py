"""Where one can go on the page, of a database that tests.observe.filled has filled."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from tests.conftest import Database


def places(db: Database) -> list[str]:
    """Every page, and the ways to ask it that cost most."""
    [[dead]] = db.execute("SELECT id FROM outbox.dead_letter WHERE correlation_id = 'dead-17'")
    [[sent]] = db.execute("SELECT id FROM outbox.finished WHERE status = 'sent' ORDER BY id DESC LIMIT 1")
    [[waits]] = db.execute("SELECT id FROM outbox.message ORDER BY id LIMIT 1")
    [[halfway]] = db.execute("SELECT max(id) / 2 FROM outbox.finished")
    return [
        "/",
        "/overview/rate",
        "/overview/rate?bot=alerts",
        "/broadcasts",
        "/messages",
        *(ask("/messages", before=before) for before in (sent, halfway)),
        *(ask("/messages", **fields) for fields in FILTERS),
        ask("/messages", before=halfway, status="sent", bot="alerts"),
        f"/messages/{dead}",
        f"/messages/{sent}",
        f"/messages/{waits}",
        "/dead-letters",
        *(ask("/dead-letters", **fields) for fields in DEAD_FILTERS),
        "/dead-letters/confirm?verb=retry",
        ask("/dead-letters/confirm", verb="discard", text="needle"),
        f"/dead-letters/confirm?verb=retry&id={dead}",
        "/dead-letters/batches",
        *(f"/dead-letters/batches/{batch}" for [batch] in db.execute("SELECT id FROM outbox.batches LIMIT 1")),
        "/chats",
        *(ask("/chats", state=state) for state in ("suppressed", "backing_off", "cooling", "in_flight", "moved")),
        "/chats?chat=7",
        "/bots",
        "/bots/default",
        "/audit",
        "/audit?who=nobody",
    ]


def posts(db: Database) -> list[tuple[str, dict[str, str]]]:
    """What reads payloads, which a link cannot: the path and the form."""
    [[dead]] = db.execute("SELECT id FROM outbox.dead_letter WHERE correlation_id = 'dead-17'")
    return [
        (f"/messages/{dead}/payload", {}),
        *(("/messages", fields) for fields in SEARCHES),
    ]


def ask(path: str, **fields: Any) -> str:
    """An address with its query."""
    return f"{path}?{urlencode(fields)}"


FILTERS: list[dict[str, str]] = [
    {"status": "sent"},
    {"status": "dead"},
    {"status": "queued"},
    {"status": "queued", "priority": "critical"},
    {"priority": "high"},
    {"status": "expired", "bot": "quiet"},
    {"bot": "quiet"},
    {"chat": "7"},
    {"chat": "39999"},
    {"tag": "rare"},
    {"tag": "sale"},
    {"tag": "never-used"},
    {"correlation_id": "order-999999"},
    {"correlation_id": "never-used"},
    {"class": "blocked"},
    {"class": "never-used"},
    {"since": "20d", "until": "10d"},
    {"since": "20d", "until": "10d", "text": "needle"},
    {"text": "needle"},
    {"text": "never-used", "bot": "alerts", "status": "sent"},
]
DEAD_FILTERS: list[dict[str, str]] = [
    {"class": "server_error", "bot": "alerts", "status": "dead"},
    {"tag": "sale", "status": "uncertain"},
    {"since": "20d", "until": "10d"},
    {"text": "needle"},
    {"text": "never-used"},
]
SEARCHES: list[dict[str, str]] = [
    {"text": "needle"},
    {"text": "never-used"},
    {"text": "on its way", "bot": "alerts", "status": "sent"},
]
