"""A sender of one bot, and servers on the bare socket for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from pydantic import SecretStr

from outbox.deliver.send import Sender, Timeouts

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
SECRET = TOKEN.partition(":")[2]
TOKENS = {"default": SecretStr(TOKEN)}
BRIEF = Timeouts(connect_s=0.3, read_s=0.3)
Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def speaking(speak: Speak) -> AsyncIterator[str]:
    """A server that answers on the bare socket."""
    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def sending(url: str, **options: object) -> AsyncIterator[Sender]:
    sender = Sender(TOKENS, url, **({"timeouts": BRIEF} | options))  # type: ignore[arg-type]
    try:
        yield sender
    finally:
        await sender.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)
