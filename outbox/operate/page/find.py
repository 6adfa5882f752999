"""The quick field: one word that names a message, what an application calls it, or a chat, and the way to it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from aiohttp import web

from outbox.operate.page.database import DATABASE, Row
from outbox.operate.page.render import render, url

_ID: Final = re.compile(r"#?([0-9]{1,19})", re.ASCII)
_ID_MAX: Final = 2**63 - 1
_CHAT: Final = re.compile(r"-?[0-9]{1,19}|@[A-Za-z0-9_]{1,64}", re.ASCII)

_BY_ID: Final = "SELECT * FROM outbox.history WHERE id = %s ORDER BY finished_at DESC NULLS FIRST LIMIT 1"
_CORRELATED: Final = "SELECT * FROM outbox.find_messages(p_correlation_id => %s, p_limit => 2)"
_TO_CHAT: Final = "SELECT * FROM outbox.find_messages(p_chat_id => %s, p_limit => 2)"
# Also a chat of which nothing is kept but that it is suppressed.
_CHAT_ITSELF: Final = "SELECT * FROM outbox.find_chats(NULL, NULL, %s, NULL, 1)"


class Way(NamedTuple):
    """What the word may mean, where that is shown, its newest message, and whether it has more of them."""

    kind: str  # id, correlation id or chat
    path: str
    newest: Row | None
    several: bool = False


async def find(request: web.Request, wanted: str) -> web.Response:
    """Look for all that the word may mean: go to the only one, let choose among several, say where there is none."""
    by_id = _ID.fullmatch(wanted)
    message_id = int(by_id[1]) if by_id and int(by_id[1]) <= _ID_MAX else None
    chat = wanted.lower() if _CHAT.fullmatch(wanted) else None
    ways = await _ways(request, wanted, message_id, chat)
    if len(ways) == 1:
        return web.Response(status=303, headers={"Location": ways[0].path})
    return render(request, "find.html", wanted=wanted, message_id=message_id, chat=chat, ways=ways)


async def _ways(request: web.Request, wanted: str, message_id: int | None, chat: str | None) -> list[Way]:
    known, correlated, to_chat, chats = await request.app[DATABASE].read_all(
        (_BY_ID, (message_id,)),
        (_CORRELATED, (wanted,)),
        # No chat at all would mean every chat.
        (_TO_CHAT, (chat or "",)),
        (_CHAT_ITSELF, (chat or "",)),
    )
    ways = []
    if known:
        ways.append(Way("id", url(request, f"/messages/{message_id}"), known[0]))
    if len(correlated) > 1:
        ways.append(Way("correlation id", url(request, "/messages", correlation_id=wanted), correlated[0], True))
    elif correlated and correlated[0]["id"] != message_id:
        ways.append(Way("correlation id", url(request, f"/messages/{correlated[0]['id']}"), correlated[0]))
    if to_chat:
        ways.append(Way("chat", url(request, "/messages", chat=chat), to_chat[0], len(to_chat) > 1))
    elif chats:
        ways.append(Way("chat", url(request, "/chats", chat=chat), None))
    return ways
