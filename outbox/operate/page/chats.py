"""Chats that do not simply take their turn: suppressed, backing off, cooling, in flight, moved; or one by its id."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from outbox.operate.page import parameters
from outbox.operate.page.access import operator
from outbox.operate.page.bot_choice import BOTS, bot_names
from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.render import redirect, render

PAGE_OF: Final = 50
WAITING_COUNTED_TO: Final = 1000
STATES: Final = {
    "suppressed": (
        "Suppressed",
        "Refused us, for they blocked the bot or are gone: what is written to them is discarded.",
    ),
    "backing_off": ("Backing off", "Wait after a failed attempt, and then try again by themselves."),
    "cooling": ("Cooling", "Were sent to a moment ago, or Telegram told them to wait (429)."),
    "in_flight": ("In flight", "A worker is sending to them now."),
    "moved": ("Moved", "Groups that became supergroups: their messages go to the new id."),
}
_FIND: Final = "SELECT * FROM outbox.find_chats(%s, %s, %s, %s, %s)"
# Of these no index knows.
_READ: Final = frozenset({"backing_off", "cooling", "in_flight"})
_ALL_READ: Final = "SELECT outbox.chats_are_read_whole() AS all_read"
_LIFT: Final = "SELECT outbox.lift_suppression(%s, %s) AS lifted"


async def show_chats(request: web.Request) -> web.Response:
    """List the chats of one state, by id; or one chat whatever its state."""
    database, sent = request.app[DATABASE], request.query
    try:
        chat_id = parameters.text(sent, "chat")
        state = None if chat_id else parameters.choice(sent, "state", STATES) or "suppressed"
        bot = parameters.text(sent, "bot")
        after = parameters.text(sent, "after")
    except web.HTTPBadRequest as error:
        return _render(request, await database.read(*BOTS), [], None, status=400, wrong=error.text)
    chat_id = chat_id.lower() if chat_id else None
    bots, found, [chats] = await database.read_all(
        BOTS, (_FIND, (state, bot, chat_id, after, PAGE_OF)), (_ALL_READ, ())
    )
    return _render(request, bots, found, state, complete=state not in _READ or chats["all_read"])


async def lift_suppression(request: web.Request) -> web.Response:
    """Let a chat be written to again."""
    sent = await parameters.form(request)
    bot, chat_id = parameters.text(sent, "bot"), parameters.text(sent, "chat")
    if bot is None or chat_id is None:
        raise parameters.refused("no chat is named", "Choose one under Chats, Suppressed")
    [row] = await request.app[DATABASE].act(operator(request), _LIFT, (bot, chat_id))
    said = (
        f"Chat {chat_id} may be sent to again by bot {bot}."
        if row["lifted"]
        else f"A message is on its way to chat {chat_id} just now, and its answer decides: try again in a moment."
    )
    if parameters.text(sent, "found") == "1":
        return redirect(request, "/chats", said=said, chat=chat_id)
    return redirect(request, "/chats", said=said, state="suppressed")


ROUTES: Final = [web.get("/chats", show_chats), web.post("/chats/lift", lift_suppression)]


def _render(
    request: web.Request,
    bots: list[Row],
    found: list[Row],
    state: str | None,
    *,
    complete: bool = True,
    wrong: str | None = None,
    status: int = 200,
) -> web.Response:
    asked = {name: request.query.get(name, "").strip() for name in ("chat", "bot")}
    return render(
        request,
        "chats.html",
        status=status,
        states=STATES,
        state=state,
        asked=asked,
        after=request.query.get("after"),
        bots=bot_names(bots, asked["bot"]),
        chats=found,
        # All bots of a page's last chat are on it, so a full page may hold a few more.
        further=found[-1]["chat_id"] if len(found) >= PAGE_OF else None,
        complete=complete,
        waiting_counted_to=WAITING_COUNTED_TO,
        wrong=wrong,
    )
