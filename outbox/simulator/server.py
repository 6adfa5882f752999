"""The Bot API over HTTP: delay, verdict, answer; and /_sim/, which tells what really happened."""

import asyncio
import contextlib
import json
import math
import random
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from outbox.simulator.config import Config
from outbox.simulator.control import add_control_routes
from outbox.simulator.faults import Faults, Rule
from outbox.simulator.ledger import Call, Ledger
from outbox.simulator.methods import cost
from outbox.simulator.parameters import MOST_PARAMETER_BYTES, Parameters, Upload, read_parameters
from outbox.simulator.replies import RefusedError, Replies, error_body, refuse_bad_call
from outbox.simulator.stats import measure
from outbox.simulator.windows import Windows

# /test/ is the path of Telegram's test environment (telegram-bot-api HttpConnection.cpp).
_PATH = re.compile(r"/(?:delay/(?P<delay_ms>[0-9]+(?:\.[0-9]+)?)/)?bot(?P<token>[^/]+)/(?:test/)?(?P<method>[^/]+)/?")
_TOKEN = re.compile(r"(?P<bot>[0-9]{1,19}):.+")
_LONGEST_POLL_S = 1.0
_GONE_POLL_S = 0.1


class Simulator:
    """One simulated Telegram: its windows, ledger and faults, and the handler of every API call.

    `clock` gives seconds that never run backwards. It is not the event loop's: uvloop's moves once per round only.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self.windows = Windows(config)
        self.ledger = Ledger(offset_s=time.time() - clock(), keep=config.keep)
        self.faults = Faults(config.seed)
        self.replies = Replies()
        self.stopped = asyncio.Event()
        self._clock = clock
        self._random = random.Random(config.seed)

    def stats(self, after: float | None = None, before: float | None = None) -> dict[str, Any]:
        """Figures over calls that arrived in [after, before), unix seconds; see stats.measure."""
        figures = measure(self.ledger.between(after, before), self.config, self.ledger.offset_s)
        return figures | {
            "max_in_flight_per_chat": self.ledger.in_flight.most,
            "connections": len(self.ledger.clients),
        }

    def reset(self) -> None:
        """Forget calls and windows; faults stay. Chats keep counting their message ids: real ones never start again."""
        self.ledger.clear()
        self.windows.clear()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one API call; the answer is written here, so that the ledger knows when."""
        path, _, _ = request.raw_path.partition("?")
        match = _PATH.fullmatch(path if "%" not in path else unquote(path))
        if match is None:
            return _json(404, error_body(404, "Not Found"))
        token = _TOKEN.fullmatch(match["token"])
        if token is None:
            return _json(401, error_body(401, "Unauthorized"))
        if request.transport is not None:
            self.ledger.clients.add(request.transport.get_extra_info("peername"))
        way_s = float(match["delay_ms"] or 0) / 2000

        try:
            parameters, refused = await _try_to_read(request)
            call = _start(bot=token["bot"], method=match["method"], parameters=parameters)
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

    async def _carry(
        self, request: web.Request, call: Call, parameters: Parameters, refused: RefusedError | None, way_s: float
    ) -> web.StreamResponse:
        """The way in, the verdict, the way out; faults hit on either side of the verdict."""
        before_s = way_s + self.config.latency_s
        if self.config.jitter_s[1]:
            before_s += self._random.uniform(*self.config.jitter_s)
        if before_s:
            await asyncio.sleep(before_s)

        fault = self.faults.hit("before", call)
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        call.arrived_s = self._clock()
        if fault is not None and fault.ends_the_call:
            self.ledger.record(call)
            return await self._break(request, call, fault, way_s)

        status, body = self._judge(call, parameters, refused)
        self.ledger.record(call)
        if call.verdict == "accepted":
            fault = self.faults.hit("after", call)
            if fault is not None:
                await asyncio.sleep(fault.delay_s)
                if fault.ends_the_call:
                    return await self._break(request, call, fault, way_s)
            if call.method.lower() == "getupdates":
                await self._wait(min(_LONGEST_POLL_S, _seconds(parameters.get("timeout"))))
        return await self._write(request, call, _json(status, body), way_s)

    def _judge(self, call: Call, parameters: Parameters, refused: RefusedError | None) -> tuple[int, dict[str, Any]]:
        """The verdict, from windows that stand still meanwhile: no await in here."""
        method = call.method.lower()
        try:
            if refused is not None:
                raise refused
            refuse_bad_call(method, call.chat, parameters)
        except RefusedError as error:
            call.status = error.status
            return error.status, error_body(error.status, error.description)
        if call.cost:
            refusal = self.windows.judge(call.bot, call.chat, call.cost, call.arrived_s)
            if refusal is not None:
                call.verdict = refusal.limit
                call.status = 429
                wait_s = max(1, math.ceil(refusal.wait_s))
                return 429, error_body(429, f"Too Many Requests: retry after {wait_s}", {"retry_after": wait_s})
        call.verdict = "accepted"
        call.status = 200
        result = self.replies.result(
            method, call.bot, call.chat, parameters, int(call.arrived_s + self.ledger.offset_s)
        )
        call.message_id = _message_id(result)
        return 200, {"ok": True, "result": result}

    async def _break(self, request: web.Request, call: Call, fault: Rule, way_s: float) -> web.StreamResponse:
        call.status = None
        if fault.reset:
            _reset(request)
            return web.Response()
        if fault.hang:
            while request.transport is not None and not self.stopped.is_set():
                await self._wait(_GONE_POLL_S)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        status = fault.status or 500
        call.status = status
        if fault.body is None:
            response = _json(status, error_body(fault.error_code, fault.description, fault.parameters))
        else:
            response = web.Response(status=status, text=fault.body, content_type="text/html")
        return await self._write(request, call, response, way_s)

    async def _write(
        self, request: web.Request, call: Call, response: web.Response, way_s: float
    ) -> web.StreamResponse:
        after_s = way_s + self.config.answer_s
        if after_s:
            await asyncio.sleep(after_s)
        await response.prepare(request)
        await response.write_eof()
        call.answered_s = self._clock()
        return response

    async def _wait(self, wait_s: float) -> None:
        """Sleep, but not beyond the server's end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), wait_s)


SIMULATOR = web.AppKey("simulator", Simulator)


def create_app(config: Config | None = None, clock: Callable[[], float] = time.monotonic) -> web.Application:
    """The simulator as an application to run or mount; its Simulator is app[SIMULATOR]."""
    simulator = Simulator(config or Config(), clock)
    app = web.Application(client_max_size=MOST_PARAMETER_BYTES)
    app[SIMULATOR] = simulator
    add_control_routes(app, simulator)
    app.router.add_route("*", "/{path:.*}", simulator.answer)

    async def stop(_: web.Application) -> None:
        simulator.stopped.set()

    app.on_shutdown.append(stop)
    return app


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator that listens; `url` is what a client takes for https://api.telegram.org."""

    url: str
    simulator: Simulator

    @property
    def ledger(self) -> Ledger:
        return self.simulator.ledger

    @property
    def faults(self) -> Faults:
        return self.simulator.faults


