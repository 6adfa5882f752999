"""The overview: does it move, how much waits, and what stands in its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.notices import notices
from outbox.operate.page.rate import LATELY_MIN, LIMITS, SERIES, STEP_S, by_step, held
from outbox.operate.page.render import render
from outbox.operate.sending_state import state_of
from outbox.operate.words import PRIORITIES

MOST_BOTS: Final = 20  # as outbox.rate_series
MOST_WORKERS: Final = 50
COUNTED_WITHIN: Final = timedelta(seconds=60)  # housekeeping counts every 15 s

_NOW: Final = (
    "SELECT outbox.clock() AS now, (SELECT max(h.last_run_at) FROM outbox.housekeeping h WHERE h.duty = 'measure')"
    " AS measured_at",
    (),
)
_DEPTH: Final = ("SELECT * FROM outbox.depth", ())
_OUTCOMES: Final = (f"SELECT * FROM outbox.outcomes({LATELY_MIN})", ())
_WORKERS: Final = (f"SELECT * FROM outbox.workers ORDER BY id LIMIT {MOST_WORKERS + 1}", ())
_BATCHES: Final = ("SELECT * FROM outbox.batches WHERE state = 'running' ORDER BY id LIMIT 5", ())


async def show_overview(request: web.Request) -> web.Response:
    """Show the state of everything, in one look at the database."""
    database = request.app[DATABASE]
    bot = parameters.text(request.query, "bot")
    [clock], depth, limits, outcomes, series, workers, batches = await database.read_all(
        _NOW, _DEPTH, LIMITS, _OUTCOMES, SERIES, _WORKERS, _BATCHES
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
    at_rest = held(limits, now)
    measured = measured_at is not None and now - measured_at < COUNTED_WITHIN
    return render(
        request,
        "overview.html",
        now=now,
        bot=bot,
        names=sorted({row["bot"] for row in series}),
        notices=notices(
            bots, workers, await database.rights(), measured_at if not measured else None, measured=measured
        ),
        batches=batches,
        figures=_figures(depth, bots, by_step(series, held=at_rest)),
        priorities=_by_priority(depth),
        measured_at=measured_at,
        bots=bots[:MOST_BOTS],
        more_bots=len(bots) - MOST_BOTS,
        minutes=list(reversed(by_step(series, bot, step=timedelta(minutes=1), held=at_rest))),
        workers=workers[:MOST_WORKERS],
        more_workers=len(workers) > MOST_WORKERS,
        idle=not depth and not outcomes,
        lately_min=LATELY_MIN,
    )


ROUTES: Final = [web.get("/", show_overview)]


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
