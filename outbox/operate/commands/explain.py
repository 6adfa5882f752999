"""outbox explain"""

from __future__ import annotations

import click

from outbox.operate.console import connected, facts, json_option, note, number, print_json, shown, table
from outbox.operate.find_message import Row, expected, explain, find, in_words, label, note_limit

MOST = 20  # each costs a count of what is ahead


@click.command("explain")
@click.argument("message", metavar="ID|CORRELATION_ID")
@json_option
def command(message: str, as_json: bool) -> None:
    """Say why a message waits and when it will go: what stands in its way, what is ahead.

    \b
    Whatever stands in its way now: its own time first, then its chat's, then the bot's. Of a
    message that ended it says how; `outbox show` has the whole story.

    \b
      outbox explain 17
      outbox explain order-4711
      outbox explain 17 --json | jq .messages[0].expected_at

    \b
    Exit: 0 found, 1 not found or failed, 2 wrong usage
    """
    with connected("explain") as connection:
        found = find(connection, message)
        note_limit(found)
        # The id is meant where the number is both.
        messages = [found.by_id] if found.by_id is not None else found.by_correlation_id
        rows = [explain(connection, row["id"]) for row in messages[:MOST]]
    if as_json:
        print_json({"messages": rows})
        return
    if len(rows) == 1:
        _print(rows[0])
        return
    table(
        f"messages with the correlation id {shown(message)}",
        ["id", "status", "will be sent", "why"],
        [[row["id"], row["status"], expected(row), "; ".join(map(in_words, row["reasons"]))] for row in rows],
    )
    if len(messages) > MOST:
        note(f"only the newest {MOST} are explained.")


def _print(row: Row) -> None:
    facts(
        [
            ("message", row["id"]),
            ("status", row["status"]),
            *label("why", map(in_words, row["reasons"])),
            ("not before", row["waits_until"]),
            ("ahead in its chat", number(row["ahead_in_lane"])),
            ("chats ahead", number(row["ahead_of_bot"])),
            ("will be sent", expected(row)),
        ]
    )
