"""Dead letters: what failed for good, by reason, and which of it to try again or to give up."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from outbox.operate.page.database import DATABASE
from outbox.operate.page.dead_letter_filter import CONDITIONS, STATUSES, Filter
from outbox.operate.page.parameters import TIME_HINT, message_id, moment, refused
from outbox.operate.page.render import render

PAGE_ROWS: Final = 50
MOST_GROUPS: Final = 50
LOOKED_AT: Final = 100_000  # as sql/7_observe/find_dead_letters.sql: older ones are in no group and in no list

_GROUPS: Final = f"SELECT * FROM outbox.dead_letter_groups({CONDITIONS}) ORDER BY count DESC, bot, error_class, status"
_ROWS: Final = (
    f"SELECT * FROM outbox.find_dead_letters({CONDITIONS}, p_before_at => %s, p_before_id => %s, p_limit => %s)"
)
_RUNNING: Final = "SELECT * FROM outbox.batches WHERE state = 'running' ORDER BY id DESC LIMIT 20"


async def dead_letters(request: web.Request) -> web.Response:
    """Show them in groups, and one by one."""
    sent = request.query
    chosen = Filter.sent(sent).but(ids=())
    before_at, before_id = moment(sent, "before_at"), message_id(sent, "before_id")
    if (before_at is None) != (before_id is None):
        raise refused("before_at and before_id belong together", "Follow the links of the page")
    groups, rows, running, bots = await request.app[DATABASE].read_all(
        (_GROUPS, chosen.arguments()),
        (_ROWS, [*chosen.arguments(), before_at, before_id, PAGE_ROWS + 1]),
        (_RUNNING, ()),
        ("SELECT bot FROM outbox.bot ORDER BY bot LIMIT 1000", ()),
    )
    total = sum(group["count"] for group in groups)
    older = None
    if len(rows) > PAGE_ROWS:
        rows = rows[:PAGE_ROWS]
        older = {"before_at": rows[-1]["died_at"].isoformat(), "before_id": rows[-1]["id"]}
    return render(
        request,
        "dead_letters.html",
        chosen=chosen,
        # As typed: 2h stays 2h in the form and in the address.
        asked=_as_asked(chosen, sent),
        filtered=chosen != Filter(),
        total=total if total < LOOKED_AT else None,
        looked_at=LOOKED_AT,
        groups=groups[:MOST_GROUPS],
        other_groups=groups[MOST_GROUPS:],
        rows=rows,
        first_page=before_at is None,
        older=older,
        running=running,
        bots=[row["bot"] for row in bots],
        statuses=STATUSES,
        time_hint=TIME_HINT,
    )


def _as_asked(chosen: Filter, sent: Any) -> dict[str, Any]:
    typed = {name: sent[name].strip() for name in ("since", "until") if sent.get(name, "").strip()}
    return chosen.query() | typed


ROUTES = [web.get("/dead-letters", dead_letters)]
