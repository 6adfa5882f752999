"""What a monitor and a supervisor may ask over HTTP: /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from outbox.observe.health import Check
from outbox.observe.listen import listen
from outbox.settings import Address

READY_WITHIN_S: Final = 3.0  # a supervisor asks every few seconds, and gives up soon
READY_FOR_S: Final = 1.0

Ready = Callable[[], Awaitable[Sequence[Check]]]


def routes(registry: CollectorRegistry, ready: Ready, scraped: Callable[[], object]) -> list[web.RouteDef]:
    """The three addresses. They say no chat, text or bot token, so they need no password.

    `scraped` is called at each look at /metrics.
    """
    checking = asyncio.Lock()
    known: tuple[float, list[Check]] = (float("-inf"), [])

    async def metrics(request: web.Request) -> web.Response:
        scraped()
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        # In a thread: a thousand series take 10 ms, in which no slot would be met.
        body = await asyncio.to_thread(encode, registry)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        nonlocal known
        # Whoever asks, and however often: it takes a connection from the messages.
        async with checking:
            if time.monotonic() - known[0] >= READY_FOR_S:
                try:
                    async with asyncio.timeout(READY_WITHIN_S):
                        found = list(await ready())
                except TimeoutError:
                    found = [Check("ready", False, f"no answer within {READY_WITHIN_S:g} s")]
                known = time.monotonic(), found
        checks = known[1]
        lines = [f"{'ok' if check.is_well else 'NOT'} {check.name}: {check.finding}\n" for check in checks]
        return web.Response(text="".join(lines), status=200 if all(check.is_well for check in checks) else 503)

    return [web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)]


@contextlib.asynccontextmanager
async def serve(
    address: Address, registry: CollectorRegistry, ready: Ready, scraped: Callable[[], object]
) -> AsyncIterator[str]:
    """Serve them while the block runs; yields the URL of /metrics. Raises UsageError where it cannot listen."""
    app = web.Application()
    app.router.add_routes(routes(registry, ready, scraped))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    async with listen(runner, address, "OUTBOX_METRICS_ADDR") as url:
        yield f"{url}/metrics"
