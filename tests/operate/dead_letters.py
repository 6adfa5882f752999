"""Dead letters as workers make them, and what operators call."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register


def unlimited(connection: Connection, bot: str = "default") -> None:
    """Take the bot's limits away, so that a test's own dead letters come about at one moment."""
    add_bot(connection, bot, rate=None, chat_interval_s=0, group_limit=None)


def limited(connection: Connection, bot: str = "default") -> None:
    """Give the bot Telegram's limits back."""
    add_bot(connection, bot, rate=30, chat_interval_s=1, group_limit=20)


def die(
    connection: Connection,
    chat_id: str | int,
    error_class: str = "bad_request",
    error_text: str = "Bad Request: no",
    **columns: Any,
) -> int:
    """Insert a message that its first call ends as a dead letter; the bot should be unlimited. Return its id."""
    message_id = insert(connection, chat_id, **columns)
    worker = register(connection, bot := columns.get("bot", "default"))
    lanes = [lane for lane in claim(connection, worker, bots=[bot]).lanes if lane.message_id == message_id]
    assert len(lanes) == 1
    finish(connection, worker, lanes, "dead", error_class=error_class, error_text=error_text)
    return message_id


def operate(connection: Connection, verb: str, *arguments: Any, **named: Any) -> Any:
    """Call one of an operator's functions; return what it returns."""
    parts = [sql.Placeholder()] * len(arguments)
    parts += [sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in named]  # type: ignore[misc]
    row = connection.execute(
        sql.SQL("SELECT outbox.{}({})").format(sql.Identifier(verb), sql.SQL(", ").join(parts)),
        [*arguments, *named.values()],
    ).fetchone()
    assert row is not None
    return row[0]


def audited(connection: Connection) -> list[tuple[str, dict[str, Any], int]]:
    """What is on record of operators, oldest first: what, filter, count."""
    return connection.execute("SELECT what, filter, count FROM outbox.audit ORDER BY id").fetchall()
