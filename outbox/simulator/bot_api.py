"""The Bot API: delay, verdict, execution, answer; and what faults do on the way."""

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from outbox.simulator.answers import Answer, flood_answer, json_answer, refusal, reset, write
from outbox.simulator.config import Config
from outbox.simulator.connections import Connections
from outbox.simulator.duplicates import count_duplicates
from outbox.simulator.faults import Faults
from outbox.simulator.files import Upload
from outbox.simulator.incoming import check_incoming, incoming_update
from outbox.simulator.ledger import Call, Ledger
from outbox.simulator.methods import MULTIPLES, cost, elements, is_send
from outbox.simulator.parameters import Parameters, read_parameters
from outbox.simulator.refusals import RefusedError, refuse_bad_call, refuse_bad_file
from outbox.simulator.replies import Replies
from outbox.simulator.stats import measure
from outbox.simulator.stroke import Stroke
from outbox.simulator.updates import WEBHOOK_METHODS, Updates
from outbox.simulator.waiting import Sleep
from outbox.simulator.windows import Windows

# /test/ is the path of Telegram's test environment (telegram-bot-api HttpConnection.cpp).
_PATH = re.compile(r"/(?:delay/(?P<delay_ms>[0-9]+(?:\.[0-9]+)?)/)?bot(?P<token>[^/]+)/(?:test/)?(?P<method>[^/]+)/?")
_TOKEN = re.compile(r"(?P<bot>[0-9]{1,19}):.+")
_GONE_POLL_S = 0.1


