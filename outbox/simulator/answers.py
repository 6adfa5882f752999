"""Answers as bytes: whole, damaged, slow or cut off; and the reset of a connection."""

import http
import json
import socket
import struct
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import web

from outbox.simulator.refusals import error_body
from outbox.simulator.waiting import Sleep

Body = Literal["json", "html", "empty", "truncated", "cut"]
BODIES: tuple[Body, ...] = ("json", "html", "empty", "truncated", "cut")

# nginx's own words where they differ from those of RFC 9110 (nginx, ngx_http_special_response.c).
_NGINX_PHRASES = {
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
# What Telegram says with a code when nothing more is known (tdlib/telegram-bot-api Client.cpp, fail_query_with_error).
DESCRIPTIONS = {
    400: "Bad Request: chat not found",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    404: "Not Found",
    409: "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    413: "Request Entity Too Large",
    429: "Too Many Requests: retry after {retry_after}",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_CHUNKS_PER_S = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str | None = "application/json"
    retry_after_s: int | None = None
    is_cut: bool = False
    """The connection closes in the middle of the body."""


def json_answer(status: int, body: dict[str, Any]) -> Answer:
    retry_after_s = body["parameters"].get("retry_after") if "parameters" in body else None
    return Answer(
        status,
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        retry_after_s=retry_after_s,
    )


def refusal(status: int, description: str, parameters: dict[str, Any] | None = None) -> Answer:
    """Telegram's no."""
    return json_answer(status, error_body(status, description, parameters))


def flood_answer(retry_after_s: int) -> Answer:
    """What every flood looks like, whichever limit it was."""
    description = f"Too Many Requests: retry after {retry_after_s}"
    return refusal(429, description, {"retry_after": retry_after_s})


def damage(answer: Answer, body: Body) -> Answer:
    """The answer as something between the backend and the client leaves it."""
    if body == "html":
        return Answer(answer.status, _nginx_page(answer.status), "text/html")
    if body == "empty":
        return Answer(answer.status, b"", None)
    if body == "truncated":
        return replace(answer, body=answer.body[: len(answer.body) // 2])
    return replace(answer, is_cut=True) if body == "cut" else answer


async def write(request: web.Request, answer: Answer, bytes_per_s: float | None, sleep: Sleep) -> web.StreamResponse:
    """Write the answer, at `bytes_per_s` if given. Raises ConnectionError when the client has left."""
    headers = {} if answer.content_type is None else {"Content-Type": answer.content_type}
    if answer.retry_after_s is not None:
        headers["Retry-After"] = str(answer.retry_after_s)
    if bytes_per_s is None and not answer.is_cut:
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        await response.prepare(request)
        await response.write_eof()
        return response
    stream = web.StreamResponse(status=answer.status, headers=headers)
    stream.content_length = len(answer.body)
    await stream.prepare(request)
    body = answer.body[: len(answer.body) // 2] if answer.is_cut else answer.body
    if bytes_per_s is None:
        await stream.write(body)
    else:
        size = max(1, round(bytes_per_s / _CHUNKS_PER_S))
        for start in range(0, len(body), size):
            await stream.write(body[start : start + size])
            await sleep(size / bytes_per_s)
    if answer.is_cut:
        if request.transport is not None:
            request.transport.close()
        return stream
    await stream.write_eof()
    return stream


def reset(request: web.BaseRequest) -> None:
    """Break the connection the way a dead peer does."""
    if request.transport is None:
        return
    # Linger 0 makes the kernel send RST; close alone sends FIN.
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _nginx_page(status: int) -> bytes:
    phrase = _NGINX_PHRASES.get(status)
    if phrase is None:
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = "Error"
    title = f"{status} {phrase}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
    ).encode()
