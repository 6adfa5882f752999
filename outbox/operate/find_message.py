"""One message by what a person has at hand: its id, or the correlation id that an application or a log line names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outbox.operate.console import CommandFailed, Connection, age, note, shown
from outbox.operate.times import in_utc
from outbox.operate.words import WAITING

MOST = 50  # with one correlation id, newest first
LARGEST_ID = 2**63 - 1

_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?\+00\b")
_RESUME = re.compile(r"SELECT outbox\.resume\('([a-z0-9_-]+)'\)")

Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What bears a name: the message of that id, and those of that correlation id."""

    by_id: Row | None
    by_correlation_id: list[Row]
    reached_at: datetime | None
    """Older ones were not all looked at; None: all were."""

    @property
    def messages(self) -> list[Row]:
        """All of them, each once, the one of that id first."""
        first = [] if self.by_id is None else [self.by_id]
        return first + [row for row in self.by_correlation_id if self.by_id is None or row["id"] != self.by_id["id"]]


def find(connection: Connection, name: str) -> Found:
    """Return the messages of an id or a correlation id. Raises CommandFailed where there is none."""
    name = name.strip()
    by_id = None
    if re.fullmatch(r"[0-9]{1,19}", name) and int(name) <= LARGEST_ID:
        by_id = connection.execute(
            "SELECT id, bot, chat_id::text, method, priority, status, tag, correlation_id, created_at, scheduled_for,"
            " next_attempt_at, finished_at, attempts, telegram_message_id, error_class, error_text"
            "  FROM outbox.history WHERE id = %s",
            (int(name),),
        ).fetchone()
    by_correlation_id: list[Row] = []
    reached_at = None
    with contextlib.suppress(UnicodeEncodeError):  # bytes that are no text: nothing in a database bears them
        # A row without id: nothing was found, and not all was looked at.
        for row in connection.execute(
            "SELECT * FROM outbox.search_messages(p_correlation_id => %s::text, p_limit => %s)", (name, MOST)
        ):
            complete, _, reached_at = row.pop("complete"), row.pop("reached_id"), row.pop("reached_at")
            reached_at = None if complete else reached_at
            if row["id"] is not None:
                by_correlation_id.append(row)
    if by_id is None and not by_correlation_id:
        raise CommandFailed(
            f"no message has the id or correlation id {shown(name)}: its transaction was never committed, or it ended"
            f" before what is kept, 30 days by default.{_limit(reached_at)}"
        )
    return Found(by_id, by_correlation_id, reached_at)


def note_limit(found: Found) -> None:
    """Say on stderr what was not looked at."""
    if found.reached_at is not None:
        note(_limit(found.reached_at).strip())


def _limit(reached_at: datetime | None) -> str:
    return "" if reached_at is None else f" Of those written before {in_utc(reached_at)} not all were looked at."


def explain(connection: Connection, message_id: int) -> Row:
    """Return what outbox.explain says, and `now`, the database's clock."""
    row = connection.execute(
        "SELECT e.*, outbox.clock() AS now FROM outbox.explain(%s::bigint) e", (message_id,)
    ).fetchone()
    assert row is not None
    return row


def in_words(reason: str) -> str:
    """Return a reason of outbox.explain as people at a terminal read it."""
    return _RESUME.sub(r"outbox resume \1", _TIME.sub(r"\1 UTC", reason))


def expected(row: Row) -> str:
    """Return when the message of an explain() row will probably go."""
    if row["expected_at"] is None:
        return "not as things are" if row["status"] in WAITING else ""
    left = (row["expected_at"] - row["now"]).total_seconds()
    return "now" if left < 1 else f"in about {age(left)}"


def label(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield facts of several lines with one name: it stands before the first."""
    for place, line in enumerate(lines):
        yield ("" if place else name), line
