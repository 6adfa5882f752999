"""What people type on the command line: times, priorities, chats whose number begins with a minus."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from outbox.accept.message import Priority

_LENGTH: Final = re.compile(r"([0-9]{1,6}) ?(s|min|m|h|d|w)( ago)?")
_UNIT_S: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BELOW_ZERO: Final = re.compile(r"-[0-9]+")


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """A time: ISO 8601, in UTC unless it says otherwise; `now`; or a length of time such as 2h, 30min, 7d."""

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        """A length of time is counted back from now, or on from now if `ahead`."""
        self._ahead = ahead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time, with its zone."""
        if isinstance(value, datetime):
            return value
        written = str(value).strip()
        now = datetime.now(UTC)
        if written == "now":
            return now
        length = _LENGTH.fullmatch(written)
        try:
            if length is not None and not (self._ahead and length[3]):
                distance = timedelta(seconds=int(length[1]) * _UNIT_S[length[2]])
                return now + distance if self._ahead else now - distance
            found = datetime.fromisoformat(written)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            way = "from now" if self._ahead else "ago"
            text = f"{written[:80]!r} is no time. Use 2h, 30min or 7d ({way}), or 2026-03-01T14:30 (UTC)."
            raise click.BadParameter(text, ctx, param) from None


class PriorityType(click.ParamType):  # type: ignore[type-arg]
    """A priority by its name or its number."""

    name = "priority"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Priority:
        """Return the priority."""
        try:
            return priority(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


PRIORITY: Final = PriorityType()


def priority(value: Any) -> Priority:
    """Return the priority of a name or number; raise ValueError, which says what there is."""
    written = str(value).strip().lower()
    if written in Priority.__members__:
        return Priority[written]
    if written in {"0", "1", "2", "3"}:
        return Priority(int(written))
    raise ValueError(f"priority {written[:80]} does not exist. Use 0 critical, 1 high, 2 normal or 3 low.")


class ChatCommand(click.Command):
    """A command with a CHAT_ID: the number of a group begins with a minus and is no option for that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with numbers below zero as arguments; their callback is as_typed."""
        return super().parse_args(ctx, [f" {one}" if _BELOW_ZERO.fullmatch(one) else one for one in args])


def as_typed(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Take away what ChatCommand put before a number; the callback of its arguments."""
    if isinstance(value, str) and _BELOW_ZERO.fullmatch(value[1:]):
        return value[1:]
    return value
