"""Stores a stream of messages in batches, each a transaction; knows at any moment up to which line it came."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any, Final

import psycopg

from outbox.accept.enqueue import enqueue_many
from outbox.operate.console import Connection
from outbox.operate.message_stream import Line

BATCH: Final = 1000
ERRORS_KEPT: Final = 20

# What the trigger of outbox.message raises; the check before knows all of it but other rows: bots, targets.
REFUSALS: Final = (psycopg.errors.IntegrityError, psycopg.errors.DataError)


@dataclass(slots=True)
class Refused:
    """Lines that cannot be stored."""

    count: int = 0
    first: list[Line] = field(default_factory=list)
    """The first few, with their errors."""

    def add(self, line: Line) -> None:
        """Take one more."""
        self.count += 1
        if len(self.first) < ERRORS_KEPT:
            self.first.append(line)


@dataclass(slots=True)
class Checked:
    """What a first reading found, with nothing stored."""

    messages: int = 0
    keyed: int = 0
    """How many of them carry an idempotency key."""
    bots: dict[str, int] = field(default_factory=dict)
    """Each bot's first line."""
    refused: Refused = field(default_factory=Refused)
    broken: bool = False
    """Whether the file could not be read to its end."""


@dataclass(slots=True)
class Stored:
    """How far the storing came; kept up to date while it goes on."""

    messages: int = 0
    repeated: int = 0
    """Messages whose idempotency key was used already."""
    last_line: int = 0
    """All lines up to this one are dealt with, and committed."""
    committing_until: int = 0
    """The last line of the newest batch whose commit began and did not certainly fail."""
    complete: bool = False
    """Whether no line is left."""
    refused: Refused = field(default_factory=Refused)

    @property
    def unsure_until(self) -> int:
        """Above 0: a commit broke off, so that the lines up to this one may be stored as well."""
        return self.committing_until if self.committing_until > self.last_line else 0


class StopAsked:
    """Whether somebody asked to stop; a batch is ended before that."""

    number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second one is obeyed at once."""
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def until_asked_to_stop() -> Iterator[StopAsked]:
    """Note SIGINT and SIGTERM instead of dying of them, until the block ends."""
    asked = StopAsked()
    before = {number: signal.signal(number, asked.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_stream(lines: Iterable[Line]) -> Checked:
    """Read all lines; return what is in them."""
    checked = Checked()
    for line in lines:
        if line.message is None:
            checked.refused.add(line)
            checked.broken = checked.broken or line.last
            continue
        checked.messages += 1
        checked.keyed += line.message.idempotency_key is not None
        checked.bots.setdefault((line.message.bot or "default").lower(), line.number)
    return checked


def unknown_bots(connection: Connection, bots: Iterable[str]) -> list[str]:
    """Return those that the database does not know; none where this login may not ask."""
    try:
        known = {row["bot"] for row in connection.execute("SELECT bot FROM outbox.pressure")}
    except psycopg.errors.InsufficientPrivilege:
        return []
    return sorted(set(bots) - known)


def store_stream(
    connection: Connection, lines: Iterable[Line], stored: Stored, *, skip_bad: bool, asked: StopAsked
) -> Iterator[int]:
    """Store batch after batch, writing into `stored` what is committed; yield how many lines were dealt with.

    Ends early when `asked` says so, or, unless `skip_bad`, at a line that is refused, which is in `stored` then. Raises
    psycopg.Error when the database goes away. `stored` is true wherever it is interrupted.
    """
    rest = iter(lines)
    dealt_with = 0
    batch = list(islice(rest, BATCH))
    stored.complete = not batch
    while batch and asked.number is None:
        if not skip_bad and (bad := [line for line in batch if line.message is None]):
            stored.refused.add(bad[0])  # only where the file has changed since it was checked
            return
        if not _store(connection, batch, stored, skip_bad=skip_bad):
            return
        dealt_with += len(batch)
        stored.last_line = batch[-1].number
        batch = list(islice(rest, BATCH))
        stored.complete = not batch
        yield dealt_with


def _store(connection: Connection, batch: list[Line], stored: Stored, *, skip_bad: bool) -> bool:
    """Store a batch, or nothing of it. False: a line is refused."""
    good = [line for line in batch if line.message is not None]
    refused: list[Line] = []
    try:
        with connection.transaction():
            try:
                with connection.transaction():
                    ids = enqueue_many(connection, [line.message for line in good if line.message is not None])
            except REFUSALS:
                ids, refused = _store_one_by_one(connection, good)
                if refused and not skip_bad:
                    raise psycopg.Rollback from None
            stored.committing_until = batch[-1].number
    except psycopg.DatabaseError as error:
        if not isinstance(error, psycopg.OperationalError):  # an answer: the commit was refused
            stored.committing_until = 0
        raise
    for line in [*(line for line in batch if line.message is None), *refused]:
        stored.refused.add(line)
    if refused and not skip_bad:
        return False
    stored.messages += sum(one is not None for one in ids)
    stored.repeated += sum(one is None for one in ids)
    return True


def _store_one_by_one(connection: Connection, lines: list[Line]) -> tuple[list[int | None], list[Line]]:
    ids: list[int | None] = []
    refused: list[Line] = []
    for line in lines:
        assert line.message is not None
        try:
            with connection.transaction():
                ids += enqueue_many(connection, [line.message])
        except REFUSALS as error:
            refused.append(Line(line.number, None, _words(error)))
    return ids, refused


def _words(error: psycopg.Error) -> str:
    parts: list[Any] = [error.diag.message_primary, error.diag.message_hint]
    return ". ".join(str(part).rstrip(".") for part in parts if part) + "."
