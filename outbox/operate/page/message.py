"""One message: where it stands and why, what was tried, what Telegram said, and what an operator may do about it."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import may_read_payloads, operator
from outbox.operate.page.database import DATABASE
from outbox.operate.page.reasons import reason
from outbox.operate.page.render import redirect, render, url
from outbox.operate.words import PRIORITIES

MOST_ATTEMPTS: Final = 100
MOST_STEPS: Final = 300
_CAPTIONS: Final = ("text", "caption")  # what people read, of a payload

# A message that was put back and ended again has two rows for a moment: the last one counts.
_FACTS: Final = "SELECT * FROM outbox.history WHERE id = %s ORDER BY finished_at DESC NULLS FIRST LIMIT 1"
_STANDS: Final = "SELECT * FROM outbox.explain(%s)"
_STATUS: Final = "SELECT cancel_requested FROM outbox.status(%s)"
_TIMELINE: Final = "SELECT * FROM outbox.timeline(%s)"
_ATTEMPTS: Final = f"""
SELECT attempt, worker, started_at, answered_at, outcome, http_status, error_code, error_class, error_text,
       retry_after_s, late
  FROM outbox.attempt WHERE message_id = %s ORDER BY answered_at DESC LIMIT {MOST_ATTEMPTS + 1}
"""
_ANSWER: Final = "SELECT outbox.telegram_answer(%s) AS answer"
_CANCEL: Final = """
SELECT c.waited AS changed, outbox.note_action('cancel', jsonb_build_object('id', %(id)s::bigint), c.waited::int)
  FROM outbox.cancel(p_id => %(id)s) c (waited)
"""
_RETRY: Final = "SELECT outbox.retry(p_ids => ARRAY[%(id)s::bigint]) AS changed"
_DISCARD: Final = "SELECT outbox.discard(p_ids => ARRAY[%(id)s::bigint]) AS changed"


async def show_message(request: web.Request) -> web.Response:
    """Tell all there is about one message but what it holds."""
    return await _page(request)


async def show_payload(request: web.Request) -> web.Response:
    """Show what it holds too, to who may read it, on record. A POST: no link and no other site can have it read."""
    if not may_read_payloads(request):
        raise web.HTTPForbidden(text="You may not read what messages hold. Who may is named in OUTBOX_PAYLOAD_READERS.")
    return await _page(request, with_payload=True)


async def leave_payload(request: web.Request) -> web.Response:
    """Lead who comes back to that address, or was sent it, to the message."""
    return redirect(request, f"/messages/{_id(request)}")


async def _page(request: web.Request, *, with_payload: bool = False) -> web.Response:
    database, message_id = request.app[DATABASE], _id(request)
    facts, [stands], [status], steps, attempts, [answer] = await database.read_all(
        *((query, (message_id,)) for query in (_FACTS, _STANDS, _STATUS, _TIMELINE, _ATTEMPTS, _ANSWER))
    )
    if not facts:
        raise _unknown(message_id)
    payload = await database.payload(operator(request), message_id) if with_payload else None
    return render(
        request,
        "message.html",
        x=facts[0],
        priority=PRIORITIES[facts[0]["priority"]],
        stands=stands,
        reasons=[reason(text, lambda path: url(request, path)) for text in stands["reasons"] or []],
        cancel_requested=status["cancel_requested"],
        steps=steps[-MOST_STEPS:],
        more_steps=len(steps) > MOST_STEPS,
        attempts=attempts[:MOST_ATTEMPTS][::-1],
        more_attempts=len(attempts) > MOST_ATTEMPTS,
        answer=_pretty(answer["answer"]),
        payload_shown=with_payload,
        payload=_pretty(payload),
        captions=_captions(payload),
    )


async def cancel_message(request: web.Request) -> web.Response:
    """Ask that a message which waits is not sent."""
    return await _act(
        request,
        _CANCEL,
        "Message {} is cancelled. If a worker is sending it this moment, it may still arrive.",
        "Message {} does not wait any more: nothing was cancelled.",
    )


async def retry_message(request: web.Request) -> web.Response:
    """Put a dead letter back into its lane."""
    return await _act(
        request,
        _RETRY,
        "Message {} waits in its lane again, with as many attempts as before.",
        "Message {} is no dead letter any more: nothing was retried.",
    )


async def discard_message(request: web.Request) -> web.Response:
    """End a dead letter for good."""
    return await _act(
        request,
        _DISCARD,
        "Message {} is discarded.",
        "Message {} is no dead letter any more: nothing was discarded.",
    )


ROUTES: Final = [
    web.get("/messages/{id}", show_message),
    web.get("/messages/{id}/payload", leave_payload),
    web.post("/messages/{id}/payload", show_payload),
    web.post("/messages/{id}/cancel", cancel_message),
    web.post("/messages/{id}/retry", retry_message),
    web.post("/messages/{id}/discard", discard_message),
]


def _id(request: web.Request) -> int:
    found = parameters.message_id(request.match_info, "id")
    if found is None:
        raise parameters.refused("no message is named", "Find it under Messages")
    return found


async def _act(request: web.Request, query: str, done: str, nothing: str) -> web.Response:
    """Do it to a message that exists, and say whether something changed: the page may have shown what is past."""
    database, message_id = request.app[DATABASE], _id(request)
    if not await database.read(_FACTS, (message_id,)):
        raise _unknown(message_id)
    [row] = await database.act(operator(request), query, {"id": message_id})
    return redirect(request, f"/messages/{message_id}", said=(done if row["changed"] else nothing).format(message_id))


def _unknown(message_id: int) -> web.HTTPNotFound:
    return web.HTTPNotFound(
        text=f"No message {message_id}. Its transaction was never committed, or it ended longer ago than is kept."
    )


def _pretty(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def _captions(payload: Any) -> list[tuple[str, str]]:
    if not isinstance(payload, dict):
        return []
    return [(name, payload[name]) for name in _CAPTIONS if isinstance(payload.get(name), str)]
