"""Dead letters as operators name them, and the batches that retry or discard them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Literal

import psycopg

from outbox.operate.conditions import CONDITIONS, IDS_TOO, Conditions
from outbox.operate.console import CommandFailed, Connection
from outbox.operate.explain import explain
from outbox.operate.figures import HOUSE_IS_KEPT

Verb = Literal["retry", "discard"]
Row = dict[str, Any]


def until_now(connection: Connection, conditions: Conditions) -> Conditions:
    """Return conditions that no later death meets: what was counted is what is moved."""
    return replace(conditions, until=_value(connection, "least(%(until)s::timestamptz, outbox.clock())", conditions))


def count(connection: Connection, conditions: Conditions) -> int:
    """Return how many there are. Raises CommandFailed for a bot that does not exist."""
    query = f"outbox.count_dead_letters({IDS_TOO})"
    found = int(_value(connection, query, conditions))
    if found == 0 and conditions.bot is not None:
        require_bot(connection, conditions.bot)
    return found


def groups(connection: Connection, conditions: Conditions) -> list[Row]:
    """Return counts per bot, class and status, of the newest 100,000; not by id."""
    return connection.execute(
        f"SELECT * FROM outbox.dead_letter_groups({CONDITIONS})".encode(), conditions.parameters()
    ).fetchall()


def find(connection: Connection, conditions: Conditions, before: Row | None, limit: int) -> list[Row]:
    """Return the newest deaths, before that one; not by id."""
    place = {"before_at": before and before["died_at"], "before_id": before and before["id"], "limit": limit}
    return connection.execute(
        (
            f"SELECT * FROM outbox.find_dead_letters({CONDITIONS}, p_before_at => %(before_at)s::timestamptz,"
            " p_before_id => %(before_id)s::bigint, p_limit => %(limit)s::int)"
        ).encode(),
        conditions.parameters() | place,
    ).fetchall()


def reach(connection: Connection, conditions: Conditions) -> Row:
    """Return whether groups() and find() look at all of that time (`complete`), or how far back (`reached_at`)."""
    row = connection.execute(
        "SELECT complete, reached_at"
        "  FROM outbox.dead_letter_reach(p_since => %(since)s::timestamptz, p_until => %(until)s::timestamptz)",
        conditions.parameters(),
    ).fetchone()
    assert row is not None
    return row


def start_batch(
    connection: Connection, verb: Verb, conditions: Conditions, per_s: float | None, key: str | None = None
) -> int:
    """Have housekeeping retry or discard them, at most `per_s` a second; return the batch's id.

    With one key only one batch is ever started. Raises CommandFailed, which tells the key, where the answer is lost.
    """
    key = key or secrets.token_hex(8)
    query = f"outbox.start_batch(%(verb)s::text, {IDS_TOO}, p_per_s => %(per_s)s::float8, p_key => %(key)s::text)"
    try:
        return int(_value(connection, query, conditions, verb=verb, per_s=per_s, key=key))
    except psycopg.OperationalError as error:
        if not connection.closed:
            raise
        raise CommandFailed(
            f"{explain(error)} The batch may be started or not. The same command with --key {key} starts nothing twice."
        ) from error


def batch_of_key(connection: Connection, key: str) -> Row | None:
    """Return the batch that was started with that key, as outbox.batches shows it."""
    return connection.execute("SELECT * FROM outbox.batches WHERE key = %s::text", (key,)).fetchone()


def batch(connection: Connection, batch_id: int) -> Row:
    """Return a batch as outbox.batches shows it. Raises CommandFailed where there is none."""
    row = connection.execute("SELECT * FROM outbox.batches WHERE id = %s", (batch_id,)).fetchone()
    if row is None:
        raise CommandFailed(f"there is no batch {batch_id}. List them: outbox dead batches")
    return row


def house_is_kept(connection: Connection) -> bool:
    """Return whether a process is alive that runs batches, or will within seconds."""
    row = connection.execute(*HOUSE_IS_KEPT).fetchone()
    assert row is not None
    return bool(row["kept"])


def require_bot(connection: Connection, bot: str) -> None:
    """Raise CommandFailed for a bot that does not exist."""
    if connection.execute("SELECT FROM outbox.bot WHERE bot = %s", (bot.lower(),)).fetchone() is None:
        raise CommandFailed(f"bot {bot!r} does not exist. List them: outbox bot list")


def _value(connection: Connection, expression: str, conditions: Conditions, **more: Any) -> Any:
    row = connection.execute(f"SELECT {expression} AS value".encode(), conditions.parameters() | more).fetchone()
    assert row is not None
    return row["value"]
