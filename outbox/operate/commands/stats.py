"""outbox stats"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from outbox.operate.console import (
    age,
    draw,
    json_option,
    make_table,
    number,
    on_terminal,
    print_json,
    screen,
    shown,
)
from outbox.operate.explain import explain
from outbox.operate.figures import LATELY_MIN, Row, read_broadcasts, read_figures
from outbox.operate.sending_state import PAUSED, REFUSED, SENDS, state_of
from outbox.operate.steady import AWAY, SteadyConnection, steadily_connected, until_told
from outbox.operate.times import in_utc
from outbox.operate.words import ENDED, priority_name

REFRESH_S = 1.0
BROADCASTS_EVERY_S = 15.0  # as often as housekeeping counts them
BROADCASTS_SHARE = 0.05  # of the time, at most: with a million waiting they take seconds to count
OLD_S = 60.0  # of a count that housekeeping makes every 15 s
BAD = "bold red"
STYLES = {"bad": BAD, "warn": "yellow", "good": "green"}


@click.command("stats")
@click.option("--once", is_flag=True, help="Print once and end; the default where stdout is not a terminal.")
@click.option("--exact", is_flag=True, help="Count what waits now: reads every waiting message.")
@json_option
def command(once: bool, exact: bool, as_json: bool) -> None:
    """Show depth and age, rate against limit, 429s, pauses, workers and broadcasts.

    \b
    On a terminal it refreshes every second until Ctrl-C. Depth is as housekeeping last counted
    it, at most 15 s ago, and says so; --exact counts now. The rate is of the last minute.

    \b
      outbox stats
      outbox stats --once --exact
      outbox stats --json | jq '.queue.rows[] | select(.oldest_age_s > 60)'

    \b
    Exit: 0 done, or ended by Ctrl-C; 1 failed, 2 wrong usage
    """
    with steadily_connected("stats") as connection:
        if not once and not as_json and on_terminal():
            _show_live(connection, exact)
            return
        figures = read_figures(connection.fetch, exact=exact) | {"broadcasts": read_broadcasts(connection.fetch)}
    if as_json:
        print_json(figures)
    else:
        draw(picture(figures))


def _show_live(connection: SteadyConnection, exact: bool) -> None:
    """Draw the figures every second until told to stop; what was drawn last stays on the terminal."""
    console = screen()
    last: RenderableType = ""
    with until_told(), Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        for last in _pictures(connection, exact):
            live.update(last, refresh=True)
    with contextlib.suppress(OSError):  # the terminal was closed
        console.print(last)


def _pictures(connection: SteadyConnection, exact: bool) -> Iterator[RenderableType]:
    figures: Row | None = None
    broadcasts: list[Row] = []
    broadcasts_at = 0.0
    while True:
        began = time.monotonic()
        try:
            if began >= broadcasts_at:
                broadcasts = read_broadcasts(connection.fetch)
                took_s = time.monotonic() - began
                broadcasts_at = began + max(BROADCASTS_EVERY_S, took_s / BROADCASTS_SHARE)
            figures = read_figures(connection.fetch, exact=exact) | {"broadcasts": broadcasts}
            yield picture(figures)
        except AWAY as error:
            if figures is None:  # nothing ever worked
                raise
            stale = f"These are the figures of {in_utc(figures['at'])}: {shown(explain(error))} Trying again."
            yield Group(Text(stale, style=BAD), picture(figures))
        time.sleep(max(0.1, REFRESH_S - (time.monotonic() - began)))


def picture(figures: Row) -> RenderableType:
    """Return the figures as tables."""
    parts: list[RenderableType] = [Text(f"{in_utc(figures['at'])}   {_counted(figures)}"), *_warnings(figures)]
    queue = [row for row in figures["queue"]["rows"] if row["depth"]]
    if queue:
        parts += [Text(), make_table("queue", *_queue(queue))]
    if figures["bots"]:
        parts += [Text(), make_table("bots, last minute", *_bots(figures["bots"], figures["at"]))]
        parts += [Text(), make_table(f"ended, last {LATELY_MIN} min", *_ended(figures["bots"]))]
    if figures["workers"]:
        parts += [Text(), make_table("workers", *_workers(figures["workers"], figures["at"]))]
    if figures["broadcasts"]:
        parts += [Text(), make_table("broadcasts", *_broadcasts(figures["broadcasts"]))]
    return Group(*parts)


def _counted(figures: Row) -> str:
    queue = figures["queue"]
    depth = sum(row["depth"] for row in queue["rows"])
    waits = f"{depth:,} wait" if depth else "nothing waits"
    if queue["exact"]:
        return f"{waits}, counted now"
    if queue["measured_at"] is None:
        return "not counted yet: outbox stats --exact counts now"
    return f"{waits}, counted {age((figures['at'] - queue['measured_at']).total_seconds())} ago"


def _warnings(figures: Row) -> Iterator[Text]:
    queue = figures["queue"]
    old = queue["measured_at"] is not None and (figures["at"] - queue["measured_at"]).total_seconds() > OLD_S
    if not figures["house_is_kept"] and not queue["exact"]:
        yield Text("Nobody keeps house, so the depth is not counted. Run: outbox up, or outbox worker", style=BAD)
    elif old and not queue["exact"]:
        yield Text("The depth is not counted any more, although house is kept. Why: outbox doctor", style=BAD)
    if not any(row["state"] != "lost" for row in figures["workers"]):
        yield Text("No worker is alive: nothing is sent. Run: outbox up, or outbox worker", style=BAD)


def _queue(rows: list[Row]) -> tuple[list[str], list[list[Any]]]:
    return ["bot", "priority", "depth", "due", "scheduled", "retrying", "oldest due for"], [
        [
            row["bot"],
            priority_name(row["priority"]),
            *(number(row[column]) for column in ("depth", "due", "scheduled", "retrying")),
            age(row["oldest_age_s"]) if row["due"] else "",
        ]
        for row in rows
    ]


def _bots(bots: list[Row], now: datetime) -> tuple[list[str], list[list[Any]]]:
    return ["bot", "sent/s", "limit/s", "429s", "failed", "state"], [
        [
            row["bot"],
            f"{row['sent'] / 60:.1f}",
            "unlimited" if row["limit_per_s"] is None else f"{row['limit_per_s']:g}",
            _bad_if(row["too_many_requests"]),
            _bad_if(row["failed"]),
            _state(row, now),
        ]
        for row in bots
    ]


def _state(bot: Row, now: datetime) -> Text:
    """Return what keeps a bot from sending, the gravest first."""
    hold = state_of(bot, now, served=bot["served"])
    do = {PAUSED: f": outbox resume {bot['bot']}", REFUSED: ": set the right one"}.get(hold.word, "")
    if hold.word == SENDS and bot["limit_per_s"] is not None and bot["limit_per_s"] < bot["full_per_s"]:
        return Text(f"{SENDS}, slowed down from {bot['full_per_s']:g}/s after 429s", style=STYLES["warn"])
    left = "" if hold.until is None else f" for {age((hold.until - now).total_seconds())} more"
    why = f" ({shown(hold.why)})" if hold.why else ""
    return Text(f"{hold.word}{left}{why}{do}", style=STYLES[hold.kind])


def _ended(bots: list[Row]) -> tuple[list[str], list[list[Any]]]:
    return ["bot", *ENDED], [[row["bot"], *(number(row["ended"].get(status, 0)) for status in ENDED)] for row in bots]


def _workers(workers: list[Row], now: datetime) -> tuple[list[str], list[list[Any]]]:
    return ["worker", "id", "bots", "version", "up for", "heartbeat", "state"], [
        [
            row["name"],
            row["id"],
            row["bots"],
            row["version"],
            age((now - row["started_at"]).total_seconds()),
            f"{age((now - row['heartbeat_at']).total_seconds())} ago",
            Text(row["state"], style=BAD if row["state"] == "lost" else ""),
        ]
        for row in workers
    ]


def _broadcasts(broadcasts: list[Row]) -> tuple[list[str], list[list[Any]]]:
    return ["tag", "bot", "done", "waiting", "sent", "dead", "rate", "through in"], [
        [
            row["tag"],
            row["bot"],
            f"{(row['progress'] or 0) * 100:.0f} %",
            number(row["waiting"]),
            number(row["sent"]),
            _bad_if(row["dead"] + row["uncertain"]),
            f"{row['ended_per_s']:.1f}/s" if row["ended_per_s"] else "",
            "cancelled" if row["cancel_requested_at"] else age(row["eta_s"]),
        ]
        for row in broadcasts
    ]


def _bad_if(count: int) -> Text:
    return Text(number(count), style=BAD if count else "")
