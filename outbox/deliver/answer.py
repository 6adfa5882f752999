"""An answer of the Bot API, or its absence, and what it says: its words and its facts, not what they mean.

Everything here came over the wire, and is believed only as far as its type and size go.
"""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from outbox.redact import scrub

FailureKind = Literal["unsent", "unreachable", "timeout", "connection_lost", "stopped"]

ERROR_TEXT_CHARS: Final = 500
TEXT_READ_CHARS: Final = 4096  # of up to 1 MiB: a search in all of it could hold the event loop for minutes
RETRY_AFTER_MAX_S: Final = 366 * 86400.0  # beyond any value seen (14 hours); an interval in SQL must not overflow
IDS_MAX: Final = 100  # what copyMessages and forwardMessages take; an album has 10
BIGINT_MAX: Final = 2**63 - 1

_OF_A_PART: Final = re.compile(r'^[^"\']*failed to \w+ \w+ #\d+[^"\']*"', re.IGNORECASE)
_FILE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_CHAT_ID: Final = re.compile(r"-?[1-9][0-9]{0,18}", re.ASCII)
# An animation comes with a document that is the same file.
_KINDS: Final = ("animation", "document", "video", "audio", "voice", "video_note", "sticker", "photo", "live_photo")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. `complete` is False when its body broke off or was larger than what is read."""

    http_status: int
    body: bytes = field(repr=False)
    retry_after_header: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """No response. unsent: the worker held it back · unreachable: it tried, nothing was written ·
    timeout, connection_lost, stopped: the request had been written."""

    kind: FailureKind
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says."""

    ok: bool | None
    """None: the body is not the Bot API's (HTML, empty, broken off)."""
    code: int
    """The body's error_code, else the HTTP status."""
    error_code: int | None
    text: str
    """The description, else the words of the HTML; at most 500 characters, without bot tokens."""
    words: str
    """The same without what it quotes."""
    parameters: dict[str, Any]
    result: Any = field(repr=False)


def read(answer: Answer) -> Said:
    """Take an answer apart. Never raises."""
    body = _parse(answer) or {}
    ok = body.get("ok")
    raw_code = body.get("error_code")
    error_code = raw_code if type(raw_code) is int and 0 < raw_code < 1000 else None
    description = body.get("description")
    text = description[:TEXT_READ_CHARS] if isinstance(description, str) else _first_words(answer.body)
    parameters = body.get("parameters")
    return Said(
        ok=ok if isinstance(ok, bool) else None,
        code=error_code or answer.http_status,
        error_code=error_code,
        text=clean(text),
        words=clean(_unquoted(text)),
        parameters=parameters if isinstance(parameters, dict) else {},
        result=body.get("result"),
    )


def retry_after_s(said: Said, header: str | None) -> float | None:
    """Seconds to wait, from the first place that names them; None: nothing does."""
    in_text = re.search(r"retry (?:after|in) (\d+(?:\.\d+)?)|WAIT_(\d+)", said.words, re.IGNORECASE)
    named = in_text.group(1) or in_text.group(2) if in_text else None
    for candidate in (said.parameters.get("retry_after"), header, named):
        if isinstance(candidate, bool):
            continue
        try:
            seconds = float(candidate)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, RETRY_AFTER_MAX_S)
    return None


def migrate_to(said: Said) -> str | None:
    """The chat's new id, as text; None: there is none, or nothing that could be one."""
    named = said.parameters.get("migrate_to_chat_id")
    text = str(named) if type(named) is int else named.strip() if isinstance(named, str) else ""
    return text if _CHAT_ID.fullmatch(text) and abs(int(text)) <= BIGINT_MAX else None


def first_message_id(result: Any) -> int | None:
    """The id of the message sent, or of the first of an album."""
    return _whole(result[0] if isinstance(result, list) and result else result, "message_id")


def worth_keeping(result: Any) -> dict[str, Any] | None:
    """What an application may need of a result later: ids and files, never the text; None: nothing.

    `message_ids` and `file_ids` are an album's or a copy's, in order, file_ids with null for a part without a file.
    """
    if isinstance(result, list):
        parts = result[:IDS_MAX]
        message_ids = [found for part in parts if (found := _whole(part, "message_id")) is not None]
        files = [_file(part) for part in parts]
        kept: dict[str, Any] = {}
        if message_ids:
            kept = {"message_id": message_ids[0], "message_ids": message_ids, "date": _whole(parts[0], "date")}
        if any(files):
            kept["file_ids"] = [file.get("file_id") for file in files]
    else:
        kept = {name: _whole(result, name) for name in ("message_id", "date")} | _file(result)
    return {name: value for name, value in kept.items() if value is not None} or None


def clean(text: str) -> str:
    """Short, without bot tokens, and fit for PostgreSQL, which knows neither NUL nor half a surrogate pair."""
    text = scrub(text[:TEXT_READ_CHARS]).replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")[:ERROR_TEXT_CHARS]


def _parse(answer: Answer) -> dict[str, Any] | None:
    """The JSON object in the body, None when there is none."""
    if not answer.complete:
        return None
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _first_words(body: bytes) -> str:
    """What a body that is not the Bot API's says: the words of its HTML."""
    text = re.sub(r"<[^<>]*>", " ", body[:TEXT_READ_CHARS].decode("utf-8", "replace"))
    return " ".join(text.split())


def _unquoted(text: str) -> str:
    """The server's own words. A quote may hold what somebody wrote: a URL that says "bot was blocked" blocks nobody.

    The error that an album's quotes is the server's too.
    """
    own = text if _OF_A_PART.search(text) else re.sub(r'".*"', '""', text, flags=re.DOTALL)
    return re.sub(r"(?<!\w)'.*'", "''", own, flags=re.DOTALL)


def _whole(holder: Any, name: str) -> int | None:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if type(found) is int and 0 <= found <= BIGINT_MAX else None


def _file(result: Any) -> dict[str, str]:
    """The ids of the file in a message, the first of several that are paid for, or of a file uploaded by itself."""
    if not isinstance(result, dict):
        return {}
    paid = result.get("paid_media")
    parts = paid.get("paid_media") if isinstance(paid, dict) else None
    holders = [result, *parts[:IDS_MAX]] if isinstance(parts, list) else [result]
    return next((file for holder in holders if isinstance(holder, dict) and (file := _own_file(holder))), {})


def _own_file(result: dict[str, Any]) -> dict[str, str]:
    """The largest size, where it is a photo."""
    for holder in [result, *(result.get(kind) for kind in _KINDS)]:
        if isinstance(holder, list):
            sizes = [size for size in holder if isinstance(size, dict)]
            holder = max(
                sizes, key=lambda size: (_whole(size, "width") or 0) * (_whole(size, "height") or 0), default=0
            )
        if isinstance(holder, dict) and _is_file_id(holder.get("file_id")):
            return {name: holder[name] for name in ("file_id", "file_unique_id") if _is_file_id(holder.get(name))}
    return {}


def _is_file_id(value: Any) -> bool:
    return isinstance(value, str) and _FILE_ID.fullmatch(value) is not None
