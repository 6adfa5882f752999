"""What people type on the command line: times, priorities, chats whose number begins with a minus."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any, Final

import click

from outbox.accept.message import Priority
from outbox.operate.times import read_time

LEAST_PER_S: Final = 1e-6  # as sql/8_operate/start_batch.sql
MOST_PER_S: Final = 1e6
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
        try:
            return read_time(str(value), ahead=self._ahead)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


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


class PaceType(click.ParamType):  # type: ignore[type-arg]
    """How many a second, within what outbox.start_batch takes."""

    name = "pace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not LEAST_PER_S <= found <= MOST_PER_S:
            text = f"{str(value)[:80]!r} is no pace. Use {LEAST_PER_S:f} to {MOST_PER_S:.0f}, in a second."
            raise click.BadParameter(text, ctx, param)
        return found


PACE: Final = PaceType()


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
