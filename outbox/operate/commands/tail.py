"""outbox tail"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator

import click
from rich.text import Text

from outbox.operate.console import age, as_json_line, json_option, note, screen, shown
from outbox.operate.explain import explain
from outbox.operate.find_message import Row
from outbox.operate.steady import AWAY, SteadyConnection, steadily_connected, until_told
from outbox.operate.times import in_utc
from outbox.operate.words import ENDED

LOOK_EVERY_S = 1.0
AWAY_FOR_S = 3.0  # between attempts to reach a database that is away
BATCH = 1000
STYLES = {"sent": "green", "dead": "bold red", "uncertain": "bold yellow"}


@click.command("tail")
@click.option("--status", "statuses", type=click.Choice(ENDED), multiple=True, help="Only these; may be repeated.")
@click.option("--bot", help="Only of this bot.")
@click.option("--tag", help="Only with this tag.")
@click.option("--from-start", is_flag=True, help="Begin with the oldest message kept, not with what ends from now on.")
@click.option("--cursor", help="Go on after a line of --json that you have dealt with: its cursor.")
@json_option
def command(
    statuses: tuple[str, ...], bot: str | None, tag: str | None, from_start: bool, cursor: str | None, as_json: bool
) -> None:
    """Follow what is sent, dies, expires or is cancelled: a line per message.

    \b
    In an order in which no message is skipped; an id may come twice, dead and later sent. When
    the database goes away it waits and goes on where it was. With --json a line is an object.

    \b
      outbox tail --status dead --status uncertain
      outbox tail --tag news --json | jq -r .chat_id
      outbox tail --from-start --json --cursor "$CURSOR"

    \b
    Exit: 0 ended by Ctrl-C, SIGTERM or a reader that left, 1 failed, 2 wrong usage
    """
    if from_start and cursor is not None:
        raise click.UsageError("--from-start and --cursor exclude each other: leave one out.")

    def wanted(row: Row) -> bool:
        return (
            (not statuses or row["status"] in statuses)
            and (bot is None or row["bot"] == bot.lower())
            and (tag is None or row["tag"] == tag)
        )

    with until_told(), steadily_connected("tail") as connection:
        if cursor is None and not from_start:
            cursor = _now(connection)
            note("following what ends from now on. Ctrl-C ends it.")
        for rows in _follow(connection, cursor):
            _print([row for row in rows if wanted(row)], as_json)


def _now(connection: SteadyConnection) -> str:
    [row] = connection.fetch("SELECT outbox.follow_from_now() AS cursor")
    return str(row["cursor"])


def _follow(connection: SteadyConnection, cursor: str | None) -> Iterator[list[Row]]:
    """Yield what ended after the cursor, for ever. Raises what the first call raises: then nothing ever worked."""
    away = False
    worked = False
    while True:
        try:
            rows = connection.fetch("SELECT * FROM outbox.follow(%s, %s)", (cursor, BATCH))
        except AWAY as error:
            if not worked:
                raise
            if not away:
                note(f"{explain(error)} Trying again.")
            away = True
            _wait(AWAY_FOR_S)
            continue
        if away:
            note("the database is back.")
        worked, away = True, False
        if rows:
            cursor = rows[-1]["cursor"]
            yield rows
        if len(rows) < BATCH:
            _wait(LOOK_EVERY_S)


def _wait(seconds: float) -> None:
    """Sleep. Raises BrokenPipeError as soon as nobody can read any more what we print."""
    readers = select.poll()
    try:
        readers.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file, as in tests
        time.sleep(seconds)
        return
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in readers.poll(seconds * 1000)):
        raise BrokenPipeError


def _print(rows: list[Row], as_json: bool) -> None:
    if not rows:
        return
    if as_json:
        click.echo("\n".join(map(as_json_line, rows)))
        return
    console = screen()
    for row in rows:
        console.print(_line(row), soft_wrap=True)


def _line(row: Row) -> Text:
    due = max(row["created_at"], row["scheduled_for"])
    ended_after = age((row["finished_at"] - due).total_seconds())
    parts = [
        f"bot={shown(row['bot'])}",
        f"chat={shown(row['chat_id'])}",
        shown(row["method"]),
        f"tag={shown(row['tag'])}" if row["tag"] else "",
        f"after {ended_after}",
        f"{row['attempts']} attempts" if row["attempts"] > 1 else "",
        shown(": ".join(part for part in (row["error_class"], row["error_text"]) if part)),
    ]
    return Text.assemble(
        in_utc(row["finished_at"]),
        "  ",
        (f"{row['status']:<10}", STYLES.get(row["status"], "")),
        f"  {row['id']:>8}  ",
        "  ".join(part for part in parts if part),
    )
