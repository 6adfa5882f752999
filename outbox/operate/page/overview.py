"""The overview: does it move, how fast against its limit, and what stands in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.bots import state_of
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.messages import PRIORITIES
from outbox.operate.page.notices import notices
from outbox.operate.page.render import render

LATELY_MIN: Final = 15
STEP_S: Final = 10  # of the plot
MOST_BOTS: Final = 20  # as outbox.rate_series
MOST_WORKERS: Final = 50
MOST_BROADCASTS: Final = 10
COUNTED_WITHIN: Final = timedelta(seconds=60)  # housekeeping counts every 15 s

_NOW: Final = (
    "SELECT outbox.clock() AS now, (SELECT max(h.last_run_at) FROM outbox.housekeeping h WHERE h.duty = 'measure')"
    " AS measured_at",
    (),
)
_DEPTH: Final = ("SELECT * FROM outbox.depth", ())
_LIMITS: Final = ("SELECT * FROM outbox.limits ORDER BY bot LIMIT 1000", ())
_OUTCOMES: Final = (f"SELECT * FROM outbox.outcomes({LATELY_MIN})", ())
_WORKERS: Final = (
    f"""
SELECT id, name, bots, version, started_at, heartbeat_at, ended_at,
       CASE WHEN reaped OR lease_until <= outbox.clock() THEN 'lost' WHEN idle THEN 'idle' ELSE 'busy' END AS state
  FROM outbox.worker
    -- One that was lost is shown for a while: somebody may wonder where it is.
 WHERE ended_at IS NULL OR reaped AND ended_at > outbox.clock() - interval '10 min' ORDER BY id LIMIT {MOST_WORKERS + 1}
""",
    (),
)
_BATCHES: Final = ("SELECT * FROM outbox.batches WHERE state = 'running' ORDER BY id LIMIT 5", ())
_SERIES: Final = (f"SELECT * FROM outbox.rate_series({LATELY_MIN}, {STEP_S})", ())
_BROADCASTS: Final = (
    f"""
SELECT * FROM outbox.broadcasts WHERE waiting > 0 OR last_finished_at > outbox.clock() - interval '1 hour'
 ORDER BY waiting DESC, last_finished_at DESC NULLS LAST, tag LIMIT {MOST_BROADCASTS + 1}
