"""How the outbox does just now, read for people: the queue, the bots, the workers, the broadcasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from outbox.operate.sending_state import SERVED

Row = dict[str, Any]
Fetch = Callable[..., list[Row]]  # a query and its parameters

LATELY_MIN: Final = 15
MOST_BROADCASTS: Final = 10

# Queries of the command line and the page, each with its parameters.
WORKERS: Final = ("SELECT * FROM outbox.workers ORDER BY id", ())
HOUSE_IS_KEPT: Final = ("SELECT outbox.house_is_kept() AS kept", ())
BROADCASTS: Final = (
    "SELECT tag, bot, accepted, waiting, sent, dead, uncertain, expired, cancelled, superseded, discarded,"
    "       progress, ended_per_s, eta_s, cancel_requested_at"
    "  FROM outbox.broadcasts WHERE waiting > 0 OR last_finished_at > outbox.clock() - interval '1 hour'"
    f" ORDER BY waiting DESC, last_finished_at DESC NULLS LAST, tag LIMIT {MOST_BROADCASTS + 1}",
    (),
)
"""Under way or ended in the last hour. It counts all that waits with a tag: not every second."""


def read_figures(fetch: Fetch, *, exact: bool = False) -> Row:
    """Return all figures but the broadcasts, as a document. exact counts what waits, else housekeeping's count."""
    [now] = fetch("SELECT outbox.clock() AS now, outbox.house_is_kept() AS kept")
    return {
        "at": now["now"],
        "house_is_kept": now["kept"],
        "queue": _queue(fetch, now, exact),
        "bots": _bots(fetch),
        "workers": fetch(*WORKERS),
    }


def read_broadcasts(fetch: Fetch) -> list[Row]:
    """Return the broadcasts of BROADCASTS."""
    return fetch(*BROADCASTS)[:MOST_BROADCASTS]


def _queue(fetch: Fetch, now: Row, exact: bool) -> Row:
    if exact:
        rows = fetch("SELECT bot, priority, depth, due, scheduled, retrying, oldest_age_s FROM outbox.queue")
        return {"exact": True, "measured_at": now["now"], "rows": rows}
    rows = fetch(
        "SELECT bot, priority, depth, due, scheduled, retrying, oldest_age_s, measured_at"
        "  FROM outbox.depth ORDER BY bot, priority"
    )
    [kept] = fetch("SELECT max(last_run_at) AS at FROM outbox.housekeeping WHERE duty = 'measure'")
    # No row of depth: nothing waited at the last count, or nobody counts.
    measured_at = max((row.pop("measured_at") for row in rows), default=kept["at"])
    return {"exact": False, "measured_at": measured_at, "rows": rows}


def _bots(fetch: Fetch) -> list[Row]:
    bots = {
        row["bot"]: row | {"served": False, "sent": 0, "too_many_requests": 0, "failed": 0, "ended": {}}
        for row in fetch(
            "SELECT bot, coalesce(tokens_active, rate) / rate_window_s AS limit_per_s,"
            "       rate / rate_window_s AS full_per_s, paused_until, paused_reason, stopped, unauthorised,"
            "       breaker, breaker_until, breaker_reason"
            "  FROM outbox.limits ORDER BY bot"
        )
    }
    for row in fetch(
        "SELECT bot, sum(sent)::bigint AS sent, sum(too_many_requests)::bigint AS too_many_requests,"
        "       sum(failed)::bigint AS failed"
        "  FROM outbox.rate_series(1, 10) GROUP BY bot"
    ):
        if row["bot"] in bots:
            bots[row["bot"]] |= row
    for row in fetch("SELECT bot, status, count FROM outbox.outcomes(%s)", (LATELY_MIN,)):
        if row["bot"] in bots:
            bots[row["bot"]]["ended"][row["status"]] = row["count"]
    for row in fetch(SERVED):
        if row["bot"] in bots:
            bots[row["bot"]]["served"] = True
    return list(bots.values())
