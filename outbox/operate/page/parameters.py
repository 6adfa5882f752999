"""What a browser sends, read strictly: anything odd is a 400 with one line that says what to change."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from outbox.operate.times import TIME_HINT as TIME_HINT
from outbox.operate.times import read_time

MOST_CHARACTERS: Final = 200
_ID: Final = re.compile(r"[0-9]{1,19}")
_ID_MAX: Final = 2**63 - 1

Sent = Mapping[str, Any]  # request.query, or what form() returns


async def form(request: web.Request) -> Sent:
    """Return the fields of a posted form."""
    try:
        return await request.post()
    except (ValueError, LookupError):  # not in the encoding it claims, or one that nobody knows
        raise refused("the form is not in UTF-8", "Reload the page and send it again") from None


def text(sent: Sent, name: str, *, most: int = MOST_CHARACTERS) -> str | None:
    """Return a text without the blanks around it; None when it is empty or missing."""
    value = sent.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise refused(f"{name} is a file", "Send text")
    value = value.strip()
    if len(value) > most:
        raise refused(f"{name} has {len(value):,} characters", f"Use at most {most:,}")
    # PostgreSQL stores neither; a lone surrogate cannot even be sent to it.
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise refused(f"{name} has a character that no text in the database can have", "Leave it out")
    return value or None


def choice(sent: Sent, name: str, allowed: Collection[str]) -> str | None:
    """Return one of the words that are allowed; None when it is missing."""
    value = text(sent, name)
    if value is not None and value not in allowed:
        raise refused(f'{name} is never "{value[:80]}"', f"Use {', '.join(allowed)}")
    return value


def message_id(sent: Sent, name: str) -> int | None:
    """Return the id of a message or of anything else that is counted; None when it is missing."""
    value = text(sent, name)
    return None if value is None else _as_id(name, value)


def message_ids(sent: Any, name: str) -> list[int]:
    """Return every id that was sent under a name, also several in one field with commas between them."""
    # bounded by the size of an address and of a form
    fields = [part for value in sent.getall(name, []) for part in str(value).split(",") if part.strip()]
    return list(dict.fromkeys(_as_id(name, field.strip()) for field in fields))


def number_between(sent: Sent, name: str, least: float, most: float) -> float | None:
    """Return a number, the bounds included; None when it is missing."""
    value = text(sent, name)
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise refused(
            f'{name} "{value[:80]}" is not a number from {least:g} to {most:g}', "Change it or leave it empty"
        )
    return found


def moment(sent: Sent, name: str) -> datetime | None:
    """Return a time: how long ago (2h, 30min, 7d), a date, or a date and time, in UTC unless it says otherwise."""
    value = text(sent, name)
    if value is None:
        return None
    try:
        return read_time(value)
    except ValueError:
        raise refused(
            f'{name} "{value[:80]}" is not a time', "Use 2h, 30min or 7d for ago, or 2026-03-01 14:30 in UTC"
        ) from None


def refused(what: str, do: str) -> web.HTTPBadRequest:
    """Return the error to raise: what is wrong, then what to do."""
    return web.HTTPBadRequest(text=f"{what[:1].upper()}{what[1:]}. {do}.")


def _as_id(name: str, value: str) -> int:
    if not _ID.fullmatch(value) or int(value) > _ID_MAX:
        raise refused(f'{name} "{value[:80]}" is not the number of anything', "Use digits")
    return int(value)
