"""How dead letters and their batches look on a terminal."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from outbox.operate.conditions import Conditions
from outbox.operate.console import age, ago, facts, number, table
from outbox.operate.dead_letters import Row
from outbox.operate.times import in_utc

IDS_SHOWN: Final = 5
ASKED_WITHIN: Final = timedelta(minutes=1)


def print_groups(rows: list[Row], now: datetime) -> None:
    """Print groups with their samples."""
    table(
        None,
        ["bot", "class", "status", "count", "last", "newest", "which says"],
        [
            [
                row["bot"],
                row["error_class"],
                row["status"],
                number(row["count"]),
                ago(row["last_at"], now),
                row["sample_id"],
                row["sample_text"],
            ]
            for row in rows
        ],
    )


def print_each(rows: list[Row], now: datetime) -> None:
    """Print dead letters, one a line."""
    table(
        None,
        ["id", "died", "bot", "chat", "status", "tag", "attempts", "why"],
        [
            [
                row["id"],
                ago(row["died_at"], now),
                row["bot"],
                row["chat_id"],
                row["status"],
                row["tag"],
                row["attempts"],
                ": ".join(part for part in (row["error_class"], row["error_text"]) if part),
            ]
            for row in rows
        ],
    )


def print_batches(rows: list[Row], now: datetime) -> None:
    """Print batches, one a line."""
    table(
        None,
        ["batch", "does", "state", "done", "of", "failed", "asked", "left", "which"],
        [
            [
                row["id"],
                row["verb"],
                row["state"],
                number(row["done"]),
                number(row["total"]),
                number(row["failed"]),
                ago(row["requested_at"], now),
                age(row["eta_s"]),
                in_words(row),
            ]
            for row in rows
        ],
    )


def print_batch(row: Row) -> None:
    """Print all about one batch."""
    facts(
        [
            ("batch", row["id"]),
            ("does", row["verb"]),
            ("state", row["state"]),
            ("done", f"{number(row['done'])} of {number(row['total'])}"),
            ("failed", f"{number(row['failed'])}, and left as they are" if row["failed"] else None),
            ("left", age(row["eta_s"])),
            ("pace", None if row["per_s"] is None else f"at most {row['per_s']:g} a second"),
            ("which", in_words(row)),
            ("asked by", row["requested_by"]),
            ("at", row["requested_at"]),
            ("ended", row["finished_at"]),
            ("last error", row["last_error"]),
        ]
    )


def in_words(row: Row) -> str:
    """Return the conditions of a row of outbox.batches as people say them."""
    chosen = Conditions.stored(row["filter"])
    ids = row["filter"].get("ids_count", len(chosen.ids))
    more = f" and {number(ids - IDS_SHOWN)} more" if ids > IDS_SHOWN else ""
    # Every batch ends with what had died when it was asked for.
    earlier = chosen.until is not None and row["requested_at"] - chosen.until > ASKED_WITHIN
    named = {
        "id": f"{', '.join(map(str, chosen.ids[:IDS_SHOWN]))}{more}",
        "bot": chosen.bot,
        "class": chosen.error_class,
        "tag": chosen.tag,
        "status": chosen.status,
        "text": chosen.text,
        "died since": in_utc(chosen.since) if chosen.since else None,
        "died before": in_utc(chosen.until) if chosen.until and earlier else None,
    }
    return ", ".join(f"{name} {value}" for name, value in named.items() if value) or "all that had died"
