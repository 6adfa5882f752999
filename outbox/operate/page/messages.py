"""Find messages: every filter is in the address, so that a link shows a colleague the same."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from aiohttp import web
from psycopg.types.json import Jsonb

from outbox.operate.page import parameters
from outbox.operate.page.access import may_read_payloads, operator
from outbox.operate.page.bot_choice import BOTS, bot_names
from outbox.operate.page.database import DATABASE, PageDatabase, Row
from outbox.operate.page.find import find
from outbox.operate.page.parameters import Sent
from outbox.operate.page.render import render
from outbox.operate.times import TIME_HINT
from outbox.operate.words import PRIORITIES, STATUSES
from outbox.redact import scrub_nested

PAGE_OF: Final = 50
COUNTED_TO: Final = 1_000  # further is a walk over what a rare condition leaves, in every second page
_NAMES: Final = {  # in the address: on the page
    "priority": "priority",
    "bot": "bot",
    "chat": "chat",
    "tag": "tag",
    "correlation_id": "correlation id",
    "class": "error class",
    "since": "written since",
    "until": "written before",
    "text": "text",
}

_CONDITIONS: Final = (
    "p_status => %(status)s::text[], p_priority => %(priority)s::int, p_bot => %(bot)s::text,"
    " p_chat_id => %(chat)s::text, p_tag => %(tag)s::text, p_correlation_id => %(correlation_id)s::text,"
    " p_class => %(class)s::text, p_since => %(since)s::timestamptz, p_until => %(until)s::timestamptz,"
    " p_text => %(text)s::text"
)
_PAGE: Final = f"{_CONDITIONS}, p_before_id => %(before)s::bigint, p_limit => {PAGE_OF + 1}"
_FIND: Final = f"SELECT * FROM outbox.search_messages({_PAGE})"
_COUNT: Final = f"SELECT found, complete FROM outbox.search_reach({_CONDITIONS}, p_most => {COUNTED_TO + 1})"
# Who searched in what people wrote is on record, as is who read it.
_FIND_IN_PAYLOADS: Final = f"""
SELECT f.*
  FROM outbox.note_action('find_in_payloads', %(noted)s, NULL) n
  LEFT JOIN outbox.search_in_payloads({_PAGE}) f ON true
 ORDER BY f.id DESC
"""


async def show_messages(request: web.Request) -> web.Response:
    """List what passes the filters, newest first; or go where one typed word leads."""
    try:
        if (wanted := parameters.text(request.query, "find")) is not None:
            return await find(request, wanted)
        conditions = _conditions(request.query)
    except web.HTTPBadRequest as error:
        return await _refuse(request, request.query, error)
    database = request.app[DATABASE]
    bots, found = await database.read_all(BOTS, (_FIND, conditions))
    return _render(request, request.query, bots, found, count=await _count(database, conditions, found))


async def search_payloads(request: web.Request) -> web.Response:
    """List messages whose text may stand in what they hold. A POST: it goes on record, and no link starts it."""
    if not may_read_payloads(request):
        raise web.HTTPForbidden(
            text="You may not search in what messages hold. Who may is named in OUTBOX_PAYLOAD_READERS."
        )
    sent = await parameters.form(request)
    try:
        conditions = _conditions(sent)
        if conditions["text"] is None:
            raise parameters.refused("the text is empty", "Write what to look for in what messages hold")
    except web.HTTPBadRequest as error:
        return await _refuse(request, sent, error)
    database = request.app[DATABASE]
    noted = {
        name: value.isoformat() if name in ("since", "until") else value
        for name, value in conditions.items()
        if value is not None and name != "chat"
    }
    if conditions["chat"] is not None:
        noted["chat_id"] = conditions["chat"].lower()  # as every other row has it: outbox.forget() looks for that
    bots = await database.read(*BOTS)
    found = await database.act(operator(request), _FIND_IN_PAYLOADS, conditions | {"noted": Jsonb(scrub_nested(noted))})
    return _render(request, sent, bots, found, in_payloads=True)


ROUTES: Final = [web.get("/messages", show_messages), web.post("/messages", search_payloads)]


def _conditions(sent: Sent) -> dict[str, Any]:
    """Return the filters, and the rest of _CONDITIONS."""
    statuses = list(dict.fromkeys(value for value in sent.getall("status", []) if value))  # type: ignore[attr-defined]
    for value in statuses:
        parameters.choice({"status": value}, "status", STATUSES)
    priority = parameters.choice(sent, "priority", PRIORITIES)
    return {
        "status": statuses or None,
        "priority": None if priority is None else PRIORITIES.index(priority),
        **{name: parameters.text(sent, name) for name in ("bot", "chat", "tag", "correlation_id", "class", "text")},
        "since": parameters.moment(sent, "since"),
        "until": parameters.moment(sent, "until"),
        "before": parameters.message_id(sent, "before"),
    }


async def _count(database: PageDatabase, conditions: dict[str, Any], found: list[Row]) -> str | None:
    """Return how many there are in words; None where that is not told."""
    if conditions["before"] is not None:
        return None
    if len(found) <= PAGE_OF:
        return _counted(len(found), complete=not found or found[-1]["complete"])
    try:
        [counted] = await database.read(_COUNT, conditions)
    except psycopg.errors.QueryCanceled:
        return None  # the list is there, and it is what was asked for
    return _counted(counted["found"], complete=counted["complete"])


async def _refuse(request: web.Request, sent: Sent, error: web.HTTPBadRequest) -> web.Response:
    bots = await request.app[DATABASE].read(*BOTS)
    return _render(request, sent, bots, [], status=400, wrong=error.text)


def _render(
    request: web.Request,
    sent: Sent,
    bots: list[Row],
    found: list[Row],
    *,
    count: str | None = None,
    in_payloads: bool = False,
    wrong: str | None = None,
    status: int = 200,
) -> web.Response:
    # As typed, also where it cannot be read: who made a slip corrects it.
    asked: dict[str, Any] = {name: _typed(sent, name) for name in _NAMES}
    asked["status"] = [value for value in sent.getall("status", []) if value in STATUSES]  # type: ignore[attr-defined]
    before = _typed(sent, "before")
    is_full = len(found) > PAGE_OF
    rows = [row for row in found[:PAGE_OF] if row["id"] is not None]
    return render(
        request,
        "messages.html",
        status=status,
        asked=asked,
        told=[
            *([("status", " or ".join(asked["status"]))] if asked["status"] else []),
            *((told, asked[name]) for name, told in _NAMES.items() if asked[name]),
        ],
        before=before,
        bots=bot_names(bots, asked["bot"]),
        statuses=STATUSES,
        priorities=PRIORITIES,
        messages=rows,
        older=rows[-1]["id"] if is_full else None,
        count=count,
        reach=_reach(found, is_full),
        in_payloads=in_payloads,
        time_hint=TIME_HINT,
        wrong=wrong,
    )


def _reach(found: list[Row], is_full: bool) -> Row | None:
    """Return how far was looked, where that is not everywhere."""
    # A row without an id: nothing was found as far as was looked.
    if not found or found[-1]["complete"] is not False:
        return None
    # Without reached_id any may be missing, and not just those behind the next page.
    return None if is_full and found[-1]["reached_id"] is not None else found[-1]


def _typed(sent: Sent, name: str) -> str:
    value = sent.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _counted(found: int, *, complete: bool) -> str:
    if found > COUNTED_TO:
        return f"more than {COUNTED_TO:,} messages"
    if not complete:
        return f"{found:,} or more messages"
    return f"{found:,} {'message' if found == 1 else 'messages'}"
