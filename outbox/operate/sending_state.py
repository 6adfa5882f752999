"""Whether a bot sends, and if not, what holds it: the words of the command line and of the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

PAUSED: Final = "paused by an operator"
REFUSED: Final = "bot token refused"
TOLD_TO_WAIT: Final = "paused by Telegram"
BREAKER_OPEN: Final = "breaker open"
HALF_OPEN: Final = "breaker half-open"
NO_WORKER: Final = "no worker"
SENDS: Final = "sends"

SERVED: Final = "SELECT DISTINCT unnest(w.bots) AS bot FROM outbox.workers w WHERE w.state <> 'lost'"
"""The query of the bots that a living worker serves."""


class Hold(NamedTuple):
    """What keeps a bot from sending, or that nothing does."""

    word: str
    kind: Literal["bad", "warn", "good"]
    until: datetime | None = None
    """When it ends by itself, where that is known."""
    why: str | None = None


def holds(limits: Mapping[str, Any], now: datetime, *, served: bool) -> list[Hold]:
    """Return all that keeps a bot of outbox.limits from sending, the gravest first; `served`: by a worker."""
    found = []
    if limits["stopped"]:
        found.append(Hold(PAUSED, "bad"))
    if limits["unauthorised"]:
        found.append(Hold(REFUSED, "bad"))
    if limits["breaker"] == "open":
        found.append(Hold(BREAKER_OPEN, "bad", limits["breaker_until"], limits["breaker_reason"]))
    if limits["paused_until"] is not None and limits["paused_until"] > now:
        found.append(Hold(TOLD_TO_WAIT, "warn", limits["paused_until"], limits["paused_reason"]))
    if not served:
        found.append(Hold(NO_WORKER, "bad"))
    if limits["breaker"] == "half_open":
        found.append(Hold(HALF_OPEN, "warn"))
    return found


def state_of(limits: Mapping[str, Any], now: datetime, *, served: bool) -> Hold:
    """Return the first thing that holds a bot, or that it sends."""
    return next(iter(holds(limits, now, served=served)), Hold(SENDS, "good"))
