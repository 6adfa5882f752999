"""A bot's policy as a form: its options, what is typed, and the call of outbox.set_bot that follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import psycopg

from outbox.operate.page import parameters
from outbox.operate.page.database import Row
from outbox.operate.page.parameters import Sent


class Option(NamedTuple):
    """One value of the policy, by its name in outbox.bot."""

    name: str
    label: str
    hint: str
    kind: str = "float8"  # as SQL names it: int, float8 or boolean


GROUPS: Final[tuple[tuple[str, tuple[Option, ...]], ...]] = (
    (
        "Limits",
        (
            Option("rate", "Messages of the bot", "per window; Telegram's limit is 30 in 1 s. 0: no limit", "int"),
            Option("rate_window_s", "Window of the bot, s", "length of that window in seconds"),
            Option(
                "chat_interval_s", "Interval of a chat, s", "between two messages to one chat; Telegram's is about 1"
            ),
            Option(
                "group_limit", "Messages to a group", "per window; Telegram's limit is 20 in 60 s. 0: no limit", "int"
            ),
            Option("group_window_s", "Window of a group, s", "length of that window in seconds"),
        ),
    ),
    (
        "Failed attempts",
        (
            Option("max_attempts", "Attempts", "then a message becomes a dead letter", "int"),
            Option("backoff_initial_s", "First wait, s", "the longest after the first failed attempt"),
            Option("backoff_factor", "Growth", "each wait may be this many times as long as the one before"),
            Option("backoff_max_s", "Longest wait, s", "a 429 is obeyed whatever it says"),
        ),
    ),
    (
        "Breaker",
        (
            Option("breaker_answers", "Answers", "it opens on no fewer in 30 s", "int"),
            Option("breaker_failure_share", "Share of failures", "of these answers, 0.001 to 1"),
            Option("breaker_open_s", "Open for, s", "at first; each time twice as long"),
            Option("breaker_open_max_s", "Open at most, s", "at a time"),
            Option("breaker_probes", "Probes", "let out when half-open; all must pass", "int"),
        ),
    ),
    (
        "Kept and sent",
        (
            Option("idempotency_s", "Idempotency keys, s", "how long one is remembered; 604800 is 7 days"),
            Option("keep_payload", "Keep what was sent", "whether history keeps what messages held", "boolean"),
            Option(
                "allow_paid_broadcast", "Paid broadcast", "no: allow_paid_broadcast is left out of messages", "boolean"
            ),
        ),
    ),
)
OPTIONS: Final = tuple(option for _, options in GROUPS for option in options)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_INT_MAX: Final = 2**31 - 1


class Typed(NamedTuple):
    """What a form says: every value as typed, as it was when the form was shown, the changes, and what is wrong."""

    values: dict[str, str]
    before: dict[str, str]
    changes: dict[str, float | bool]
    wrong: dict[str, str]


def as_typed(bot: Row) -> dict[str, str]:
    """Return a row of outbox.bot as the form shows it."""
    current = {**bot, "allow_paid_broadcast": bot["paid_broadcast_refused_at"] is None}
    return {option.name: _written(current[option.name]) for option in OPTIONS}


def read_policy(sent: Sent) -> Typed:
    """Return what a form says. Changed is what differs from what it showed: two people may change different things."""
    typed = Typed({}, {}, {}, {})
    for option in OPTIONS:
        value = parameters.text(sent, option.name)
        before = parameters.text(sent, f"was_{option.name}")
        if option.name not in sent:
            continue
        typed.values[option.name] = value or ""
        typed.before[option.name] = before or ""
        if value == before and value is not None:
            continue
        found = _read(option, value)
        if isinstance(found, str):
            typed.wrong[option.name] = found
        else:
            typed.changes[option.name] = found
    return typed


def set_policy(bot: str, changes: Mapping[str, float | bool]) -> tuple[str, list[Any]]:
    """Return the call of outbox.set_bot, of the options that change alone: the audit shows them."""
    options = [option for option in OPTIONS if option.name in changes]
    arguments = "".join(f", p_{option.name} => %s::{option.kind}" for option in options)
    return f"SELECT outbox.set_bot(%s{arguments})", [bot, *(changes[option.name] for option in options)]


def refused_option(error: psycopg.Error) -> tuple[str, str] | None:
    """Return which option the database refused and why; None: it is about something else."""
    match = re.match(r"p_(\w+) is ", error.diag.message_primary or "")
    if match is None or match[1] not in {option.name for option in OPTIONS}:
        return None
    return match[1], error.diag.message_hint or str(error.diag.message_primary)


def _written(value: Any) -> str:
    if value is None:
        return "0"  # no limit, as outbox.set_bot takes it
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(int(value)) if float(value).is_integer() else str(value)


def _read(option: Option, value: str | None) -> float | bool | str:
    """Return the value, or a sentence on what is wrong with it. What is too much or too little the database knows."""
    if option.kind == "boolean":
        return value == "yes" if value in ("yes", "no") else "Choose yes or no."
    if value is None:
        return "This is empty. Write a number."
    if not _NUMBER.fullmatch(value):
        return f"“{value[:40]}” is not a number. Write digits, such as 30 or 0.5."
    if option.kind == "float8":
        return float(value)
    if "." in value:
        return f"{value} is not a whole number."
    return int(value) if abs(int(value)) <= _INT_MAX else f"{value} is too much."
