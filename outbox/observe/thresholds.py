"""The thresholds of the alerts: outbox/observe/thresholds.toml, as it is shipped or as somebody has changed it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from outbox.settings import UsageError

SHIPPED = Path(__file__).with_suffix(".toml")

_PLACE = re.compile(r"\$value s\b|\$[a-z]+")


def read_thresholds(file: Path | None = None) -> dict[str, Any]:
    """Return the tables of `file`, or of the shipped one. Raises UsageError for what is no such file."""
    path = file or SHIPPED
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "Correct the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", "Start from outbox/observe/thresholds.toml") from None
    if not all(isinstance(table, dict) for table in values.values()) or "general" not in values:
        raise UsageError(f"{path} is no file of thresholds", "Start from outbox/observe/thresholds.toml")
    return values


def in_words(summary: str, *, value: float | None, subject: str | None) -> str:
    """Return an alert's summary with its places filled: $value and $share from `value`, any label from `subject`."""

    def fill(found: re.Match[str]) -> str:
        match found[0]:
            case "$value s":
                return "an unknown time" if value is None else f"{value:.0f} s"
            case "$value":
                return "some" if value is None else f"{value:.0f}"
            case "$share":
                return "some" if value is None else f"{value:.1%}"
            case _:
                return subject or "?"

    return _PLACE.sub(fill, summary)
