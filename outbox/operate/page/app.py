"""The page as an aiohttp application, and where it listens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from outbox.observe.listen import listen
from outbox.operate.page import (
    audit,
    batches,
    bots,
    broadcasts,
    chats,
    dead_letters,
    login,
    message,
    messages,
    overview,
    rate,
)
from outbox.operate.page.access import guard, refuse_open_door, set_up_access
from outbox.operate.page.database import DATABASE, PageDatabase
from outbox.operate.page.errors import show_errors
from outbox.operate.page.render import STATIC
from outbox.settings import Settings

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "outbox",
}
SECTIONS: Final = (login, overview, rate, broadcasts, messages, message, dead_letters, batches, chats, bots, audit)
SHUTDOWN_S: Final = 1.0  # a browser keeps its connection open and asks nothing


@dataclass(frozen=True)
class Page:
    """What the page needs."""

    settings: Settings
    database: PageDatabase


def make_app(page: Page) -> web.Application:
    """Return the application. It opens and closes the database itself."""
    app = web.Application(middlewares=[_measure, show_errors, guard])
    set_up_access(app, page.settings, open_to_all=(login.ask, login.log_in, _answer, _icon))
    app[DATABASE] = page.database
    routes = [route for section in SECTIONS for route in section.ROUTES]
    routes += [web.get("/healthz", _answer), web.get("/favicon.ico", _icon)]
    # Twice below a prefix: some proxies strip it, some do not. Below it first: the prefix may be a section's path.
    for prefix in dict.fromkeys((page.settings.admin_prefix, "")):
        for route in routes:
            web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs).register(app.router)
        app.router.add_static(f"{prefix}/static", STATIC)
    app.on_response_prepare.append(_protect)
    app.cleanup_ctx.append(_connect)
    return app


@contextlib.asynccontextmanager
async def serve(page: Page) -> AsyncIterator[str]:
    """Serve the page at OUTBOX_ADMIN_ADDR while the block runs; yields its URL. Raises UsageError where it cannot."""
    address = page.settings.admin_addr
    assert address is not None
    refuse_open_door(page.settings)
    runner = web.AppRunner(
        make_app(page),
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        handle_signals=False,
        handler_cancellation=True,  # a closed tab leaves no query behind
    )
    async with listen(runner, address, "OUTBOX_ADMIN_ADDR") as url:
        yield f"{url}{page.settings.admin_prefix}/"


@web.middleware
async def _measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    began_s = time.perf_counter()
    response = await handler(request)
    if not response.prepared:
        response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - began_s) * 1000:.1f}"
    return response


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    is_versioned = "/static/" in request.path and "v" in request.query and response.status == 200
    response.headers[hdrs.CACHE_CONTROL] = "public, max-age=31536000, immutable" if is_versioned else "no-store"


async def _answer(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _icon(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "outbox.svg")


async def _connect(app: web.Application) -> AsyncIterator[None]:
    await app[DATABASE].open()
    yield
    await app[DATABASE].close()
