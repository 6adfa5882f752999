"""Dead letters as operators name them, and the batches that retry or discard them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from outbox.operate.console import CommandFailed, Connection

Verb = Literal["retry", "discard"]
Row = dict[str, Any]

_CONDITIONS: Final = (
    "p_bot => %(bot)s::text, p_class => %(error_class)s::text, p_tag => %(tag)s::text,"
    " p_since => %(since)s::timestamptz, p_until => %(until)s::timestamptz, p_text => %(text)s::text,"
    " p_status => %(status)s::text"
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which dead letters; all that is given must hold. Times are those of death, `until` itself excluded."""

    ids: tuple[int, ...] = ()
    bot: str | None = None
    error_class: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    status: str | None = None

    @property
    def empty(self) -> bool:
        """Whether every dead letter is meant."""
        return self == Conditions()

    def parameters(self) -> Row:
        """Return them as the parameters of a query."""
        return asdict(self) | {"ids": list(self.ids) or None}


def until_now(connection: Connection, conditions: Conditions) -> Conditions:
    """Return conditions that no later death meets: what was counted is what is moved."""
    return replace(conditions, until=_value(connection, "least(%(until)s::timestamptz, outbox.clock())", conditions))


def count(connection: Connection, conditions: Conditions) -> int:
    """Return how many there are. Raises CommandFailed for a bot that does not exist."""
    query = f"outbox.count_dead_letters({_CONDITIONS}, p_ids => %(ids)s::bigint[])"
    found = int(_value(connection, query, conditions))
    if found == 0 and conditions.bot is not None:
        require_bot(connection, conditions.bot)
    return found


def groups(connection: Connection, conditions: Conditions) -> list[Row]:
    """Return counts per bot, class and status, of the newest 100,000; not by id."""
    return connection.execute(
        f"SELECT * FROM outbox.dead_letter_groups({_CONDITIONS})".encode(), conditions.parameters()
    ).fetchall()


def find(connection: Connection, conditions: Conditions, before: Row | None, limit: int) -> list[Row]:
    """Return the newest deaths, before that one; not by id."""
    place = {"before_at": before and before["died_at"], "before_id": before and before["id"], "limit": limit}
    return connection.execute(
        (
            f"SELECT * FROM outbox.find_dead_letters({_CONDITIONS}, p_before_at => %(before_at)s::timestamptz,"
            " p_before_id => %(before_id)s::bigint, p_limit => %(limit)s::int)"
        ).encode(),
        conditions.parameters() | place,
    ).fetchall()


def start_batch(connection: Connection, verb: Verb, conditions: Conditions, per_s: float | None) -> int:
    """Have housekeeping retry or discard them, at most `per_s` a second; return the batch's id."""
    query = (
        f"outbox.start_batch(%(verb)s::text, p_ids => %(ids)s::bigint[], {_CONDITIONS}, p_per_s => %(per_s)s::float8)"
    )
    return int(_value(connection, query, conditions, verb=verb, per_s=per_s))


def batch(connection: Connection, batch_id: int) -> Row:
    """Return a batch as outbox.batches shows it. Raises CommandFailed where there is none."""
    row = connection.execute("SELECT * FROM outbox.batches WHERE id = %s", (batch_id,)).fetchone()
    if row is None:
        raise CommandFailed(f"there is no batch {batch_id}. List them: outbox dead batches")
    return row


def is_kept_house(connection: Connection) -> bool:
    """Return whether a process is alive that runs batches, or will within seconds."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM outbox.housekeeping WHERE duty = 'lease' AND lease_until > outbox.clock())"
        "    OR EXISTS (SELECT FROM outbox.worker WHERE ended_at IS NULL AND lease_until > outbox.clock()) AS kept"
    ).fetchone()
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
