"""The page as a server of this process, and a client that behaves as a browser does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from outbox.operate.page.app import Page, make_app
from outbox.operate.page.database import PageDatabase
from outbox.settings import Settings


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: Any

    @property
    def location(self) -> str:
        """Where a 303 leads."""
        return str(self.headers["Location"])


class Reader:
    """Reads and writes as the page's own links and forms do; follows no redirect, keeps cookies."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    @property
    def url(self) -> str:
        """The page's address, without a trailing slash: for a real browser."""
        return str(self._client.make_url("")).rstrip("/")

    async def get(self, path: str | URL, headers: Any = None, **query: Any) -> Answer:
        """Follow a link."""
        async with self._client.get(path, params=query, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def log_in(
        self, password: str, name: str = "ann", headers: dict[str, str] | None = None, **fields: Any
    ) -> Answer:
        """Submit the login; the cookie stays."""
        return await self.post("/login", headers, name=name, password=password, **fields)

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        """Submit a form of the page; a list goes as several fields of one name."""
        headers = {"Sec-Fetch-Site": "same-origin"} | (headers or {})
        headers = {name: value for name, value in headers.items() if value}
        data = aiohttp.FormData()
        for name, value in fields.items():
            for one in value if isinstance(value, list) else [value]:
                data.add_field(name, str(one))
        async with self._client.post(path, data=data, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def close(self) -> None:
        """End the server."""
        await self._client.close()

    def raw_post(self, path: str, headers: dict[str, str], data: bytes = b"") -> Any:
        """Send what a browser without Sec-Fetch-Site sends; use in `async with`."""
        return self._client.post(path, headers=headers, data=data, allow_redirects=False)


OpenPage = Callable[..., Awaitable[Reader]]


@pytest.fixture
async def open_page(db: Any) -> AsyncIterator[OpenPage]:
    """Serve the page of `db` with these settings; returns its reader."""
    clients: list[TestClient[Any, Any]] = []

    async def start(*, url: str | None = None, **settings: Any) -> Reader:
        app = make_app(Page(Settings(**settings), PageDatabase(url or db.url)))
        client = TestClient(TestServer(app), cookie_jar=aiohttp.CookieJar(unsafe=True))
        await client.start_server()
        clients.append(client)
        return Reader(client)

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def page(open_page: OpenPage) -> Reader:
    """The page as it is with nothing configured: loopback, no password."""
    return await open_page()