""",
    (),
)


async def show_overview(request: web.Request) -> web.Response:
    """Show the state of everything, in one look at the database."""
    bot = parameters.text(request.query, "bot")
    [clock], depth, limits, outcomes, series, workers, batches = await request.app[DATABASE].read_all(
        _NOW, _DEPTH, _LIMITS, _OUTCOMES, _SERIES, _WORKERS, _BATCHES
    )
    now, measured_at = clock["now"], clock["measured_at"]
    served = {name for worker in workers if worker["state"] != "lost" for name in worker["bots"]}
    waiting = _sums(depth, "depth")
    ended = _ended(outcomes)
    refused = _sums(series, "too_many_requests")
    bots = [
        row
        | {
            "state": state_of(row, now, served=row["bot"] in served),
            "waiting": waiting.get(row["bot"], 0),
            "ended": ended.get(row["bot"], {}),
            "too_many_requests": refused.get(row["bot"], 0),
        }
        for row in limits
    ]
    # What is wrong, and what moves, comes first.
    bots.sort(key=lambda row: (row["state"][1] == "good", -row["waiting"], -row["ended"].get("sent", 0), row["bot"]))
    measured = measured_at is not None and now - measured_at < COUNTED_WITHIN
    return render(
        request,
        "overview.html",
        now=now,
        bot=bot,
        names=sorted({row["bot"] for row in series}),
        notices=notices(now, bots, workers, measured_at if not measured else None, measured=measured),
        batches=batches,
        figures=_figures(depth, bots, by_step(series)),
        priorities=_by_priority(depth),
        measured_at=measured_at,
        bots=bots[:MOST_BOTS],
        more_bots=len(bots) - MOST_BOTS,
        minutes=list(reversed(by_step(series, bot, step=timedelta(minutes=1)))),
        workers=workers[:MOST_WORKERS],
        more_workers=len(workers) > MOST_WORKERS,
        idle=not depth and not outcomes,
        lately_min=LATELY_MIN,
    )


async def rate(request: web.Request) -> web.Response:
    """Return what the plot draws: messages per second, by step, of one bot or of all."""
    bot = parameters.text(request.query, "bot")
    steps = by_step(await request.app[DATABASE].read(*_SERIES), bot)
    return web.json_response(
        {
            "at": [step["at"].timestamp() for step in steps],
            **{
                name: [None if step[name] is None else step[name] / STEP_S for step in steps]
                for name in ("sent", "allowed", "too_many_requests", "failed")
            },
        }
    )


async def show_broadcasts(request: web.Request) -> web.Response:
    """Show how far the broadcasts are: apart, because it counts all that waits with a tag."""
    try:
        found: list[Row] | None = await request.app[DATABASE].read(*_BROADCASTS)
    except psycopg.errors.QueryCanceled:
        found = None
    return render(
        request,
        "broadcasts.html",
        section="overview",
        broadcasts=None if found is None else found[:MOST_BROADCASTS],
        more=found is not None and len(found) > MOST_BROADCASTS,
        most=MOST_BROADCASTS,
    )


ROUTES: Final = [
    web.get("/", show_overview),
    web.get("/overview/rate", rate),
    web.get("/broadcasts", show_broadcasts),
]


def by_step(series: Iterable[Row], bot: str | None = None, step: timedelta = timedelta(seconds=STEP_S)) -> list[Row]:
    """Return the steps of one bot, or of all bots together; allowed is None where one of them is unlimited."""
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
        is_limited = row["allowed"] is not None and found["allowed"] is not None
        found["allowed"] = found["allowed"] + row["allowed"] if is_limited else None
    return [steps[at_s] for at_s in sorted(steps)]


def _sums(rows: Iterable[Row], column: str) -> dict[str, int]:
    """Return the sum of a column, of each bot."""
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["bot"]] = sums.get(row["bot"], 0) + row[column]
    return sums


def _ended(outcomes: Iterable[Row]) -> dict[str, dict[str, int]]:
    ended: dict[str, dict[str, int]] = {}
    for row in outcomes:
        ended.setdefault(row["bot"], {})[row["status"]] = row["count"]
    return ended


def _by_priority(depth: Sequence[Row]) -> list[Row]:
    rows = []
    for priority, name in enumerate(PRIORITIES):
        of_it = [row for row in depth if row["priority"] == priority]
        counts = {column: sum(row[column] for row in of_it) for column in ("depth", "due", "scheduled", "retrying")}
        oldest_s = max((row["oldest_age_s"] for row in of_it if row["due"]), default=None)
        rows.append({"priority": priority, "name": name, "oldest_age_s": oldest_s, **counts})
    return rows


def _figures(depth: Sequence[Row], bots: Sequence[Row], steps: Sequence[Row]) -> dict[str, Any]:
    lately = steps[-60 // STEP_S :]
    allowed = lately[-1]["allowed"] if lately else None
    oldest_s = max((row["oldest_age_s"] for row in depth if row["due"]), default=None)
    return {
        "due": sum(row["due"] for row in depth),
        "scheduled": sum(row["scheduled"] for row in depth),
        "oldest_s": oldest_s,
        "per_s": sum(step["sent"] for step in lately) / 60,
        "allowed_per_s": allowed / STEP_S if allowed is not None else None,
        "sent": sum(row["ended"].get("sent", 0) for row in bots),
        "too_many_requests": sum(row["too_many_requests"] for row in bots),
        "failed": sum(row["ended"].get(status, 0) for row in bots for status in ("dead", "uncertain")),
    }
