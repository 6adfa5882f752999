"""One message: where it stands and why, what was tried, what Telegram said, and what an operator may do about it."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import may_read_payloads, operator
from outbox.operate.page.database import DATABASE
from outbox.operate.page.messages import PRIORITIES
from outbox.operate.page.render import redirect, render

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
SELECT c.waited, outbox.note_action('cancel', jsonb_build_object('id', %s::bigint), c.waited::int)
  FROM outbox.cancel(p_id => %s) c (waited)
"""
_RETRY: Final = "SELECT outbox.retry(p_ids => ARRAY[%s::bigint]) AS moved"
_DISCARD: Final = "SELECT outbox.discard(p_ids => ARRAY[%s::bigint]) AS moved"


async def show_message(request: web.Request) -> web.Response:
    """Tell all there is about one message; what it holds only to who may read it, on record, and when asked."""
    database, message_id = request.app[DATABASE], _id(request)
    facts, [stands], [status], steps, attempts, [answer] = await database.read_all(
        *((query, (message_id,)) for query in (_FACTS, _STANDS, _STATUS, _TIMELINE, _ATTEMPTS, _ANSWER))
    )
    if not facts:
        raise web.HTTPNotFound(
            text=f"No message {message_id}. Its transaction was never committed, or it ended longer ago than is kept."
        )
    context: dict[str, Any] = {"payload_shown": False, "payload": None, "captions": []}
    if request.query.get("payload") == "1" and may_read_payloads(request):
        payload = await database.payload(operator(request), message_id)
        context = {"payload_shown": True, "payload": _pretty(payload), "captions": _captions(payload)}
    return render(
        request,
        "message.html",
        x=facts[0],
        priority=PRIORITIES[facts[0]["priority"]],
        stands=stands,
        cancel_requested=status["cancel_requested"],
        steps=steps[-MOST_STEPS:],
        more_steps=len(steps) > MOST_STEPS,
        attempts=attempts[:MOST_ATTEMPTS][::-1],
        more_attempts=len(attempts) > MOST_ATTEMPTS,
        answer=_pretty(answer["answer"]),
        **context,
    )


async def cancel_message(request: web.Request) -> web.Response:
    """Ask that a message which waits is not sent."""
    message_id = _id(request)
    [row] = await request.app[DATABASE].act(operator(request), _CANCEL, (message_id, message_id))
    said = (
        f"Message {message_id} is cancelled. If a worker is sending it this moment, it may still arrive."
        if row["waited"]
        else f"Message {message_id} does not wait any more: nothing was cancelled."
    )
    return redirect(request, f"/messages/{message_id}", said=said)


async def retry_message(request: web.Request) -> web.Response:
    """Put a dead letter back into its lane."""
    message_id = _id(request)
    [row] = await request.app[DATABASE].act(operator(request), _RETRY, (message_id,))
    said = (
        f"Message {message_id} waits in its lane again, with as many attempts as before."
        if row["moved"]
        else f"Message {message_id} is no dead letter any more: nothing was retried."
    )
    return redirect(request, f"/messages/{message_id}", said=said)


async def discard_message(request: web.Request) -> web.Response:
    """End a dead letter for good."""
    message_id = _id(request)
    [row] = await request.app[DATABASE].act(operator(request), _DISCARD, (message_id,))
    said = (
        f"Message {message_id} is discarded."
        if row["moved"]
        else f"Message {message_id} is no dead letter any more: nothing was discarded."
    )
    return redirect(request, f"/messages/{message_id}", said=said)


ROUTES: Final = [
    web.get("/messages/{id}", show_message),
    web.post("/messages/{id}/cancel", cancel_message),
    web.post("/messages/{id}/retry", retry_message),
    web.post("/messages/{id}/discard", discard_message),
]


def _id(request: web.Request) -> int:
    found = parameters.message_id(request.match_info, "id")
    if found is None:
        raise parameters.refused("no message is named", "Find it under Messages")
    return found


def _pretty(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def _captions(payload: Any) -> list[tuple[str, str]]:
    if not isinstance(payload, dict):
        return []
    return [(name, payload[name]) for name in _CAPTIONS if isinstance(payload.get(name), str)]