class Simulator:
    """One simulated Telegram: its windows, ledger and faults, and the handler of every API call.

    `clock` gives seconds that never run backwards. It is not the event loop's: uvloop's moves once per round only.
    `sleep` waits by it.
    """

    def __init__(
        self, config: Config, clock: Callable[[], float] = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.config = config
        self.windows = Windows(config)
        self.ledger = Ledger(offset_s=time.time() - clock(), keep=config.keep)
        self.faults = Faults(config.seed, clock)
        self.replies = Replies()
        # Update ids go on where an earlier server's stopped, so that a bot which outlives it confirms nothing unseen.
        self.updates = Updates(int(time.time()), clock, sleep)
        self.connections = Connections(config.connection_age_s, config.connection_idle_s, clock, sleep)
        self.stopped = asyncio.Event()
        self._clock = clock
        self._sleep = sleep
        self._random = random.Random(config.seed)
        self._late: set[asyncio.Task[None]] = set()

    def stats(self, after: float | None = None, before: float | None = None) -> dict[str, Any]:
        """Figures over calls that arrived in [after, before), unix seconds; see stats.measure."""
        calls = list(self.ledger.between(after, before))
        return measure(calls, self.config, self.ledger.offset_s) | {
            "duplicates": count_duplicates(calls, self.faults.moved),
            "max_in_flight_per_chat": self.ledger.in_flight.most,
            "connections": len(self.ledger.clients),
        }

    def reset(self) -> None:
        """Forget calls, windows, updates and webhooks; faults stay.

        Chats keep counting their message ids: real ones never start again.
        """
        self.ledger.clear()
        self.windows.clear()
        self.updates.clear()

    def renew(self) -> None:
        """Forget everything, message ids and faults too: the next test finds it as it was at the start."""
        self.reset()
        self.replies = Replies()
        self.faults.renew()
        self._random = random.Random(self.config.seed)

    def push(self, bot: str, given: list[Any]) -> list[dict[str, Any]]:
        """Append updates for the bot, all or none; they come back with their ids. Raises BadUpdateError."""
        return self.updates.push(bot, given)

    def push_messages(self, bot: str, given: list[Any]) -> list[dict[str, Any]]:
        """The same for messages of users: objects with chat_id and any fields of a Message. Raises BadUpdateError."""
        chats = [check_incoming(one) for one in given]
        now_unix = int(self._clock() + self.ledger.offset_s)
        updates = []
        for chat, one in zip(chats, given, strict=True):
            fields = {name: value for name, value in one.items() if name != "chat_id"}
            updates.append(incoming_update(chat, self.replies.next_id(bot, chat), now_unix, fields))
        return self.updates.push(bot, updates)

    async def stop(self) -> None:
        """End what waits; calls that were to be executed later never are."""
        self.stopped.set()
        self.updates.clear()
        for task in list(self._late):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.connections.stop()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one API call; the answer is written here, so that the ledger knows when."""
        path, _, _ = request.raw_path.partition("?")
        match = _PATH.fullmatch(path if "%" not in path else unquote(path))
        if match is None:
            return _plain(refusal(404, "Not Found"))
        token = _TOKEN.fullmatch(match["token"])
        if token is None:
            return _plain(refusal(401, "Unauthorized"))
        transport = request.transport
        if transport is not None:
            self.ledger.clients.add(transport.get_extra_info("peername"))
        way_s = float(match["delay_ms"] or 0) / 2000

        is_alive = self.connections.enter(request)
        try:
            parameters, refused = await _try_to_read(request)
            call = _start(token["bot"], match["method"], parameters, self.config.keep_parameters)
            if not is_alive:
                return self._drop(request, call)
            if call.chat is None:
                return await self._carry(request, call, parameters, refused, way_s)
            lane = (call.bot, call.chat)
            self.ledger.in_flight.enter(lane, request)
            try:
                return await self._carry(request, call, parameters, refused, way_s)
            finally:
                self.ledger.in_flight.leave(lane, request)
        except ConnectionError:
            # The client left. What was executed stays executed.
            return web.Response()
        finally:
            self.connections.leave(transport)

    def _drop(self, request: web.Request, call: Call) -> web.Response:
        call.arrived_s = self._clock()
        call.broken_by = "idle connection"
        self.ledger.record(call)
        reset(request)
        return web.Response()

    async def _carry(
        self, request: web.Request, call: Call, parameters: Parameters, refused: RefusedError | None, way_s: float
    ) -> web.StreamResponse:
        """The way in, the verdict, the execution, the way out; faults hit on either side of the execution."""
        before_s = way_s + self.config.latency_s
        if self.config.jitter_s[1]:
            before_s += self._random.uniform(*self.config.jitter_s)
        if before_s:
            await self._sleep(before_s)

        stroke = self.faults.hit("before", call)
        if stroke.delay_s:
            await self._sleep(stroke.delay_s)
        call.arrived_s = self._clock()
        refuses = self._admit(call, parameters, refused) if stroke.executes else None
        if refuses is None and stroke.answer is not None:
            call.status = stroke.answer.status
        self.ledger.record(call)
        if refuses is not None:
            return await self._write(request, call, refuses, Stroke(), way_s)
        if stroke.hold_s:
            await self._sleep(stroke.hold_s)
        if stroke.ending != "answer":
            return await self._break(request, stroke)
        if stroke.answer is not None and (stroke.late_s is not None or not stroke.executes):
            if stroke.late_s is not None:
                self._execute_later(call, parameters, stroke.late_s)
            return await self._write(request, call, stroke.answer, stroke, way_s)

        try:
            fetched = await self._fetch(call, parameters)
        except RefusedError as error:
            call.verdict, call.status = "error", error.status
            return await self._write(request, call, refusal(error.status, error.description), Stroke(), way_s)
        result = self._execute(call, parameters, stroke.made, fetched)
        usual = stroke.answer or json_answer(200, {"ok": True, "result": result})
        call.status = usual.status
        if stroke.answer is None:
            stroke = self.faults.hit("after", call)
            if stroke.delay_s:
                await self._sleep(stroke.delay_s)
            if stroke.ending != "answer":
                call.status = None
                return await self._break(request, stroke)
        return await self._write(request, call, usual, stroke, way_s)

    def _admit(self, call: Call, parameters: Parameters, refused: RefusedError | None) -> Answer | None:
        """The verdict, from windows that stand still meanwhile: no await in here. None: it may be executed."""
        try:
            if refused is not None:
                raise refused
            refuse_bad_call(call.method.lower(), call.chat, parameters)
            refuse_bad_file(call.method.lower(), call.bot, parameters)
        except RefusedError as error:
            call.status = error.status
            return refusal(error.status, error.description)
        if call.cost:
            call.limit = self.faults.rate(call.bot)
            verdict = self.windows.judge(call.bot, call.chat, call.cost, call.arrived_s, call.limit)
            if verdict is not None:
                call.verdict = verdict.limit
                call.status = 429
                return flood_answer(max(1, math.ceil(verdict.wait_s)))
        call.verdict = "pending"
        return None

    async def _fetch(self, call: Call, parameters: Parameters) -> list[dict[str, Any]]:
        return await self.updates.fetch(call.bot, parameters) if call.method.lower() == "getupdates" else []

    def _execute(
        self, call: Call, parameters: Parameters, made: int | None, fetched: list[dict[str, Any]] | None = None
    ) -> Any:
        """Do it: from here on the message is in the chat. `made`: only so many messages of several."""
        method = call.method.lower()
        if made is not None:
            name = MULTIPLES[method]
            parameters = parameters | {name: (elements(parameters, name) or [])[:made]}
        call.executed_s = self._clock()
        result: Any
        if method == "getupdates":
            result = fetched or []
        elif method in WEBHOOK_METHODS:
            result = self.updates.answer(method, call.bot, parameters)
        else:
            now_unix = int(call.executed_s + self.ledger.offset_s)
            result = self.replies.result(method, call.bot, call.chat, parameters, now_unix)
        call.verdict = "accepted"
        call.message_id = _message_id(result)
        if is_send(method):
            call.made = len(result) if isinstance(result, list) else 1
        self.ledger.tell()
        return result

    def _execute_later(self, call: Call, parameters: Parameters, late_s: float) -> None:
        async def wait_and_execute() -> None:
            await self._sleep(late_s)
            self._execute(call, parameters, None)

        task = asyncio.create_task(wait_and_execute())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _break(self, request: web.Request, stroke: Stroke) -> web.StreamResponse:
        if stroke.ending == "reset":
            reset(request)
            return web.Response()
        while request.transport is not None and not self.stopped.is_set():
            await self._wait(_GONE_POLL_S)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _write(
        self, request: web.Request, call: Call, usual: Answer, stroke: Stroke, way_s: float
    ) -> web.StreamResponse:
        answer = stroke.finish(usual)
        call.status = answer.status
        after_s = way_s + self.config.answer_s
        if after_s:
            await self._sleep(after_s)
        response = await write(request, answer, stroke.bytes_per_s, self._sleep)
        call.answered_s = self._clock()
        return response

    async def _wait(self, wait_s: float) -> None:
        """Sleep, but not beyond the server's end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), wait_s)


def _plain(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers={"Content-Type": "application/json"})


async def _try_to_read(request: web.Request) -> tuple[Parameters, RefusedError | None]:
    try:
        return await read_parameters(request), None
    except RefusedError as error:
        # It still has to travel and to be recorded like any other call.
        return {}, error


def _start(bot: str, method: str, parameters: Parameters, keeps_parameters: bool) -> Call:
    chat = parameters.get("chat_id")
    text = parameters.get("text", parameters.get("caption"))
    return Call(
        n=0,
        bot=bot,
        chat=None if chat is None or chat == "" else str(chat).lower(),
        method=method,
        text=text if isinstance(text, str) else None,
        arrived_s=0.0,
        verdict="error",
        status=None,
        cost=cost(method.lower(), parameters),
        uploaded_bytes=sum(value.size_bytes for value in parameters.values() if isinstance(value, Upload)),
        parameters=parameters if keeps_parameters else None,
    )


def _message_id(result: Any) -> int | None:
    first = result[0] if isinstance(result, list) and result else result
    found = first.get("message_id") if isinstance(first, dict) else None
    return found if isinstance(found, int) else None
