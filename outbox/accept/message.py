"""What one message may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, TypedDict


class Priority(IntEnum):
    """Who goes first, within a chat and within a bot. Every tenth slot is kept for the worse ones."""

    critical = 0
    high = 1
    normal = 2
    low = 3


class Columns(TypedDict, total=False):
    """What may be set beside chat_id and payload; Message says what each of them means."""

    bot: str | None
    method: str | None
    priority: Priority | int | None
    next_attempt_at: datetime | None
    expires_at: datetime | None
    max_attempts: int | None
    correlation_id: str | None
    idempotency_key: str | None
    collapse_key: str | None
    on_uncertain: Literal["retry", "hold"] | None
    tag: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one chat. None leaves a column out, so that the database's default holds."""

    chat_id: int | str
    """The chat's number, such as 42 or -1001234567890, or its @name in any case (Bot API, `chat_id`)."""

    payload: Mapping[str, Any] = field(repr=False)
    """The method's parameters without chat_id, as the Bot API names them; at most 256 kB as jsonb."""

    _: KW_ONLY

    bot: str | None = None
    """Which bot sends it: a row of outbox.bot. Default: 'default'."""

    method: str | None = None
    """The Bot API's method. Default: sendMessage."""

    priority: Priority | int | None = None
    """0 critical, 1 high, 2 normal, 3 low. Default: normal."""

    next_attempt_at: datetime | None = None
    """Not sent before this time, which needs a time zone. Default: now, the start of the transaction."""

    expires_at: datetime | None = None
    """Not sent from this time on, which needs a time zone; it ends as `expired`. Default: never."""

    max_attempts: int | None = None
    """Calls that may fail before it is a dead letter; waiting for a 429 is none. Default: the bot's (10)."""

    correlation_id: str | None = None
    """Your name for it in history, logs and traces, at most 200 characters. Default: a random UUID."""

    idempotency_key: str | None = None
    """A second message of the bot with this key is not stored, for 7 days unless the bot says otherwise."""

    collapse_key: str | None = None
    """Of those that wait in the chat under this key only the newest payload is sent."""

    on_uncertain: Literal["retry", "hold"] | None = None
    """When nobody knows whether Telegram sent it: retry (may come twice, the default) or hold (a person decides)."""

    tag: str | None = None
    """A free label to count, find and stop messages by, at most 200 characters."""


def columns_of(message: Message) -> dict[str, str]:
    """Return the columns of `message` that were set, each as PostgreSQL's text for its type.

    Raises TypeError or ValueError, which name the column and never quote the payload.
    """
    columns = {"chat_id": _chat_id(message.chat_id), "payload": _payload(message.payload)}
    for name in ("priority", "max_attempts"):
        number = getattr(message, name)
        if number is not None:
            columns[name] = str(_integer(name, number))
    for name in ("next_attempt_at", "expires_at"):
        time = getattr(message, name)
        if time is not None:
            columns[name] = _time(name, time)
    for name in ("bot", "method", "correlation_id", "idempotency_key", "collapse_key", "on_uncertain", "tag"):
        text = getattr(message, name)
        if text is not None:
            columns[name] = _text(name, text)
    for name, value in columns.items():
        _refuse_what_no_text_holds(name, value)
    return columns


def _chat_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"chat_id is {_a(value)}. Give the chat's number, such as 42, or its @name.")
    return str(int(value)) if isinstance(value, int) else value


def _payload(value: object) -> str:
    if not isinstance(value, Mapping):
        raise TypeError(f"payload is {_a(value)}. Give a mapping of the method's parameters, such as {{'text': 'hi'}}.")
    try:
        return json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        # json's own words name a type or a number that is none, never a text of the payload.
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"payload cannot be JSON: {error}. Use str, int, float, bool, None, list and dict only.") from None


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {_a(value)}. Give an integer.")
    return int(value)


def _time(name: str, value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is {_a(value)}. Give a datetime with a time zone, such as datetime.now(UTC).")
    if value.utcoffset() is None:
        # PostgreSQL would read it in the session's time zone, which the writer does not see.
        raise ValueError(f"{name} {value} has no time zone. Give one, as in datetime.now(UTC) or value.astimezone().")
    return value.isoformat()


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_a(value)}. Give a str.")
    return str(value)


def _refuse_what_no_text_holds(name: str, value: str) -> None:
    """Here and not by PostgreSQL, whose CONTEXT would print the payload around the place."""
    # A backslash escaped before u0000 is two characters of text, not the character U+0000.
    if "\0" in value or (name == "payload" and "\\u0000" in value.replace("\\\\", "")):
        raise ValueError(f"{name} holds the character U+0000, which PostgreSQL cannot store. Remove it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half of a surrogate pair, which is no character. Remove it.") from None


def _a(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
