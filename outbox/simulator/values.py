"""Values of parameters as Telegram reads them: text, JSON and numbers of JSON are one."""

import json
from typing import Any


def number(value: Any) -> int | None:
    """A whole number, or its digits; None: it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(value)
    return None


def within(value: Any, default: int, least: int, most: int) -> int:
    """A whole number, moved into its bounds (tdlib/telegram-bot-api Client.cpp, get_integer_arg)."""
    found = number(value)
    return default if found is None else min(max(found, least), most)


def real(value: Any) -> float:
    """A number; 0 for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def flag(value: Any, default: bool = False) -> bool:
    """True for true, yes and 1 (tdlib/td tdutils misc.h, to_bool)."""
    return default if value is None or value == "" else str(value).lower() in ("true", "yes", "1")


def table(value: Any) -> dict[str, Any] | None:
    """An object, or its JSON; None: it is none."""
    parsed = _parsed(value)
    return parsed if isinstance(parsed, dict) else None


def listed(value: Any) -> list[Any] | None:
    """A list, or its JSON; None: it is none."""
    parsed = _parsed(value)
    return parsed if isinstance(parsed, list) else None


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value
