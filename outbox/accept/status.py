"""What has become of one message."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from outbox.accept.columns import integer, parameter
from outbox.accept.door import run
from outbox.accept.steps import Query

if TYPE_CHECKING:
    from outbox.accept.door import Async, Sync
    from outbox.accept.steps import Rows, Steps

NOT_ENDED: Final = ("queued", "sending", "unknown")


@dataclass(frozen=True, slots=True)
class Status:
    """Where one message stands. Times have a zone; one beyond the year 9999 is the last that Python knows."""

    status: Literal[
        "queued",
        "sending",
        "sent",
        "dead",
        "uncertain",
        "expired",
        "cancelled",
        "superseded",
        "discarded",
        "unknown",
    ]
    """As in outbox.history; unknown: never committed, or it ended before what is kept (30 days by default)."""

    attempts: int
    """Calls that were made and count, waits for a 429 excepted."""

    next_attempt_at: datetime | None
    """When it is tried next; None once it has ended."""

    finished_at: datetime | None
    """When it ended; None while it waits."""

    telegram_message_id: int | None
    """Telegram's id of it in the chat, of what was sent and of which Telegram told one."""

    error_class: str | None
    """What kind of failure the last one was, such as timeout or blocked; docs/delivery.md lists them."""

    error_text: str | None
    """Telegram's words for it, or ours."""

    cancel_requested: bool
    """Whether a cancel waits for its lane to be looked at."""

    @property
    def ended(self) -> bool:
        """Whether it is done with: sent, or given up in one of the other ways; only a person brings it back."""
        return self.status not in NOT_ENDED


@overload
def status(connection: Sync, id: int) -> Status: ...
@overload
def status(connection: Async, id: int) -> Awaitable[Status]: ...
def status(connection: Sync | Async, id: int) -> Status | Awaitable[Status]:
    """Return where the message of that id stands, as the caller's transaction sees it.

    Raises TypeError or ValueError for what is no id, TypeError for a connection of no known kind.
    """
    return run(connection, _status(id))


def status_query(call: str, *parameters: str) -> Query:
    """Return a query for a call that returns a status: as text, of which no driver has its own idea."""
    return Query(f"SELECT CAST(to_json(s) AS text) FROM {call} AS s", parameters)


def status_of(id: int) -> Query:
    """Return the query for the status of a message; raise TypeError or ValueError for what is no id."""
    return status_query(f"outbox.status({parameter(1, 'bigint')})", integer("id", id))


def status_in(rows: Rows) -> Status:
    """Return the status that such a call brought."""
    told: dict[str, Any] = json.loads(rows[0][0])
    return Status(
        status=told["status"],
        attempts=told["attempts"] or 0,
        next_attempt_at=_time(told["next_attempt_at"]),
        finished_at=_time(told["finished_at"]),
        telegram_message_id=told["telegram_message_id"],
        error_class=told["error_class"],
        error_text=told["error_text"],
        cancel_requested=told["cancel_requested"],
    )


def _status(id: int) -> Steps[Status]:
    return status_in((yield status_of(id)))


def _time(told: str | None) -> datetime | None:
    try:
        return None if told is None else datetime.fromisoformat(told)
    except ValueError:  # PostgreSQL's years go on where Python's end
        return datetime.max.replace(tzinfo=UTC)
