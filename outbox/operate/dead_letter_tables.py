"""How dead letters and their batches look on a terminal."""

from __future__ import annotations

from outbox.operate.console import age, facts, number, table
from outbox.operate.dead_letters import Row


def print_groups(rows: list[Row]) -> None:
    """Print groups with their samples."""
    table(
        None,
        ["bot", "class", "status", "dead letters", "first", "last", "newest", "which says"],
        [
            [
                row["bot"],
                row["error_class"],
                row["status"],
                number(row["count"]),
                row["first_at"],
                row["last_at"],
                row["sample_id"],
                row["sample_text"],
            ]
            for row in rows
        ],
    )


def print_each(rows: list[Row]) -> None:
    """Print dead letters, one a line."""
    table(
        None,
        ["id", "died", "bot", "chat", "method", "status", "tag", "attempts", "why"],
        [
            [
                row["id"],
                row["died_at"],
                row["bot"],
                row["chat_id"],
                row["method"],
                row["status"],
                row["tag"],
                row["attempts"],
                ": ".join(part for part in (row["error_class"], row["error_text"]) if part),
            ]
            for row in rows
        ],
    )


def print_batches(rows: list[Row]) -> None:
    """Print batches, one a line."""
    table(
        None,
        ["batch", "does", "state", "done", "of", "left", "asked by", "at", "which"],
        [
            [
                row["id"],
                row["verb"],
                row["state"],
                number(row["done"]),
                number(row["total"]),
                age(row["eta_s"]),
                row["requested_by"],
                row["requested_at"],
                row["filter"],
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
            ("left", age(row["eta_s"])),
            ("pace", None if row["per_s"] is None else f"at most {row['per_s']:g} a second"),
            ("which", row["filter"]),
            ("asked by", row["requested_by"]),
            ("at", row["requested_at"]),
            ("ended", row["finished_at"]),
            ("last error", row["last_error"]),
        ]
    )
