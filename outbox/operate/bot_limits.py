"""Bots of outbox.limits with what waits for them and what holds them, for the commands about bots."""

from __future__ import annotations

from typing import Any

from outbox.operate.console import CommandFailed, Connection, number, shown
from outbox.operate.sending_state import SERVED, Hold, holds
from outbox.operate.times import in_utc

Row = dict[str, Any]


def limits_of(connection: Connection, bot: str) -> Row:
    """Return the bot's row of outbox.limits, with `depth`, how much waits as last counted, `served`, whether a worker
    lives that serves it, and `now`, the database's clock.

    Raises CommandFailed for a bot that does not exist.
    """
    found = all_limits(connection, bot)
    if not found:
        raise CommandFailed(f"bot {bot!r} does not exist. List them: outbox bot list")
    return found[0]


def all_limits(connection: Connection, bot: str | None = None) -> list[Row]:
    """Return the same of every bot."""
    return connection.execute(
        (
            f"SELECT l.*, d.depth, l.bot IN ({SERVED}) AS served, outbox.clock() AS now"
            "  FROM outbox.limits l"
            " CROSS JOIN LATERAL ("
            "       SELECT coalesce(sum(x.depth), 0)::bigint AS depth FROM outbox.depth x WHERE x.bot = l.bot) d"
            " WHERE %(bot)s::text IS NULL OR l.bot = lower(%(bot)s::text) ORDER BY l.bot"
        ).encode(),
        {"bot": bot},
    ).fetchall()


def holds_of(row: Row) -> list[Hold]:
    """Return what keeps a bot of limits_of() from sending, the gravest first; nothing: it sends."""
    return holds(row, row["now"], served=row["served"])


def told(hold: Hold) -> str:
    """Return a hold with its end and its reason."""
    until = "" if hold.until is None else f" until {in_utc(hold.until)}"
    return f"{hold.word}{until}{f' ({shown(hold.why)})' if hold.why else ''}"


def waiting(row: Row) -> str:
    """Return how many messages wait, as a clause."""
    return "1 message waits" if row["depth"] == 1 else f"{number(row['depth'])} messages wait"
