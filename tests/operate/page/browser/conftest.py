"""A real Chromium before the page. Whatever a test does: no error in its console, no request to elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Database, Server
from tests.observe.filled import fill_history

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
]

# Nobody keeps house there: it runs for ever.
BATCH = "SELECT outbox.start_batch('retry', p_text => 'needle', p_per_s => 1)"

OpenTab = Callable[..., Awaitable[Page]]


@dataclass
class Complaints:
    """What a browser found fault with; a test that provokes an answer of 4xx says which it expects."""

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def left(self) -> list[str]:
        """What nobody expected."""
        return [one for one in self.found if not any(part in one for part in self.expected)]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium; without one the test is skipped."""
    given = os.environ.get("OUTBOX_TEST_CHROMIUM")
    path = given or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        pytest.skip("no Chromium: the page was not tried in a browser. Install it (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def large(server: Server, template: Database) -> Iterator[Database]:
    """A million finished messages, ten thousand dead, a hundred thousand waiting. Only read it."""
    database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    fill_history(database)
    database.execute(BATCH)
    yield database
    server.drop_database(database)


@pytest.fixture(scope="session")
def small(server: Server, template: Database) -> Iterator[Database]:
    """The same in small, for looks. Only read it."""
    database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    fill_history(database, finished=2000, dead=200, waiting=500, chats=2000)
    database.execute(BATCH)
    yield database
    server.drop_database(database)


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A browser of this test's own."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        await launched.close()


@pytest.fixture
async def open_tab(browser: Browser, complaints: Complaints) -> AsyncIterator[OpenTab]:
    """Open a tab with options of a browser's context; `base_url` is where it may go, and nowhere else."""

    async def open_one(base_url: str, **options: Any) -> Page:
        context = await browser.new_context(base_url=base_url, **options)
        context.set_default_timeout(10_000)
        tab = await context.new_page()

        def hear(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                complaints.found.append(f"console: {message.text}")

        def follow(request: Request) -> None:
            if not request.url.startswith(f"{base_url}/"):
                complaints.found.append(f"request to {request.url}")

        tab.on("console", hear)
        tab.on("pageerror", lambda error: complaints.found.append(f"error: {error}"))
        tab.on("request", follow)
        return tab

    yield open_one
    for context in browser.contexts:
        await context.close()
    assert complaints.left() == []


@pytest.fixture
async def tab(page: Any, open_tab: OpenTab) -> Page:
    """A tab of the page as it is with nothing configured, on the test's own database."""
    return await open_tab(page.url)
