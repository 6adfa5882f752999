"""Messages in a file, JSON lines or CSV: each line becomes a Message or a line that says what to change."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Literal

from outbox.accept.check import RefusedError, check
from outbox.accept.columns import TYPES
from outbox.accept.message import Message
from outbox.operate.arguments import priority

Form = Literal["jsonl", "csv"]

FORMS: Final[dict[str, Form]] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
# A payload of 256 kB, each of its characters written as \uXXXX, and the other columns.
LONGEST_LINE: Final = 2_000_000
SHOWN: Final = 80
COLUMNS: Final = f"{', '.join(TYPES)}; or text, for a payload of nothing else"
EXAMPLE: Final = '{"chat_id": 42, "text": "hi"}'


class LineError(ValueError):
    """What is wrong with a line and what to change."""


class FileError(LineError):
    """The same where nothing behind that line can be read."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@dataclass(frozen=True, slots=True)
class Line:
    """A message of the file, or why it is none."""

    number: int
    """Of the line where it begins, from 1."""
    message: Message | None
    error: str | None = None
    last: bool = False
    """Whether nothing behind it can be read."""


def form_of(name: str) -> Form | None:
    """Return the form that a file's name tells; None for one that tells none."""
    return FORMS.get(Path(name).suffix.lower())


def read_messages(file: IO[bytes], form: Form, defaults: Mapping[str, Any], first: int = 1) -> Iterator[Line]:
    """Yield each message of the file from line `first` on; empty lines are none.

    `defaults` are fields of Message for the lines that leave them out. Every message yielded has passed outbox.check.
    """
    records = _csv_records(file) if form == "csv" else _json_records(file)
    while True:
        try:
            number, read = next(records)
        except StopIteration:
            return
        except FileError as error:
            yield Line(error.number, None, str(error), last=True)
            return
        if number < first:
            continue
        try:
            fields = read()
            yield Line(number, _message(_filled_up(fields, defaults)))
        except LineError as error:
            yield Line(number, None, str(error))


def _filled_up(fields: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    holds = "text" in fields or "payload" in fields
    return {name: value for name, value in defaults.items() if not (holds and name in ("text", "payload"))} | fields


def _message(fields: dict[str, Any]) -> Message:
    for name in fields:
        if name not in TYPES and name != "text":
            raise LineError(f"a message has no field {name[:SHOWN]!r}. Use {COLUMNS}.")
    if "text" in fields:
        if "payload" in fields:
            raise LineError("both text and payload are given. Leave one of them out.")
        fields["payload"] = {"text": fields.pop("text")}
    for name in ("chat_id", "payload"):
        if name not in fields:
            raise LineError(f"{name} is missing. Give it, such as {'42' if name == 'chat_id' else 'text: hi'}.")
    try:
        message = Message(**{name: _value(name, value) for name, value in fields.items()})
        check(message)
    except RefusedError as error:
        raise LineError(f"{error}. {error.hint}") from None
    except (TypeError, ValueError) as error:
        raise LineError(str(error)) from None
    return message


def _value(name: str, value: Any) -> Any:
    if name == "priority" and isinstance(value, str):
        return priority(value)
    if TYPES[name] == "timestamptz" and isinstance(value, str):
        return _time(name, value)
    return value


def _time(name: str, value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise LineError(f"{name} {value[:SHOWN]!r} is no time. Write it as 2026-03-01T14:30:00+01:00.") from None
    if found.tzinfo is None:
        raise LineError(f"{name} {value[:SHOWN]!r} has no time zone. Write it as 2026-03-01T14:30:00+01:00.")
    return found


Record = tuple[int, Callable[[], dict[str, Any]]]


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise FileError(number, f"longer than {LONGEST_LINE:,} bytes. Write one message on one line.")
        # Excel and Notepad begin a file of UTF-8 with a mark.
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _json_records(file: IO[bytes]) -> Iterator[Record]:
    for number, line in _lines(file):
        if line.strip():
            yield number, partial(_read_json, line)


def _read_json(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(_decoded(line))
    except (ValueError, RecursionError) as error:
        if isinstance(error, LineError):
            raise
        where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LineError(f"not JSON{where}. Write one object on one line: {EXAMPLE}.") from None
    if not isinstance(fields, dict):
        raise LineError(f"not an object. Write one object on one line: {EXAMPLE}.")
    # null leaves a column to its default, as in Message.
    return {name: value for name, value in fields.items() if value is not None}


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8 at byte {error.start + 1}. Save the file as UTF-8.") from None


def _csv_records(file: IO[bytes]) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_LINE)
    numbered = _lines(file)
    first = next(numbered, None)
    if first is None:
        return
    header, delimiter = _header(first[1])
    # What is no UTF-8 is found again in its cell, so that the lines behind it can be read.
    reader = csv.reader(
        (line.decode(errors="surrogateescape") for _, line in numbered), delimiter=delimiter, strict=True
    )
    while True:
        number = reader.line_num + 2
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FileError(number, f"not CSV: {error}. Put cells with quotes or line breaks in quotes.") from None
        if any(cell.strip() for cell in cells):
            yield number, partial(_read_cells, header, cells)


def _header(line: bytes) -> tuple[list[str], str]:
    """Return the columns that the first line names, and what stands between them."""
    try:
        written = _decoded(line)
    except LineError as error:
        raise FileError(1, str(error)) from None
    delimiter = next((sign for sign in ("\t", ";") if sign in written), ",")
    header = [name.strip() for name in next(csv.reader([written], delimiter=delimiter))]
    for name in header:
        if name not in TYPES and name != "text":
            raise FileError(1, f"the header names {name[:SHOWN]!r}, no column of a message. Use {COLUMNS}.")
    if len(set(header)) != len(header):
        raise FileError(1, "the header names a column twice. Leave one of them out.")
    return header, delimiter


def _read_cells(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise LineError(
            f"has {len(cells)} cells, and the header {len(header)}. Put cells with commas or line breaks in quotes."
        )
    if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
        raise LineError("not UTF-8. Save the file as UTF-8.")
    # An empty cell leaves the column to its default.
    return {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True) if cell.strip()}


def _cell(name: str, cell: str) -> Any:
    if name == "text":
        return cell
    if name == "payload":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            raise LineError("payload is not JSON. Use a column text for a plain text.") from None
    if name in ("max_attempts", "target_id"):
        try:
            return int(cell)
        except ValueError:
            raise LineError(f"{name} {cell[:SHOWN]!r} is not a number. Use digits.") from None
    return cell.strip()
