"""A file of messages on its way into the database, and what is told about it."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import psycopg

from outbox.operate.console import CommandFailed, Connection, connected, note, print_json, say
from outbox.operate.explain import explain
from outbox.operate.message_stream import Form, Line, read_messages
from outbox.operate.progress import progress
from outbox.operate.store_stream import (
    Checked,
    Refused,
    Stored,
    check_stream,
    store_stream,
    unknown_bots,
    until_asked_to_stop,
)
from outbox.settings import UsageError


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """Yield the file, or stdin for -, so that it can be read twice. Raises UsageError where it cannot be read."""
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            if path != "-" and file.seekable():
                yield file
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                copy.seek(0)
                yield cast(IO[bytes], copy)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.strerror is None:
            raise
        raise UsageError(f"{path} cannot be read: {error.strerror}", "Correct the path or the file's mode") from None


class SentFile:
    """Checks a file, stores it, and says what came of it."""

    def __init__(
        self, name: str, file: IO[bytes], form: Form, defaults: dict[str, Any], first: int, *, as_json: bool
    ) -> None:
        self._name = "stdin" if name == "-" else name
        self._file = file
        self._form = form
        self._defaults = defaults
        self._first = first
        self._as_json = as_json

    def check_only(self) -> int:
        """Say what the file holds; return the exit code."""
        checked = self._check()
        self._tell_refused(checked.refused)
        if self._as_json:
            print_json({"messages": checked.messages, "stored": 0} | _refusals(checked.refused))
        else:
            say(f"{_messages(checked.messages)} would be accepted; {_bad_lines(checked.refused.count)}")
        return 1 if checked.refused.count else 0

    def send(self, *, skip_bad: bool) -> int:
        """Check the file, then store it; return the exit code."""
        checked = self._check()
        if checked.broken or (checked.refused.count and not skip_bad):
            self._tell_refused(checked.refused)
            if self._as_json:
                print_json({"stored": 0, "repeated": 0, "last_line": 0} | _refusals(checked.refused))
            skip = " it" if checked.broken else " what is wrong, or add --skip-bad to leave it out"
            note(f"nothing was stored: {_bad_lines(checked.refused.count)} in {self._name}. Correct{skip}.")
            return 1
        stored = Stored(last_line=self._first - 1)
        with connected("send") as connection:
            if not skip_bad and (unknown := unknown_bots(connection, checked.bots)):
                bot = unknown[0]
                raise CommandFailed(
                    f"line {checked.bots[bot]}: bot {bot!r} does not exist. Nothing was stored."
                    f" Add it: outbox bot add {bot}, or name one of outbox bot list."
                )
            return self._store(connection, checked, stored, skip_bad)

    def _check(self) -> Checked:
        with progress("checking", None) as advance:

            def counted() -> Iterator[Line]:
                for count, line in enumerate(self._lines(), start=1):
                    if count % 1000 == 0:
                        advance(count)
                    yield line

            return check_stream(counted())

    def _store(self, connection: Connection, checked: Checked, stored: Stored, skip_bad: bool) -> int:
        lost: Exception | None = None
        with until_asked_to_stop() as asked:
            try:
                with progress("storing", checked.messages + checked.refused.count) as advance:
                    for done in store_stream(connection, self._lines(), stored, skip_bad=skip_bad, asked=asked):
                        advance(done)
            except (psycopg.Error, KeyboardInterrupt) as error:
                if isinstance(error, psycopg.Error):
                    lost = error
        self._tell_refused(stored.refused)
        if self._as_json:
            print_json(
                {"stored": stored.messages, "repeated": stored.repeated, "last_line": stored.last_line}
                | {"complete": stored.complete, "unsure_until_line": stored.unsure_until or None}
                | _refusals(stored.refused)
            )
        else:
            say(_told(stored, left_out=stored.refused.count if skip_bad else 0))
        if stored.complete:
            return 0
        if lost is not None:
            note(explain(lost))
        note(_how_to_go_on(self._name, checked, stored, "the connection broke" if lost else "it was interrupted"))
        return 1 if asked.number is None else 128 + asked.number

    def _lines(self) -> Iterator[Line]:
        self._file.seek(0)
        return read_messages(self._file, self._form, self._defaults, self._first)

    def _tell_refused(self, refused: Refused) -> None:
        for line in refused.first:
            note(f"line {line.number}: {line.error}")
        if refused.count > len(refused.first):
            note(f"and {refused.count - len(refused.first):,} more bad lines")


def _refusals(refused: Refused) -> dict[str, Any]:
    return {
        "bad_lines": refused.count,
        "first_bad": [{"line": line.number, "error": line.error} for line in refused.first],
    }


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def _told(stored: Stored, left_out: int) -> str:
    told = f"{_messages(stored.messages)} stored"
    if stored.repeated:
        told += f", {stored.repeated:,} stored before (idempotency key)"
    if left_out:
        told += f", {_bad_lines(left_out)} left out"
    return told


def _bad_lines(count: int) -> str:
    return "1 bad line" if count == 1 else f"{count:,} bad lines"


def _how_to_go_on(name: str, checked: Checked, stored: Stored, what_happened: str) -> str:
    after = stored.last_line + 1
    if checked.keyed == checked.messages:
        return f"stopped after line {stored.last_line} of {name}. Send it again: its keys keep it from coming twice."
    if stored.unsure_until:
        return (
            f"lines {after} to {stored.unsure_until} of {name} may be stored or not: {what_happened} during the"
            f" commit. Look in outbox.history, then go on with --from-line {after} or {stored.unsure_until + 1}."
        )
    return f"{name} is stored up to line {stored.last_line}. Go on with the same command and --from-line {after}."
