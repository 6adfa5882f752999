"""What operators did: who, when, to what, how many."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import AS_TYPED
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.render import render
from outbox.operate.times import TIME_HINT

PAGE_OF: Final = 50
LOOKED_AT: Final = 20_000
_ID_MAX: Final = 2**63 - 1
_TOLD_NAME: Final = re.compile(r"(.*?) \((.*)\)", re.DOTALL)

# Applications that lift suppressions are in it too, so it may be long: one page never looks through all of it.
_LOOKED: Final = f"SELECT * FROM outbox.audit WHERE id < %s ORDER BY id DESC LIMIT {LOOKED_AT}"
_FIND: Final = f"""
SELECT id, at, who, what, filter, count FROM ({_LOOKED}) a
 WHERE (%s::text IS NULL OR strpos(lower(who), lower(%s)) > 0) AND (%s::text IS NULL OR what = %s)
   AND (%s::timestamptz IS NULL OR at >= %s) AND (%s::timestamptz IS NULL OR at < %s)
 ORDER BY id DESC LIMIT {PAGE_OF + 1}
"""
_VERBS: Final = f"SELECT DISTINCT what FROM ({_LOOKED}) a ORDER BY what LIMIT 100"
_FURTHER: Final = f"SELECT id FROM outbox.audit WHERE id < %s ORDER BY id DESC OFFSET {LOOKED_AT - 1} LIMIT 1"


async def show_audit(request: web.Request) -> web.Response:
    """List what was done, newest first."""
    database, sent = request.app[DATABASE], request.query
    try:
        who, what = parameters.text(sent, "who"), parameters.text(sent, "what")
        since, until = parameters.moment(sent, "since"), parameters.moment(sent, "until")
        before = parameters.message_id(sent, "before") or _ID_MAX
    except web.HTTPBadRequest as error:
        verbs = await database.read(_VERBS, (_ID_MAX,))
        return _render(request, verbs, [], None, status=400, wrong=error.text)
    found, verbs, further = await database.read_all(
        (_FIND, (before, who, who, what, what, since, since, until, until)),
        (_VERBS, (_ID_MAX,)),
        (_FURTHER, (before,)),
    )
    last = found[PAGE_OF - 1 : PAGE_OF] if len(found) > PAGE_OF else further
    return _render(request, verbs, found[:PAGE_OF], last[0]["id"] if last else None)


ROUTES: Final = [web.get("/audit", show_audit)]


def _render(
    request: web.Request,
    verbs: list[Row],
    found: list[Row],
    older: int | None,
    *,
    wrong: str | None = None,
    status: int = 200,
) -> web.Response:
    asked = {name: request.query.get(name, "").strip() for name in ("who", "what", "since", "until")}
    words = [row["what"] for row in verbs]
    if asked["what"] and asked["what"] not in words:
        words.append(asked["what"])
    return render(
        request,
        "audit.html",
        status=status,
        asked=asked,
        filtered=any(asked.values()),
        before=request.query.get("before"),
        verbs=words,
        actions=[{**row, **_who(row["who"]), "told": _told(row["filter"])} for row in found],
        older=older,
        looked_at=LOOKED_AT,
        time_hint=TIME_HINT,
        wrong=wrong,
    )


def _who(who: str) -> dict[str, str | bool | None]:
    """Split what outbox.who_acts() wrote: the login, of which the database is sure, and the name told with it."""
    found = _TOLD_NAME.fullmatch(who)
    if found is None:
        return {"login": who, "name": None, "is_typed": False}
    name = found[2].removesuffix(AS_TYPED)
    return {"login": found[1], "name": name, "is_typed": name != found[2]}


def _told(conditions: Any) -> list[tuple[str, str]]:
    """Return what an action was about as pairs; of many ids the first."""
    if not isinstance(conditions, dict):
        return []
    return [(name, _value(value)) for name, value in conditions.items()]


def _value(value: Any) -> str:
    if isinstance(value, list):
        first = ", ".join(str(part) for part in value[:10])
        return f"{first} and {len(value) - 10:,} more" if len(value) > 10 else first
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
