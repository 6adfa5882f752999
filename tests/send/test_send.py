"""One request, against servers on loopback that misbehave."""

import asyncio
import contextlib
import gc
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from outbox.deliver import send as send_module
from outbox.deliver.classify import Answer, Failure
from outbox.deliver.send import Call, Timeouts
from tests.send.sending import SECRET, TOKEN, Speak, read_request, sending, speaking


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _send_to(speak: Speak) -> Call:
    async with speaking(speak) as url, sending(url) as sender:
        return await sender.send("default", "42", "sendMessage", '{"text": "hi"}')


def _closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("chat_id", "payload", "body"),
    [
        ("42", '{"text": "hi"}', {"chat_id": 42, "text": "hi"}),
        ("-1001557912345", "{}", {"chat_id": -1001557912345}),
        ("@news", '{"text": "hé"}', {"chat_id": "@news", "text": "hé"}),
        ("42", '{"text": "hi", "chat_id": 7}', {"chat_id": 42, "text": "hi"}),
        ("42", '{"text": "the word \\"chat_id\\" in it"}', {"chat_id": 42, "text": 'the word "chat_id" in it'}),
    ],
)
async def test_the_payload_arrives_with_its_chat(chat_id: str, payload: str, body: dict[str, object]) -> None:
    seen: list[web.Request] = []
    bodies: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({"ok": True, "result": {"message_id": 5}})

    async with serving(handler) as url, sending(url + "/") as sender:
        call = await sender.send("default", chat_id, "sendMessage", payload)
    assert bodies == [body]
    assert (seen[0].method, seen[0].path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert seen[0].content_type == "application/json"
    assert "Expect" not in seen[0].headers
    assert isinstance(call.answer, Answer)
    assert json.loads(call.answer.body)["result"]["message_id"] == 5
    assert call.round_trip_s is not None
    assert 0 < call.round_trip_s <= call.ended_s - call.started_s


async def test_numbers_beyond_python_pass_unharmed() -> None:
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.json_response({"ok": True, "result": True})

    async with serving(handler) as url, sending(url) as sender:
        await sender.send("default", "42", "sendLocation", '{"latitude": 1.12345678901234567890, "x": 1e400}')
    assert bodies == [b'{"chat_id":42,"latitude": 1.12345678901234567890, "x": 1e400}']


async def test_a_refused_connection_is_unreachable() -> None:
    async with sending(f"http://127.0.0.1:{_closed_port()}") as sender:
        call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "unreachable"
    assert call.round_trip_s is None


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    async with sending("http://nobody.invalid") as sender:
        call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "unreachable"


async def test_a_server_without_tls_is_unreachable_by_https() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with speaking(speak) as url, sending(url.replace("http:", "https:")) as sender:
        call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "unreachable"


async def test_a_connection_that_is_not_accepted_in_time_is_unreachable() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        with contextlib.ExitStack() as queue:
            for _ in range(4):  # fills the backlog, so that the kernel answers no more
                waiting = queue.enter_context(socket.socket())
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(address)
            async with sending(f"http://127.0.0.1:{address[1]}") as sender:
                call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "unreachable"


async def test_silence_after_the_request_is_a_timeout() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    call = await _send_to(speak)
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "timeout"
    assert call.ended_s - call.started_s < 2


async def test_a_server_that_sends_a_byte_now_and_then_cannot_hold_a_call_for_ever() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    call = await _send_to(speak)
    assert isinstance(call.answer, Answer)
    assert not call.answer.complete
    assert call.ended_s - call.started_s < 2


@pytest.mark.parametrize("abort", [True, False], ids=["reset", "closed"])
async def test_a_connection_lost_after_the_request_is_no_plain_failure(abort: bool) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if abort:
            writer.transport.abort()
        else:
            writer.close()

    call = await _send_to(speak)
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "connection_lost"
    assert call.round_trip_s is None


async def test_an_answer_cut_short_is_not_complete() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ok":true,')
        writer.close()

    call = await _send_to(speak)
    assert isinstance(call.answer, Answer)
    assert (call.answer.http_status, call.answer.complete) == (200, False)


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (3 << 20))

    async with serving(handler) as url, sending(url) as sender:
        call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Answer)
    assert len(call.answer.body) == 1 << 20
    assert not call.answer.complete