@contextlib.asynccontextmanager
async def serve(
    config: Config | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Running]:
    """Listen until the block ends; port 0 takes any free one. Raises OSError when the address is taken."""
    app = create_app(config, clock)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        bound_port = runner.addresses[0][1]
        yield Running(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}", app[SIMULATOR])
    finally:
        await runner.cleanup()


def _json(status: int, body: dict[str, Any]) -> web.Response:
    headers = {"Content-Type": "application/json"}
    if "retry_after" in body.get("parameters", ()):
        headers["Retry-After"] = str(body["parameters"]["retry_after"])
    return web.Response(
        status=status, body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), headers=headers
    )


def _reset(request: web.Request) -> None:
    if request.transport is None:
        return
    # Linger 0 makes the kernel send RST, which is what a client sees of a dead peer; close alone sends FIN.
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


async def _try_to_read(request: web.Request) -> tuple[Parameters, RefusedError | None]:
    try:
        return await read_parameters(request), None
    except RefusedError as error:
        # It still has to travel and to be recorded like any other call.
        return {}, error


def _start(bot: str, method: str, parameters: Parameters) -> Call:
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
    )


def _message_id(result: Any) -> int | None:
    first = result[0] if isinstance(result, list) and result else result
    found = first.get("message_id") if isinstance(first, dict) else None
    return found if isinstance(found, int) else None


def _seconds(value: Any) -> float:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return 0.0
