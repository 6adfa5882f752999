"""How far the broadcasts are."""

from __future__ import annotations

from typing import Final

import psycopg
from aiohttp import web

from outbox.operate.page.database import DATABASE, Query, Row
from outbox.operate.page.render import render

MOST_BROADCASTS: Final = 10
_BROADCASTS: Final[Query] = (
    f"""
SELECT * FROM outbox.broadcasts WHERE waiting > 0 OR last_finished_at > outbox.clock() - interval '1 hour'
 ORDER BY waiting DESC, last_finished_at DESC NULLS LAST, tag LIMIT {MOST_BROADCASTS + 1}
""",
    (),
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


ROUTES: Final = [web.get("/broadcasts", show_broadcasts)]
