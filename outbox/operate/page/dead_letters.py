"""Dead letters: what failed for good, by reason, and which of it to try again or to give up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from outbox.operate.conditions import CONDITIONS
from outbox.operate.page.bot_choice import BOTS, bot_names
from outbox.operate.page.database import DATABASE
from outbox.operate.page.dead_letter_filter import Filter
from outbox.operate.page.parameters import message_id, moment, refused
from outbox.operate.page.render import render
from outbox.operate.times import TIME_HINT
from outbox.operate.words import DEAD

PAGE_ROWS: Final = 50
MOST_GROUPS: Final = 50

_GROUPS: Final = f"SELECT * FROM outbox.dead_letter_groups({CONDITIONS}) ORDER BY count DESC, bot, error_class, status"
_ROWS: Final = (
    f"SELECT * FROM outbox.find_dead_letters({CONDITIONS}, p_before_at => %(before_at)s::timestamptz,"
    f" p_before_id => %(before_id)s::bigint, p_limit => {PAGE_ROWS + 1})"
)
_REACH: Final = "SELECT * FROM outbox.dead_letter_reach(%(since)s::timestamptz, %(until)s::timestamptz)"
_RUNNING: Final = "SELECT * FROM outbox.batches WHERE state = 'running' ORDER BY id DESC LIMIT 20"


async def dead_letters(request: web.Request) -> web.Response:
    """Show them in groups, and one by one."""
    sent = request.query
    chosen = Filter.sent(sent).but(ids=())
    before_at, before_id = moment(sent, "before_at"), message_id(sent, "before_id")
    if (before_at is None) != (before_id is None):
        raise refused("before_at and before_id belong together", "Follow the links of the page")
    conditions = chosen.parameters()
    groups, rows, [reach], running, bots = await request.app[DATABASE].read_all(
        (_GROUPS, conditions),
        (_ROWS, conditions | {"before_at": before_at, "before_id": before_id}),
        (_REACH, conditions),
        (_RUNNING, ()),
        BOTS,
    )
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
        filtered=not chosen.empty,
        # Of all that were looked at; None: there may be older ones.
        total=sum(group["count"] for group in groups) if reach["complete"] else None,
        reach=reach,
        # Others may have died at that very moment: until does not take itself.
        further=None if reach["complete"] else (reach["reached_at"] + timedelta(microseconds=1)).isoformat(),
        groups=groups[:MOST_GROUPS],
        other_groups=groups[MOST_GROUPS:],
        rows=rows,
        first_page=before_at is None,
        older=older,
        running=running,
        bots=bot_names(bots, chosen.bot or ""),
        statuses=DEAD,
        time_hint=TIME_HINT,
    )


def _as_asked(chosen: Filter, sent: Any) -> dict[str, Any]:
    typed = {name: sent[name].strip() for name in ("since", "until") if sent.get(name, "").strip()}
    return chosen.query() | typed


ROUTES = [web.get("/dead-letters", dead_letters)]
