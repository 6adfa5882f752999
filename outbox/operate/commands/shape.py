"""outbox shape"""

from __future__ import annotations

import click

from outbox.operate.console import connected, json_option, number, print_json, say, table
from outbox.operate.find_message import Row
from outbox.operate.words import priority_name

AGES = ("<10 s", "<1 min", "<5 min", "<15 min", "<1 h", "<6 h", "<1 d", "older")
COUNTED = 500_000  # where outbox.shape stops
KEYS = ("under_10_s", "under_1_min", "under_5_min", "under_15_min", "under_1_h", "under_6_h", "under_1_d", "older")


@click.command("shape")
@click.option(
    "--by",
    type=click.Choice(["priority", "bot", "tag", "chat-kind"]),
    default="priority",
    show_default=True,
    help="What a row is. chat-kind: private, group (a negative number), channel-or-name (an @name).",
)
@json_option
def command(by: str, as_json: bool) -> None:
    """Show what waits by age, as a table: where a backlog is, and how old.

    \b
    Columns: messages that have been due for less than 10 s, then for less than 1 min but no
    less than 10 s, and so on; scheduled ones are not due yet. At most 50 rows, the largest;
    the rest is one row. Counts up to 500,000 messages, just now.

    \b
      outbox shape
      outbox shape --by tag
      outbox shape --by bot --json | jq '.rows[] | {name, older: .ages.older}'

    \b
    Exit: 0 done, 1 failed, 2 wrong usage
    """
    with connected("shape") as connection:
        rows = connection.execute(
            "SELECT name, total, scheduled, ages FROM outbox.shape(%s)", (by.replace("-", "_"),)
        ).fetchall()
    total = sum(row["total"] for row in rows)
    if as_json:
        named = [row | {"ages": dict(zip(KEYS, row["ages"], strict=True))} for row in rows]
        print_json({"by": by, "total": total, "capped": total >= COUNTED, "rows": named})
        return
    if not rows:
        say("nothing waits.")
        return
    table(None, [by, "total", *AGES, "scheduled"], [*(_cells(by, row) for row in rows), _cells("", _sum(rows))])
    if total >= COUNTED:
        say(f"{COUNTED:,} messages or more: the rest is not counted.")


def _cells(by: str, row: Row) -> list[str]:
    name = priority_name(int(row["name"])) if by == "priority" else row["name"]
    # A dot: zeros would hide the shape.
    counts = [number(count) if count else "." for count in (*row["ages"], row["scheduled"])]
    return [name, number(row["total"]), *counts]


def _sum(rows: list[Row]) -> Row:
    return {
        "name": "TOTAL",
        "total": sum(row["total"] for row in rows),
        "scheduled": sum(row["scheduled"] for row in rows),
        "ages": [sum(ages) for ages in zip(*(row["ages"] for row in rows), strict=True)],
    }
