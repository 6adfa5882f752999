"""A dry check: what the database would say to a message, without one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from outbox.accept.columns import columns_of
from outbox.accept.insert import given_message
from outbox.accept.message import Message

LONGEST_BOT: Final = 63
LONGEST_NAME: Final = 200
LARGEST_PAYLOAD: Final = 262144
SHOWN: Final = 80
CHAT: Final = re.compile(r"-?[1-9][0-9]{0,18}|@[a-z][a-z0-9_]{2,63}")
METHOD: Final = re.compile(r"[A-Za-z]{2,64}")


class RefusedError(ValueError):
    """What the database would refuse; its text is the database's message."""

    hint: str
    """What to change, in the words of the database's HINT."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def check(message: Message | Mapping[str, Any], /) -> None:
    """Return if the database would accept `message`, which is a Message or a mapping of its fields.

    Raises RefusedError, in the database's own words, where its trigger would refuse the row; TypeError or ValueError
    where enqueue would, before the database is touched. What only the database knows is not checked: whether the bot
    exists, the idempotency key was used, the target is a message of the same chat.
    """
    columns = columns_of(given_message(message))
    for refused, hint in _refusals(columns):
        raise RefusedError(refused, hint)


def _refusals(columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what refuse_bad_input.sql and refuse_target.sql say, in their order; a test holds them equal."""
    bot = _lower(columns.get("bot", "default"))
    if len(bot) > LONGEST_BOT:
        yield f'bot "{bot[:LONGEST_BOT]}…" does not exist', "Use the name of a row in outbox.bot."
    chat_id = _lower(columns["chat_id"])
    if not CHAT.fullmatch(chat_id):
        yield (
            f'chat_id "{chat_id[:SHOWN]}" is neither a number nor a @name',
            "Give the chat's number, such as 42 or -1001234567890, or its @name.",
        )
    method = columns.get("method", "sendMessage")
    if not METHOD.fullmatch(method):
        yield (
            f'method "{method[:SHOWN]}" cannot be a method of the Bot API',
            "Use its name as Telegram spells it, such as sendMessage or sendPhoto.",
        )
    size = _jsonb_octets(columns["payload"])
    if size > LARGEST_PAYLOAD:
        yield (
            f"payload has {size} bytes, more than {LARGEST_PAYLOAD}",
            "Send a file by its file_id or URL instead of its content; a text holds at most 4096 characters.",
        )
    priority = columns.get("priority", "2")
    if priority not in {"0", "1", "2", "3"}:
        yield f"priority {priority} does not exist", "Use 0 critical, 1 high, 2 normal or 3 low."
    if int(columns.get("max_attempts", 1)) < 1:
        yield (
            f"max_attempts {columns['max_attempts']} would never send",
            "Use 1 or more, or leave the column out for the bot's own number.",
        )
    on_uncertain = columns.get("on_uncertain", "retry")
    if on_uncertain not in {"retry", "hold"}:
        yield (
            f'on_uncertain "{on_uncertain[:SHOWN]}" does not exist',
            "Use retry (at least once, the default) or hold (a dead letter; a person decides).",
        )
    names = ("correlation_id", "tag", "collapse_key", "idempotency_key")
    if any(len(columns.get(name, "")) > LONGEST_NAME for name in names):
        yield "correlation_id, tag or key is longer than 200 characters", "Use a short name or a hash."
    if int(columns.get("target_id", 1)) < 1:
        yield (
            f"target_id {columns['target_id']} is no message",
            "Give the id that the insert of an earlier message returned.",
        )


def _lower(name: str) -> str:
    """Return `name` in lower case by the collation "C" of chat_id. A bot's has the database's: more letters may change,
    which only the words for one that is too long would show."""
    return re.sub("[A-Z]+", lambda letters: letters[0].lower(), name)


def _jsonb_octets(document: str) -> int:
    """Return the size of what jsonb makes of a JSON text: it writes numbers out, and keeps the last of equal keys."""
    # A text stands for each number with a fraction or an exponent: as long as the number, with its quotes.
    kept = json.loads(document, parse_float=lambda number: "0" * (len(_numeric(number)) - 2))
    return len(json.dumps(kept, ensure_ascii=False).encode())


def _numeric(number: str) -> str:
    """Return a JSON number as PostgreSQL's numeric prints it."""
    written_out = format(Decimal(number), "f")
    return written_out.removeprefix("-") if not Decimal(number) else written_out