async def test_a_redirect_is_not_followed_with_the_bot_token() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(handler) as url, sending(url) as sender:
        call = await sender.send("default", "42", "sendMessage", "{}")
    assert isinstance(call.answer, Answer)
    assert call.answer.http_status == 302
    assert len(seen) == 1


async def test_no_failure_and_no_log_line_holds_the_bot_token(caplog: pytest.LogCaptureFixture) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_request(reader)
        writer.write(b"nonsense " + head.partition(b"\r\n")[0] + b"\r\n\r\n")
        writer.close()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_request(reader)
        line = head.partition(b"\r\n")[0]
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: %d\r\n\r\n" % len(line) + line)
        writer.close()

    told: list[str] = []
    for speak in (reset, garbage, echo):
        call = await _send_to(speak)
        told.append(repr(call))
        if isinstance(call.answer, Answer):
            told.append(call.answer.body.decode())
    for url in (f"http://127.0.0.1:{_closed_port()}", "http://nobody.invalid", "http://127.0.0.1:1", "http://[::1"):
        async with sending(url) as sender:
            told.append(repr(await sender.send("default", "42", "sendMessage", "{}")))
            told.append(repr(sender))
    gc.collect()
    assert SECRET not in " ".join(told)
    assert SECRET not in caplog.text


async def test_what_may_not_be_written_any_more_is_not_written() -> None:
    requests = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return web.json_response({"ok": True, "result": True})

    async with serving(handler) as url, sending(url) as sender:
        held = await sender.send("default", "42", "sendMessage", "{}", lambda: False)
        sent = await sender.send("default", "42", "sendMessage", "{}", lambda: True)
    assert isinstance(held.answer, Failure)
    assert held.answer.kind == "unsent"
    assert isinstance(sent.answer, Answer)
    assert requests == 1


async def test_a_cancelled_call_says_what_is_known_of_it() -> None:
    arrived = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.sleep(30)
        return web.Response()

    async with serving(handler) as url, sending(url, timeouts=Timeouts()) as sender:
        task = asyncio.create_task(sender.send("default", "42", "sendMessage", "{}"))
        await arrived.wait()
        task.cancel()
        call = await task
    assert isinstance(call.answer, Failure)
    assert call.answer.kind == "stopped"


async def test_connections_are_reused_and_replaced_before_they_get_old() -> None:
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({"ok": True, "result": True})

    async with serving(handler) as url, sending(url, rotate_after_s=0.2) as sender:
        started = time.monotonic()
        while len(set(peers)) < 3:
            await sender.send("default", "42", "sendMessage", "{}")
            assert time.monotonic() - started < 5
        assert len(peers) > 3
        assert time.monotonic() - started > 0.3


async def test_a_call_in_flight_survives_the_rotation() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("slow"):
            await asyncio.sleep(0.4)
        return web.json_response({"ok": True, "result": request.path[-4:]})

    slow = Timeouts(connect_s=1, read_s=2)
    async with serving(handler) as url, sending(url, timeouts=slow, rotate_after_s=0.1) as sender:
        task = asyncio.create_task(sender.send("default", "42", "slow", "{}"))
        await asyncio.sleep(0.2)
        await sender.send("default", "42", "fast", "{}")
        call = await task
    assert isinstance(call.answer, Answer)
    assert call.answer.http_status == 200


async def test_warming_opens_connections_that_the_first_messages_use() -> None:
    peers: dict[str, set[object]] = {"getMe": set(), "sendMessage": set()}
    every_one_there = asyncio.Barrier(4)

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        method = request.path.rpartition("/")[2]
        peers[method].add(request.transport.get_extra_info("peername"))
        await every_one_there.wait()
        return web.json_response({"ok": True, "result": {}})

    async with serving(handler) as url, sending(url, timeouts=Timeouts()) as sender:
        await sender.warm("default", 4)
        await asyncio.gather(*(sender.send("default", str(n), "sendMessage", "{}") for n in range(4)))
    assert len(peers["getMe"]) == 4
    assert peers["sendMessage"] == peers["getMe"]


def test_connections_live_shorter_than_telegram_lets_them() -> None:
    assert send_module.ROTATE_AFTER_S <= 30
    assert send_module.IDLE_CONNECTION_S <= 10
    assert send_module.READ_TIMEOUT_S >= 15
    assert send_module.CONNECTIONS > 30 * 8
