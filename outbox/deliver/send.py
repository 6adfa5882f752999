"""One HTTPS request to the Bot API: the only aiohttp client.

An exception of aiohttp carries the URL and so the bot token: none leaves this file, each becomes a Failure.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import aiohttp
from pydantic import SecretStr

from outbox.deliver.classify import Answer, Failure

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 15.0  # Telegram may hold a call ~8 s before it answers 429, and delay an answer 3 s more
UPLOAD_READ_TIMEOUT_S: Final = 60.0  # for payloads with files, once they exist
ROTATE_AFTER_S: Final = 20.0  # api.telegram.org cuts connections ~39 s after opening, busy or not; age stays below 30 s
IDLE_CONNECTION_S: Final = 10.0
CONNECTIONS: Final = 1000  # above rate x 8 s, the longest hold, for 100 messages a second
BODY_BYTES: Final = 1 << 20
WARM_CONNECTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. `total_s` bounds a server that sends a byte now and then."""

    connect_s: float = CONNECT_TIMEOUT_S
    read_s: float = READ_TIMEOUT_S

    @property
    def total_s(self) -> float:
        return self.connect_s + self.read_s


@dataclass(slots=True)
class Call:
    """What came of one request."""

    answer: Answer | Failure
    started_s: float
    """time.monotonic() just before the request was written, or was to be."""
    round_trip_s: float | None
    """From there to the response's headers; None without a response."""
    ended_s: float


class _HeldBackError(Exception):
    """may_write said no."""


@dataclass(slots=True)
class _Attempt:
    may_write: Callable[[], bool]
    written: bool = False
    started_s: float = 0.0


_attempt: ContextVar[_Attempt | None] = ContextVar("outbox_attempt", default=None)


