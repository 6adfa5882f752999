"""A bot's policy as a form: what it shows, what was typed, and what is wrong with it."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import psycopg

from outbox.operate.page import parameters
from outbox.operate.page.database import Row
from outbox.operate.page.parameters import Sent
from outbox.operate.policy import OPTIONS, Option, policy_of

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
    return {name: _written(value) for name, value in policy_of(bot).items()}


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
