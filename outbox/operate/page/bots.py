"""Bots: whether they send and how fast, what stops them, and their policy."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import operator
from outbox.operate.page.database import DATABASE
from outbox.operate.page.policy import Typed, as_typed, read_policy, refused_option
from outbox.operate.page.render import redirect, render
from outbox.operate.policy import GROUPS, set_bot_call
from outbox.operate.sending_state import NO_WORKER, PAUSED, REFUSED, SENDS, SERVED, TOLD_TO_WAIT, Hold, holds, state_of
from outbox.operate.words import PRIORITIES
from outbox.settings import token_source

MOST_BOTS: Final = 200
MOST_CHANGES: Final = 20

_NOW: Final = ("SELECT outbox.clock() AS now", ())
_LIMITS: Final = (f"SELECT * FROM outbox.limits ORDER BY bot LIMIT {MOST_BOTS + 1}", ())
_DEPTHS: Final = ("SELECT bot, sum(depth)::bigint AS depth FROM outbox.depth GROUP BY bot", ())
_BOT: Final = "SELECT * FROM outbox.bot WHERE bot = %s"
_LIMITS_OF: Final = "SELECT * FROM outbox.limits WHERE bot = %s"
_DEPTH_OF: Final = "SELECT * FROM outbox.depth WHERE bot = %s"
_PRESSURE_OF: Final = "SELECT * FROM outbox.pressure WHERE bot = %s ORDER BY priority"
_CHANGES_OF: Final = f"SELECT * FROM outbox.breaker_change WHERE bot = %s ORDER BY at DESC LIMIT {MOST_CHANGES}"
_PAUSE: Final = "SELECT outbox.pause(%s) AS changed"
_RESUME: Final = "SELECT outbox.resume(%s) AS changed"
_ADD: Final = "SELECT outbox.set_bot(%s)"


async def show_bots(request: web.Request) -> web.Response:
    """List the bots with their limits and what stops them."""
    return await _list(request)


async def add_bot(request: web.Request) -> web.Response:
    """Add a bot with Telegram's limits."""
    name = parameters.text(await parameters.form(request), "bot") or ""
    database = request.app[DATABASE]
    if await database.read(_BOT, (name,)):
        return redirect(request, f"/bots/{name}", said=f"Bot {name} is there already: nothing was changed.")
    try:
        await database.act(operator(request), _ADD, (name,))
    except psycopg.errors.CheckViolation as error:
        wrong = f"{_sentence(error.diag.message_primary)} {error.diag.message_hint or ''}".strip()
        return await _list(request, typed=name, wrong=wrong, status=400)
    said = f"Bot {name} was added. Give its bot token to the workers: {token_source(name)}."
    return redirect(request, f"/bots/{name}", said=said)


async def show_bot(request: web.Request) -> web.Response:
    """Tell how one bot does, with its policy as a form."""
    return await _one(request)


async def change_policy(request: web.Request) -> web.Response:
    """Change what differs in the form; refuse all of it where one value makes no sense."""
    bot = _named(request)
    typed = read_policy(await parameters.form(request))
    if typed.wrong:
        return await _one(request, typed, status=400)
    if not typed.changes:
        return redirect(request, f"/bots/{bot}", said="Nothing was changed.")
    await _require(request, bot)
    try:
        await request.app[DATABASE].act(operator(request), *set_bot_call(bot, typed.changes))
    except psycopg.errors.CheckViolation as error:
        refused = refused_option(error)
        if refused is None:
            raise
        typed.wrong[refused[0]] = refused[1]
        return await _one(request, typed, status=400)
    said = f"Bot {bot} has a new policy: {', '.join(_told(name, typed.values[name]) for name in typed.changes)}."
    return redirect(request, f"/bots/{bot}", said=said)


async def pause_bot(request: web.Request) -> web.Response:
    """Stop sending with a bot."""
    return await _switch(
        request,
        _PAUSE,
        "Bot {} is paused. What workers hold already is still sent; the rest waits until you resume it.",
        "Bot {} was paused already.",
    )


