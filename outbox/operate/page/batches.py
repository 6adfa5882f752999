"""Batches: many dead letters retried or discarded by housekeeping, asked for here, counted first and seen through."""

from __future__ import annotations

import secrets
from typing import Final

from aiohttp import web

from outbox.operate.conditions import CONDITIONS, IDS_TOO
from outbox.operate.figures import HOUSE_IS_KEPT
from outbox.operate.page.access import operator
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.dead_letter_filter import Filter
from outbox.operate.page.parameters import Sent, choice, form, message_id, number_between, refused, text
from outbox.operate.page.render import redirect, render

VERBS: Final = ("retry", "discard")
TYPED_OVER: Final = 100  # so many are a click; more must be meant
LEAST_PER_S: Final = 0.001
MOST_PER_S: Final = 1000.0
LISTED: Final = 50

_COUNT: Final = f"SELECT outbox.count_dead_letters({IDS_TOO}) AS count"
_MANY: Final = f"SELECT outbox.count_dead_letters({IDS_TOO}, p_most => {TYPED_OVER + 1}) AS count"
_GROUPS: Final = f"SELECT bot, count FROM outbox.dead_letter_groups({CONDITIONS})"
_BATCH: Final = "SELECT * FROM outbox.batches WHERE id = %s"
_START: Final = f"""
SELECT outbox.start_batch(%(verb)s::text, {IDS_TOO}, p_per_s => %(per_s)s::float8, p_key => %(key)s::text) AS id
"""


async def confirm(request: web.Request) -> web.Response:
    """Say what a batch would do, and do nothing."""
    sent = request.query
    verb, chosen = _wanted(sent)
    if "selected" in sent and not chosen.ids:
        raise refused("nothing is selected", "Go back and tick at least one message")
    # What dies from now on is not part of it, however long the form stays open.
    [now] = await request.app[DATABASE].read("SELECT outbox.clock() AS at")
    until = min(chosen.until, now["at"]) if chosen.until else now["at"]
    return await _form(request, verb, chosen.but(until=until))


async def start(request: web.Request) -> web.Response:
    """Start a batch, once per form however often it is sent."""
    sent = await form(request)
    verb, chosen = _wanted(sent)
    key, counted = text(sent, "key"), message_id(sent, "counted")
    if chosen.until is None or key is None or counted is None:
        raise refused("this does not come from a confirmation", "Choose under Dead letters what to retry or discard")
    try:
        per_s = number_between(sent, "per_s", LEAST_PER_S, MOST_PER_S)
    except web.HTTPBadRequest as error:
        return await _form(request, verb, chosen, sent=sent, problem=error.text)
    if counted > TYPED_OVER or await _is_many(request, chosen):
        typed = (text(sent, "typed") or "").replace(",", "").replace(" ", "")
        if typed != str(counted):
            problem = "Nothing was started: the number typed is not the count. Type it as it stands here."
            return await _form(request, verb, chosen, sent=sent, problem=problem)
    [batch] = await request.app[DATABASE].act(
        operator(request), _START, chosen.parameters() | {"verb": verb, "per_s": per_s, "key": key}
    )
    return redirect(request, f"/dead-letters/batches/{batch['id']}", counted=counted)


async def batch(request: web.Request) -> web.Response:
    """Show how far a batch is."""
    number, counted = message_id(request.match_info, "id"), message_id(request.query, "counted")
    found, [house] = await request.app[DATABASE].read_all((_BATCH, (number,)), HOUSE_IS_KEPT)
    if not found:
        raise _unknown(request)
    [row] = found
    return render(
        request,
        "dead_letter_batch.html",
        batch=row,
        chosen=Filter.stored(row["filter"]),
        goes_on=_goes_on(row),
        left=max(row["total"] - row["done"], 0),
        counted=counted if counted is not None and counted != row["total"] else None,
        house_is_kept=house["kept"],
    )


