"""No token leaves: what every log line and error text passes through."""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType
from typing import Any

HIDDEN = "***"

# /bot123456:AAE…/sendMessage, also where a colon was percent-encoded. The bot's number is no secret and tells which.
_IN_PATH = re.compile(r"(/bot\d+)(?::|%3A)[^/\s\"'?#]+", re.IGNORECASE)
# A bare token: digits, a colon and 35 characters, or a few more should Telegram lengthen them.
_BARE = re.compile(r"(?<!\d)(\d{5,20})(?::|%3A)[A-Za-z0-9_-]{30,64}(?![A-Za-z0-9_-])", re.IGNORECASE)
# postgresql://user:password@host. Greedy up to the last @ of the authority: a password may hold one.
_IN_URL = re.compile(r"(postgres(?:ql)?(?:\+\w+)?://[^:/?#\s\"'@]*):[^/\s\"'?#]*@", re.IGNORECASE)
# password=… in a conninfo string or a URL's query.
_IN_CONNINFO = re.compile(r"(\b(?:password|sslpassword|passwd)\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)


def scrub(text: str) -> str:
    """Return `text` without bot tokens and without passwords of PostgreSQL URLs."""
    # A token has a colon, a password an equals sign or a URL: most texts need not be searched.
    if ":" not in text and "=" not in text and "%" not in text:
        return text
    text = _IN_PATH.sub(rf"\1:{HIDDEN}", text)
    text = _BARE.sub(rf"\1:{HIDDEN}", text)
    text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    return _IN_CONNINFO.sub(rf"\1{HIDDEN}", text)


class RedactingFilter(logging.Filter):
    """Scrub message, arguments and exception of each record.

    It belongs on handlers: a filter of a logger does not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg = scrub(record.getMessage())
        except (TypeError, ValueError):  # a wrong format string: logging would report it and print the raw arguments
            record.msg = scrub(f"{record.msg} {record.args!r}")
        record.args = None
        if record.exc_info:
            record.exc_text = scrub(_format(record.exc_info))
            # The formatter prints exc_text when it is there, but others (structlog, Sentry) would format exc_info anew.
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return True


def scrub_event(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Scrub every value of a structlog event, nested ones by their repr. A structlog processor."""
    return {key: _scrub_value(value) for key, value in event.items()}


def scrub_nested(value: Any) -> Any:
    """Return a value without tokens in its texts: those of dicts (keys too), lists and tuples; others as they are."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {scrub_nested(key): scrub_nested(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [scrub_nested(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(scrub_nested(inner) for inner in value)
    return value


def _scrub_value(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {key: _scrub_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_scrub_value(inner) for inner in value]
    return scrub(repr(value))


def _format(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | Any,
) -> str:
    return "".join(traceback.format_exception(*exc_info)).rstrip("\n")