class _Request(aiohttp.ClientRequest):
    """Knows the moment between having a connection and writing to it."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        attempt = _attempt.get()
        if attempt is not None:
            transport = conn.transport
            if transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("closed before anything was written")
            if not attempt.may_write():
                raise _HeldBackError
            attempt.started_s = time.monotonic()
            attempt.written = True
        return await super().send(conn)


class Sender:
    """Sends for all bots over shared keep-alive connections that never get old."""

    def __init__(
        self,
        tokens: Mapping[str, SecretStr],
        api_url: str,
        *,
        timeouts: Timeouts | None = None,
        rotate_after_s: float = ROTATE_AFTER_S,
    ) -> None:
        self._tokens = dict(tokens)
        self._api_url = api_url.rstrip("/")
        self._timeouts = timeouts or Timeouts()
        self._rotate_after_s = rotate_after_s
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._opened_s = 0.0
        self._in_flight: dict[aiohttp.ClientSession, int] = {}
        self._most_in_flight = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._headers = {
            "User-Agent": f"outbox/{_version()}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }

    def take_tokens(self, tokens: Mapping[str, SecretStr]) -> None:
        """Use these from the next request on. Bots left out keep theirs: a lane of one may be in flight."""
        self._tokens |= tokens

    async def send(
        self,
        bot: str,
        chat_id: str,
        method: str,
        payload: str,
        may_write: Callable[[], bool] = lambda: True,
        *,
        fresh: bool = False,
    ) -> Call:
        """POST the payload (JSON text) with its chat. may_write is asked once, when a connection is ready.

        fresh: over a connection of its own. One that was kept alive the other end may have closed without our knowing
        yet, and a request lost that way is one that may have been executed.
        Raises KeyError when there is no token for the bot, and nothing else; cancelled, it ends at once with a Failure.
        """
        session = self._current_fresh() if fresh else self._current()
        return await self._post(session, bot, method, _body(chat_id, payload), may_write)

    async def check_token(self, bot: str) -> Answer | Failure:
        """Ask getMe, which the API answers from memory and without a limit."""
        return (await self._post(self._current(), bot, "getMe", b"{}", lambda: True)).answer

    async def warm(self, bot: str, connections: int = WARM_CONNECTIONS) -> Answer | Failure:
        """Open some connections before they are needed; the first answer is the token's check."""
        first, *_ = await asyncio.gather(*(self.check_token(bot) for _ in range(max(1, connections))))
        return first

    async def keep_warm(self, bots: Callable[[], list[str]]) -> None:
        """Replace the connections before they get old, for as long as they are used. Runs until cancelled."""
        while True:
            await asyncio.sleep(self._rotate_after_s * 0.9)
            busiest, self._most_in_flight = self._most_in_flight, 0
            if busiest and (serving := bots()):
                self._rotate()
                await self.warm(serving[0], min(busiest, 32))
                self._most_in_flight = 0

    async def close(self) -> None:
        """Close every connection, those with a request in flight too."""
        sessions = list(self._in_flight)
        self._session = self._fresh = None
        for task in self._closing:
            task.cancel()
        for session in sessions:
            await session.close()
        self._in_flight.clear()

    async def _post(
        self, session: aiohttp.ClientSession, bot: str, method: str, body: bytes, may_write: Callable[[], bool]
    ) -> Call:
        bot_token = self._tokens[bot].get_secret_value()
        self._in_flight[session] += 1
        if session is not self._fresh:
            self._most_in_flight = max(self._most_in_flight, self._in_flight[session])
        attempt = _Attempt(may_write, started_s=time.monotonic())
        _attempt.set(attempt)
        round_trip_s: float | None = None
        answer: Answer | Failure
        try:
            async with session.post(
                f"{self._api_url}/bot{bot_token}/{method}", data=body, allow_redirects=False
            ) as response:
                round_trip_s = time.monotonic() - attempt.started_s
                content, complete = await _read(response)
                answer = Answer(
                    response.status,
                    content.replace(bot_token.encode(), b"***"),
                    response.headers.get("Retry-After"),
                    complete,
                )
        except asyncio.CancelledError:
            # The worker stops. What came of the call must still be recorded, so this is an answer like others.
            answer = (
                Failure("stopped", "the worker stopped before the answer came")
                if attempt.written
                else Failure("unsent", "the worker stopped before anything was written")
            )
        except Exception as error:
            answer = _failure(error, attempt.written)
        finally:
            self._in_flight[session] -= 1
            self._close_when_unused(session)
        return Call(answer, attempt.started_s, round_trip_s, time.monotonic())

    def _current(self) -> aiohttp.ClientSession:
        if self._session is None or time.monotonic() - self._opened_s > self._rotate_after_s:
            self._rotate()
        assert self._session is not None
        return self._session

    def _current_fresh(self) -> aiohttp.ClientSession:
        if self._fresh is None:
            self._fresh = self._open(force_close=True)
        return self._fresh

    def _rotate(self) -> None:
        """New requests take a new session; the old one closes when its requests have ended."""
        old = self._session
        self._session = self._open(keepalive_timeout=min(IDLE_CONNECTION_S, self._rotate_after_s))
        self._opened_s = time.monotonic()
        if old is not None:
            self._close_when_unused(old)

    def _open(self, **connecting: Any) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, limit_per_host=0, ttl_dns_cache=60, **connecting),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            request_class=_Request,
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.total_s,
                connect=self._timeouts.connect_s,
                sock_connect=self._timeouts.connect_s,
                sock_read=self._timeouts.read_s,
                ceil_threshold=float("inf"),
            ),
        )
        self._in_flight[session] = 0
        return session

    def _close_when_unused(self, session: aiohttp.ClientSession) -> None:
        if session in (self._session, self._fresh) or self._in_flight.get(session, 1) > 0:
            return
        del self._in_flight[session]
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _body(chat_id: str, payload: str) -> bytes:
    """The payload with its chat. The JSON text is kept as it is: numbers that Python cannot hold pass unharmed."""
    digits = chat_id.removeprefix("-")
    chat = str(int(chat_id)) if digits.isascii() and digits.isdigit() else json.dumps(chat_id)
    if '"chat_id"' in payload:
        fields = json.loads(payload)
        fields.pop("chat_id", None)
        payload = json.dumps(fields)
    rest = payload.strip()[1:].lstrip()
    return f'{{"chat_id":{chat}{"" if rest.startswith("}") else ","}{rest}'.encode()


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body, at most 1 MiB of it, and whether that is all."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > BODY_BYTES:
                response.close()
                return b"".join(chunks)[:BODY_BYTES], False
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status line is known and counts; whether the rest would have mattered, classify decides.
        return b"".join(chunks), False
    return b"".join(chunks), True


def _failure(error: Exception, written: bool) -> Failure:
    """What went wrong, in words that cannot hold a URL."""
    if isinstance(error, _HeldBackError):
        return Failure("unsent", "held back: the slot or the lease ended while a connection was being opened")
    words = type(error).__name__
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, OSError) and cause.strerror:
        words = f"{words}: {cause.strerror}"
    if not written:
        return Failure("unreachable", f"not sent, {words}")
    if isinstance(error, TimeoutError):
        return Failure("timeout", f"no answer in time, {words}")
    return Failure("connection_lost", f"connection lost while waiting for the answer, {words}")


def _version() -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("outbox")
    return "unknown"
