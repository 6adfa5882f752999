"""Server time of each page with 1,000,000 finished messages, 10,000 dead letters and 100,000 that wait. Mark: 300 ms.

Every address of tests/operate/page/browser/places.py, and what reads payloads, is asked for one after the other over
HTTP; the time is what the page itself measures (Server-Timing), the median of a few looks, the first one included.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from statistics import median
from typing import Any, Final

import aiohttp

from bench.case import Case, Size
from bench.figure import Figure
from bench.server import Server
from outbox.operate.page.app import Page, serve
from outbox.operate.page.database import PageDatabase
from outbox.settings import Address, Settings
from tests.conftest import Database
from tests.observe.filled import fill_history
from tests.operate.page.browser.places import places, posts

LOOKS: Final = 7
MOST_MS: Final = 300


def measure(server: Server, size: Size) -> Iterator[Figure]:
    """Fill a database, serve the page on it, and look at every place."""
    with server.database("page") as url:
        database = Database(url)
        fill_history(
            database, finished=size.of(1_000_000, 2000), dead=size.of(10_000, 200), waiting=size.of(100_000, 500)
        )
        database.execute("SELECT outbox.start_batch('retry', p_text => 'needle', p_per_s => 1)")
        asked: list[tuple[str, dict[str, str] | None]] = [(place, None) for place in places(database)]
        asked += posts(database)
        for (path, form), times in zip(asked, asyncio.run(_look(url, asked)), strict=True):
            name = path if form is None else f"POST {path} {' '.join(form.values())}".rstrip()
            yield Figure(name, median(times), "ms", at_most=MOST_MS)


async def _look(url: str, asked: list[tuple[str, dict[str, str] | None]]) -> list[list[float]]:
    settings = Settings(admin_addr=Address("127.0.0.1", 0), payload_readers=frozenset({"*"}))
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve(Page(settings, PageDatabase(url))))
        client = await stack.enter_async_context(aiohttp.ClientSession(headers={"Sec-Fetch-Site": "same-origin"}))
        return [
            [await _server_time_ms(client, address.rstrip("/") + path, form) for _ in range(LOOKS)]
            for path, form in asked
        ]


async def _server_time_ms(client: aiohttp.ClientSession, address: str, form: dict[str, str] | None) -> float:
    options: dict[str, Any] = {} if form is None else {"data": form}
    async with client.request("GET" if form is None else "POST", address, **options) as answer:
        answer.raise_for_status()
        await answer.read()
        found = re.search(r"app;dur=([0-9.]+)", answer.headers["Server-Timing"])
    assert found is not None
    return float(found[1])


CASES: Final[dict[str, Case]] = {"all": measure}
