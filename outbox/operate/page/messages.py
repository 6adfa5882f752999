"""Find messages: every filter is in the address, so that a link shows a colleague the same."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import may_read_payloads, operator
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.parameters import Sent
from outbox.operate.page.render import redirect, render

STATUSES: Final = ("queued", "sending", "sent", "dead", "uncertain", "expired", "cancelled", "superseded", "discarded")
PRIORITIES: Final = ("critical", "high", "normal", "low")
PAGE_OF: Final = 50
COUNTED_TO: Final = 10_000
_NAMES: Final = {  # in the address: on the page
    "bot": "bot",
    "chat": "chat",
    "tag": "tag",
    "correlation_id": "correlation id",
    "class": "error class",
    "since": "written since",
    "until": "written before",
    "text": "text",
}
_CHAT: Final = re.compile(r"-[0-9]{1,19}|@[A-Za-z0-9_]{1,64}")

_FIND: Final = """
SELECT * FROM outbox.find_messages(%s::text[], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_COUNT: Final = "SELECT outbox.count_messages(%s::text[], %s, %s, %s, %s, %s, %s, %s, %s, %s) AS found"
# Who searched in what people wrote is on record, as is who read it.
_FIND_IN_PAYLOADS: Final = """
SELECT f.* FROM outbox.note_action('find_in_payloads', jsonb_build_object('text', %s::text), NULL) n
  LEFT JOIN outbox.find_in_payloads(%s::text[], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) f ON true
"""
_BOTS: Final = ("SELECT bot FROM outbox.bot ORDER BY bot LIMIT 500", ())


async def show_messages(request: web.Request) -> web.Response:
    """List what passes the filters, newest first."""
    database, sent = request.app[DATABASE], request.query
    try:
        if (wanted := parameters.text(sent, "find")) is not None:
            return await _find_at_once(request, wanted)
        conditions = _conditions(sent)
        before = parameters.message_id(sent, "before")
        in_payloads = sent.get("payloads") == "1" and conditions[-1] is not None
        if in_payloads and not may_read_payloads(request):
            raise parameters.refused("you may not search in what messages hold", "Leave that box empty")
    except web.HTTPBadRequest as error:
        bots = await database.read(*_BOTS)
        return _render(request, bots, [], status=400, wrong=error.text)
    page = (*conditions, before, PAGE_OF + 1)
    if in_payloads:
        bots = await database.read(*_BOTS)
        found = await database.act(operator(request), _FIND_IN_PAYLOADS, (conditions[-1], *page))
        return _render(request, bots, [row for row in found if row["id"] is not None])
    bots, found = await database.read_all(_BOTS, (_FIND, page))
    if before is not None:
        return _render(request, bots, found)
    if len(found) <= PAGE_OF:
        return _render(request, bots, found, count=len(found))
    [count] = await database.read(_COUNT, (*conditions, COUNTED_TO + 1))
    return _render(request, bots, found, count=count["found"])


ROUTES: Final = [web.get("/messages", show_messages)]


def _conditions(sent: Sent) -> tuple[Any, ...]:
    """Return the filters in the order of outbox.find_messages()."""
    statuses = list(dict.fromkeys(value for value in sent.getall("status", []) if value))  # type: ignore[attr-defined]
    for value in statuses:
        parameters.choice({"status": value}, "status", STATUSES)
    return (
        statuses or None,
        *(parameters.text(sent, name) for name in ("bot", "chat", "tag", "correlation_id", "class")),
        parameters.moment(sent, "since"),
        parameters.moment(sent, "until"),
        parameters.text(sent, "text"),
    )


async def _find_at_once(request: web.Request, wanted: str) -> web.Response:
    """Go where one typed word leads: to a message by number, to what has a correlation id, to a chat's messages."""
    by_number = re.fullmatch(r"#?([0-9]{1,19})", wanted)
    number = parameters.message_id({"find": by_number[1]}, "find") if by_number else None
    known, correlated = await request.app[DATABASE].read_all(
        ("SELECT id FROM outbox.history WHERE id = %s LIMIT 1", (number,)),
        ("SELECT id FROM outbox.find_messages(p_correlation_id => %s, p_limit => 2)", (wanted,)),
    )
    if known:
        return redirect(request, f"/messages/{number}")
    if len(correlated) == 1:
        return redirect(request, f"/messages/{correlated[0]['id']}")
    if correlated:
        return redirect(request, "/messages", correlation_id=wanted)
    if _CHAT.fullmatch(wanted):
        return redirect(request, "/messages", chat=wanted)
    if number is not None:
        return redirect(request, f"/messages/{number}")
    return redirect(request, "/messages", correlation_id=wanted)


def _render(
    request: web.Request,
    bots: list[Row],
    found: list[Row],
    *,
    count: int | None = None,
    wrong: str | None = None,
    status: int = 200,
) -> web.Response:
    # As typed, also where it cannot be read: who made a slip corrects it.
    asked: dict[str, Any] = {name: request.query.get(name, "").strip() for name in _NAMES}
    asked["status"] = [value for value in request.query.getall("status", []) if value in STATUSES]
    asked["payloads"] = "1" if request.query.get("payloads") == "1" else ""
    names = [row["bot"] for row in bots]
    if asked["bot"] and asked["bot"] not in names:
        names.append(asked["bot"])
    rows = found[:PAGE_OF]
    return render(
        request,
        "messages.html",
        status=status,
        asked=asked,
        told=[
            *([("status", " or ".join(asked["status"]))] if asked["status"] else []),
            *((told, asked[name]) for name, told in _NAMES.items() if asked[name]),
        ],
        before=request.query.get("before"),
        bots=names,
        statuses=STATUSES,
        priorities=PRIORITIES,
        messages=rows,
        older=rows[-1]["id"] if len(found) > PAGE_OF else None,
        count=None if count is None else f"more than {COUNTED_TO:,}" if count > COUNTED_TO else f"{count:,}",
        one=count == 1,
        time_hint=parameters.TIME_HINT,
        wrong=wrong,
    )
