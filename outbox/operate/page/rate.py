"""The rate against its limit, in steps of time: what the overview's plot and table show."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.database import DATABASE, Query, Row
from outbox.operate.sending_state import HALF_OPEN, holds

LATELY_MIN: Final = 15
STEP_S: Final = 10
SERIES: Final[Query] = (f"SELECT * FROM outbox.rate_series({LATELY_MIN}, {STEP_S})", ())
LIMITS: Final[Query] = ("SELECT * FROM outbox.limits ORDER BY bot LIMIT 1000", ())
NOW: Final[Query] = ("SELECT outbox.clock() AS now", ())


async def show_rate(request: web.Request) -> web.Response:
    """Return what the plot draws: messages per second, by step, of one bot or of all."""
    bot = parameters.text(request.query, "bot")
    series, limits, [clock] = await request.app[DATABASE].read_all(SERIES, LIMITS, NOW)
    steps = by_step(series, bot, held=held(limits, clock["now"]))
    return web.json_response(
        {
            "at": [step["at"].timestamp() for step in steps],
            **{
                name: [None if step[name] is None else step[name] / STEP_S for step in steps]
                for name in ("sent", "allowed", "too_many_requests", "failed")
            },
        }
    )


ROUTES: Final = [web.get("/overview/rate", show_rate)]


def held(limits: Iterable[Row], now: datetime) -> set[str]:
    """Return the bots that send nothing just now: paused, refused by Telegram, or behind an open breaker."""
    return {row["bot"] for row in limits if any(hold.word != HALF_OPEN for hold in holds(row, now, served=True))}


def by_step(
    series: Iterable[Row],
    bot: str | None = None,
    step: timedelta = timedelta(seconds=STEP_S),
    *,
    held: Collection[str] = (),
) -> list[Row]:
    """Return the steps of one bot, or of all together; allowed is None where one of them is unlimited.

    A bot that is held adds what it sent, and no limit: nobody waits for its slots.
    """
    steps: dict[float, Row] = {}
    for row in series:
        if bot is not None and row["bot"] != bot:
            continue
        at_s = row["at"].timestamp() // step.total_seconds() * step.total_seconds()
        found = steps.setdefault(
            at_s,
            {"at": datetime.fromtimestamp(at_s, UTC), "sent": 0, "too_many_requests": 0, "failed": 0, "allowed": 0.0},
        )
        for name in ("sent", "too_many_requests", "failed"):
            found[name] += row[name]
        if row["bot"] not in held:
            is_limited = row["allowed"] is not None and found["allowed"] is not None
            found["allowed"] = found["allowed"] + row["allowed"] if is_limited else None
    return [steps[at_s] for at_s in sorted(steps)]
