"""Whether a bot sends, and if not, what holds it."""

from __future__ import annotations

from typing import Any, Final

from outbox.operate.console import CommandFailed, Connection, moment, number

Row = dict[str, Any]

SENDS: Final = "sends"


def limits_of(connection: Connection, bot: str) -> Row:
    """Return the bot's row of outbox.limits, with `depth`, how much waits as last counted, and `now`, the database's.

    Raises CommandFailed for a bot that does not exist.
    """
    found = all_limits(connection, bot)
    if not found:
        raise CommandFailed(f"bot {bot!r} does not exist. List them: outbox bot list")
    return found[0]


def all_limits(connection: Connection, bot: str | None = None) -> list[Row]:
    """Return the same of every bot."""
    return connection.execute(
        "SELECT l.*, d.depth, outbox.clock() AS now"
        "  FROM outbox.limits l"
        " CROSS JOIN LATERAL ("
        "       SELECT coalesce(sum(x.depth), 0)::bigint AS depth FROM outbox.depth x WHERE x.bot = l.bot) d"
        " WHERE %(bot)s::text IS NULL OR l.bot = lower(%(bot)s::text) ORDER BY l.bot",
        {"bot": bot},
    ).fetchall()


def what_holds(row: Row) -> list[str]:
    """Return what keeps a bot of limits_of() from sending, what lasts first; nothing: it sends."""
    held = []
    if row["stopped"]:
        held.append("paused by an operator")
    if row["unauthorised"]:
        held.append("its token was refused")
    if row["paused_until"] is not None and row["paused_until"] > row["now"]:
        why = f" ({row['paused_reason']})" if row["paused_reason"] else ""
        held.append(f"pauses until {moment(row['paused_until'])}{why}")
    if row["breaker"] == "open":
        until = f" until {moment(row['breaker_until'])}" if row["breaker_until"] is not None else ""
        held.append(f"breaker open{until}")
    elif row["breaker"] == "half_open":
        held.append("breaker half-open")
    return held


def waiting(row: Row) -> str:
    """Return how many messages wait, as a clause."""
    return "1 message waits" if row["depth"] == 1 else f"{number(row['depth'])} messages wait"
