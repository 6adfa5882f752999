"""Times as people type and read them, on the command line and on the page: in UTC unless they say otherwise."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

TIME_HINT: Final = "2h ago as 2h; or 2026-03-01 14:30, in UTC"
_LENGTH: Final = re.compile(r"([0-9]{1,6}) ?(s|min|m|h|d|w)( ago)?")
_UNIT_S: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def read_time(written: str, *, ahead: bool = False) -> datetime:
    """Return the time of ISO 8601, of `now`, or of a length such as 2h, 30min, 7d: back from now, or on if `ahead`.

    Raises ValueError, which says what can be written.
    """
    written = written.strip()
    now = datetime.now(UTC)
    if written == "now":
        return now
    length = _LENGTH.fullmatch(written)
    try:
        if length is not None and not (ahead and length[3]):
            distance = timedelta(seconds=int(length[1]) * _UNIT_S[length[2]])
            return now + distance if ahead else now - distance
        found = datetime.fromisoformat(written)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        way = "from now" if ahead else "ago"
        text = f"{written[:80]!r} is no time. Use 2h, 30min or 7d ({way}), or 2026-03-01T14:30 (UTC)."
        raise ValueError(text) from None


def in_utc(at: datetime) -> str:
    """Return a time to the second, such as '2026-03-01 12:00:05 UTC'."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