async def resume_bot(request: web.Request) -> web.Response:
    """Let a bot send again."""
    return await _switch(
        request,
        _RESUME,
        "Bot {} may send again. A pause by Telegram (429) or by the breaker ends by itself.",
        "Bot {} was not paused by an operator: a pause by Telegram (429) or by the breaker ends by itself.",
    )


ROUTES: Final = [
    web.get("/bots", show_bots),
    web.post("/bots", add_bot),
    web.get("/bots/{bot}", show_bot),
    web.post("/bots/{bot}/policy", change_policy),
    web.post("/bots/{bot}/pause", pause_bot),
    web.post("/bots/{bot}/resume", resume_bot),
]


async def _list(request: web.Request, *, typed: str = "", wrong: str | None = None, status: int = 200) -> web.Response:
    [now], limits, depths, served = await request.app[DATABASE].read_all(_NOW, _LIMITS, _DEPTHS, (SERVED, ()))
    waiting = {row["bot"]: row["depth"] for row in depths}
    with_worker = {row["bot"] for row in served}
    return render(
        request,
        "bots.html",
        status=status,
        bots=[
            {
                **row,
                "state": state_of(row, now["now"], served=row["bot"] in with_worker),
                "waiting": waiting.get(row["bot"], 0),
            }
            for row in limits[:MOST_BOTS]
        ],
        more=len(limits) > MOST_BOTS,
        most=MOST_BOTS,
        typed=typed,
        wrong=wrong,
    )


async def _one(request: web.Request, typed: Typed | None = None, *, status: int = 200) -> web.Response:
    name = _named(request)
    [now], policy, limits, depth, pressure, changes, served = await request.app[DATABASE].read_all(
        _NOW,
        *((query, (name,)) for query in (_BOT, _LIMITS_OF, _DEPTH_OF, _PRESSURE_OF, _CHANGES_OF)),
        (SERVED, ()),
    )
    if not policy or not limits:
        raise _unknown(name)
    depths = {row["priority"]: row for row in depth}
    current = as_typed(policy[0])
    return render(
        request,
        "bot.html",
        status=status,
        bot=policy[0],
        limits=limits[0],
        holds=holds(limits[0], now["now"], served=any(row["bot"] == name for row in served)) or [Hold(SENDS, "good")],
        next_steps={
            REFUSED: "Give the workers one that works, then resume.",
            NO_WORKER: "Start one that has its token.",
        },
        queue=[(PRIORITIES[row["priority"]], row, depths.get(row["priority"])) for row in pressure],
        waits_for={"stopped": PAUSED, "unauthorised": REFUSED, "paused": TOLD_TO_WAIT},
        measured_at=max((row["measured_at"] for row in depth), default=None),
        changes=changes,
        groups=GROUPS,
        values=current | (typed.values if typed else {}),
        before=current | (typed.before if typed else {}),
        wrong=typed.wrong if typed else {},
    )


async def _switch(request: web.Request, query: str, done: str, nothing: str) -> web.Response:
    bot = _named(request)
    sent = await parameters.form(request)
    await _require(request, bot)
    [row] = await request.app[DATABASE].act(operator(request), query, (bot,))
    back = "/bots" if parameters.text(sent, "back") == "list" else f"/bots/{bot}"
    return redirect(request, back, said=(done if row["changed"] else nothing).format(bot))


async def _require(request: web.Request, bot: str) -> None:
    """Refuse a bot that does not exist: outbox.set_bot would add it."""
    if not await request.app[DATABASE].read(_BOT, (bot,)):
        raise _unknown(bot)


def _named(request: web.Request) -> str:
    bot: Any = parameters.text(request.match_info, "bot")
    if bot is None:
        raise _unknown("")
    return str(bot)


def _unknown(bot: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=f'There is no bot "{bot[:80]}". See which there are, or add it, under Bots.')


def _told(name: str, value: str) -> str:
    return f"{name} {value}"


def _sentence(text: str | None) -> str:
    text = (text or "").strip()
    return f"{text[:1].upper()}{text[1:]}." if text else ""
