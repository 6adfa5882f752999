"""/_sim/: the log, the figures, the faults, the users. Not Telegram's: a test's window into the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from outbox.simulator.duplicates import list_duplicates
from outbox.simulator.fields import BadRuleError
from outbox.simulator.updates import BadUpdateError

if TYPE_CHECKING:
    from outbox.simulator.bot_api import Simulator


def add_control_routes(app: web.Application, simulator: Simulator) -> None:
    """Routes of /_sim/; a bad query or rule is answered 400 with {"error": …} that says what to change."""
    control = Control(simulator)
    app.router.add_get("/_sim/log", control.log)
    app.router.add_get("/_sim/stats", control.stats)
    app.router.add_get("/_sim/duplicates", control.duplicates)
    app.router.add_post("/_sim/reset", control.reset)
    app.router.add_post("/_sim/updates", control.push_updates)
    app.router.add_post("/_sim/messages", control.push_messages)
    app.router.add_get("/_sim/faults", control.list_faults)
    app.router.add_post("/_sim/faults", control.add_faults)
    app.router.add_delete("/_sim/faults", control.clear_faults)


class Control:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def log(self, request: web.Request) -> web.Response:
        """Calls in order of arrival: ?bot= &chat= &since=<n> &limit=."""
        ledger = self._simulator.ledger
        chat = request.query.get("chat")
        calls = ledger.select(
            bot=request.query.get("bot"),
            chat=None if chat is None else chat.lower(),
            since=int(_number(request, "since") or 0),
            limit=None if "limit" not in request.query else int(_number(request, "limit") or 0),
        )
        return web.json_response([ledger.as_json(call) for call in calls])

    async def stats(self, request: web.Request) -> web.Response:
        """Figures: ?after=<unix> &before=<unix>."""
        return web.json_response(self._simulator.stats(_number(request, "after"), _number(request, "before")))

    async def duplicates(self, request: web.Request) -> web.Response:
        """Texts that were executed more than once in their chat."""
        simulator = self._simulator
        return web.json_response(list_duplicates(simulator.ledger.calls, simulator.faults.moved))

    async def reset(self, request: web.Request) -> web.Response:
        """Clear ledger, windows and updates; the calls made so far no longer count anywhere."""
        self._simulator.reset()
        return web.json_response({"ok": True})

    async def push_updates(self, request: web.Request) -> web.Response:
        """Append an update or a list of them, all or none, for getUpdates of ?bot=<number>; answers with their ids."""
        return await self._push(request, self._simulator.push)

    async def push_messages(self, request: web.Request) -> web.Response:
        """The same with what a user wrote: {"chat_id": 42, "text": "/start"}, and any other field of a Message."""
        return await self._push(request, self._simulator.push_messages)

    async def _push(self, request: web.Request, push: Callable[[str, list[Any]], list[Any]]) -> web.Response:
        bot = request.query.get("bot", "")
        if not (bot.isascii() and bot.isdigit()):
            raise _bad(f"bot is {bot!r}. Say whose they are: ?bot=123, the number in front of the token's colon.")
        try:
            given: Any = await request.json()
            return web.json_response(push(bot, given if isinstance(given, list) else [given]))
        except BadUpdateError as error:
            raise _bad(str(error)) from error
        except ValueError as error:
            raise _bad(f"{error}. Send one JSON object, or a list of them.") from error

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._simulator.faults.as_json())

    async def add_faults(self, request: web.Request) -> web.Response:
        """Append a rule or a list of rules, all or none."""
        try:
            given: Any = await request.json()
            self._simulator.faults.add(given if isinstance(given, list) else [given])
        except BadRuleError as error:
            raise _bad(str(error)) from error
        except (TypeError, ValueError) as error:
            raise _bad(f"{error}. Send a JSON list of rules; see docs/simulator.md.") from error
        return await self.list_faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._simulator.faults.clear()
        return await self.list_faults(request)


def _number(request: web.Request, name: str) -> float | None:
    value = request.query.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise _bad(f"{name} is {value!r}. Give a number.") from error


def _bad(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": text}), content_type="application/json")