async def stop(request: web.Request) -> web.Response:
    """Stop a batch; what it has moved stays moved."""
    number = message_id(request.match_info, "id")
    if not await request.app[DATABASE].read(_BATCH, (number,)):
        raise _unknown(request)
    [row] = await request.app[DATABASE].act(operator(request), "SELECT outbox.stop_batch(%s) AS stopped", [number])
    said = "It stops: no further message is taken." if row["stopped"] else "It had ended before."
    return redirect(request, f"/dead-letters/batches/{number}", said=said)


async def batches(request: web.Request) -> web.Response:
    """List the batches of late, newest first."""
    before = message_id(request.query, "before_id")
    rows = await request.app[DATABASE].read(
        "SELECT * FROM outbox.batches WHERE %s::bigint IS NULL OR id < %s ORDER BY id DESC LIMIT %s",
        [before, before, LISTED + 1],
    )
    return render(
        request,
        "batches.html",
        rows=[row | {"chosen": Filter.stored(row["filter"])} for row in rows[:LISTED]],
        goes_on=any(map(_goes_on, rows[:LISTED])),
        first_page=before is None,
        older=rows[LISTED - 1]["id"] if len(rows) > LISTED else None,
    )


def _unknown(request: web.Request) -> web.HTTPNotFound:
    number = request.match_info["id"].strip()
    what = f"No batch {number[:40]}" if number else "No batch is named"
    return web.HTTPNotFound(text=f"{what}. The list of batches, under Dead letters, has those that are kept.")


def _wanted(sent: Sent) -> tuple[str, Filter]:
    verb = choice(sent, "verb", VERBS)
    if verb is None:
        raise refused("nothing says whether to retry or to discard", "Use the buttons under Dead letters")
    return verb, Filter.sent(sent)


def _goes_on(row: Row) -> bool:
    return bool(row["state"] == "running")


async def _is_many(request: web.Request, chosen: Filter) -> bool:
    [row] = await request.app[DATABASE].read(_MANY, chosen.parameters())
    return bool(row["count"] > TYPED_OVER)


async def _form(
    request: web.Request, verb: str, chosen: Filter, *, sent: Sent | None = None, problem: str | None = None
) -> web.Response:
    counts, uncertain, groups, limits, [house] = await request.app[DATABASE].read_all(
        (_COUNT, chosen.parameters()),
        (_COUNT, chosen.but(status="uncertain").parameters()),
        (_GROUPS, chosen.parameters()),
        ("SELECT bot, rate / rate_window_s AS per_s FROM outbox.bot WHERE rate IS NOT NULL", ()),
        HOUSE_IS_KEPT,
    )
    counted = counts[0]["count"]
    return render(
        request,
        "confirm_batch.html",
        status=400 if problem else 200,
        verb=verb,
        chosen=chosen,
        counted=counted,
        paces=f"{LEAST_PER_S:g} to {MOST_PER_S:g}",
        must_type=counted > TYPED_OVER,
        uncertain=uncertain[0]["count"] if chosen.status != "dead" else 0,
        lasts_s=None if chosen.ids else _lasts_s(groups, limits),
        fields=chosen.query(verb=verb, counted=counted, key=secrets.token_urlsafe(16)),
        typed=sent.get("per_s", "") if sent else "",
        problem=problem,
        house_is_kept=house["kept"],
    )


def _lasts_s(groups: list[Row], limits: list[Row]) -> float | None:
    """How long the bots' limits alone make a retry last: the bot with the most to send decides."""
    per_s = {row["bot"]: row["per_s"] for row in limits}
    counts: dict[str, int] = {}
    for group in groups:
        counts[group["bot"]] = counts.get(group["bot"], 0) + group["count"]
    return max((count / per_s[bot] for bot, count in counts.items() if bot in per_s), default=None)


ROUTES = [
    web.get("/dead-letters/confirm", confirm),
    web.get("/dead-letters/batches", batches),
    web.post("/dead-letters/batches", start),
    web.get("/dead-letters/batches/{id}", batch),
    web.post("/dead-letters/batches/{id}/stop", stop),
]
