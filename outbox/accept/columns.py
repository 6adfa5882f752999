"""What a message's columns are as PostgreSQL's text; refused before the database is touched if no text can hold it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, Final

from outbox.accept.message import Message

TYPES: Final = {
    "bot": "text",
    "chat_id": "text",
    "method": "text",
    "payload": "jsonb",
    "priority": "smallint",
    "next_attempt_at": "timestamptz",
    "expires_at": "timestamptz",
    "max_attempts": "int",
    "correlation_id": "text",
    "idempotency_key": "text",
    "collapse_key": "text",
    "on_uncertain": "text",
    "tag": "text",
    "target_id": "bigint",
}

# A circle ends as RecursionError all the same, and looking for one costs a tenth.
_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False).encode


def columns_of(message: Message) -> dict[str, str]:
    """Return the columns of `message` that were set, each as PostgreSQL's text for its type.

    Raises TypeError or ValueError, which name the column and never quote the payload.
    """
    columns = {"chat_id": _chat_id(message.chat_id), "payload": _payload(message.payload)}
    optional = _optional(message)
    if optional.count(None) == len(optional):
        return columns
    for writer, value in zip(_WRITERS, optional, strict=True):
        if value is not None:
            name, write = writer
            columns[name] = write(name, value)
    return columns


def parameter(number: int, kind: str) -> str:
    """Return $number as a value of that type. Cast twice, so that no driver asks for its own idea of the type."""
    return f"CAST(CAST(${number} AS text) AS {kind})"


def integer(name: str, value: object, end: int = 2**63) -> str:
    """Return an int as text; raise TypeError, or ValueError for one that is not from -end to end - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {_a(value)}. Give an integer.")
    if not -end <= value < end:
        raise ValueError(f"{name} is not from {-end} to {end - 1}. Give a number that is.")
    return str(int(value))


def text(name: str, value: object) -> str:
    """Return a str that PostgreSQL can store; raise TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_a(value)}. Give a str.")
    return _storable(name, str(value))


def _storable(name: str, value: str) -> str:
    """Return `value`. Refused here and not by PostgreSQL, whose CONTEXT would print the payload around the place."""
    if "\0" in value:
        raise ValueError(f"{name} holds the character U+0000, which PostgreSQL cannot store. Remove it.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds half of a surrogate pair, which is no character. Remove it.") from None
    return value


def _chat_id(value: object) -> str:
    if type(value) is int and -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, str):
        return text("chat_id", value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"chat_id is {_a(value)}. Give the chat's number, such as 42, or its @name.")
    return integer("chat_id", value)


def _payload(value: object) -> str:
    if type(value) is not dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"payload is {_a(value)}. Give a mapping of the parameters, such as {{'text': 'hi'}}.")
        value = dict(value)
    try:
        document = _json(value)
    except (TypeError, ValueError, RecursionError) as error:
        # json's own words name a type or a number that is none, never a text of the payload.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"payload cannot be JSON: {error}. Use str, int, float, bool, None, list and dict only.") from None
    # A backslash escaped before u0000 is two characters of text, not the character U+0000.
    if "\\u0000" in document and "\\u0000" in document.replace("\\\\", ""):
        _storable("payload", "\0")
    return _storable("payload", document)


def _time(name: str, value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is {_a(value)}. Give a datetime with a time zone, such as datetime.now(UTC).")
    offset = value.utcoffset()
    if offset is None:
        # PostgreSQL would read it in the session's time zone, which the writer does not see.
        raise ValueError(f"{name} {value} has no time zone. Give one, as in datetime.now(UTC) or value.astimezone().")
    if offset.microseconds or abs(offset) >= timedelta(hours=16):
        try:  # PostgreSQL reads no such offset
            value = value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{name} {value} is beyond the years 1 to 9999. Give a time within them.") from None
    return value.isoformat()


def _a(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


_BY_TYPE: Final[dict[str, Callable[[str, Any], str]]] = {
    "text": text,
    "timestamptz": _time,
    "smallint": partial(integer, end=2**15),
    "int": partial(integer, end=2**31),
    "bigint": integer,
}
_WRITERS: Final = [(name, _BY_TYPE[kind]) for name, kind in TYPES.items() if name not in ("chat_id", "payload")]
_optional: Final = attrgetter(*(name for name, _ in _WRITERS))
