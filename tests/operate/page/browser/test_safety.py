"""What strangers try: text in messages, forms of other sites, passwords, paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Page, Request, async_playwright, expect

from outbox.operate.page.database import PageDatabase
from outbox.operate.page.password import WrongPasswords
from tests.conftest import Database
from tests.operate.page.browser.conftest import ARGUMENTS, Complaints, OpenTab

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><svg onload='window.hacked = 1'>"
NO_ICON = "status of 404"  # of the stranger
NOT_SHARED = "net::ERR_"
TURNED = "\u202etxt.exe\u2066\u200b"
HOSTILE = {
    "script": SCRIPT,
    "template": "{{ 7 * 7 }} {% raise %} ${7*7}",
    "attribute": "\"'><script>window.hacked = 1</script>",
    "right to left": f"{TURNED} שלום مرحبا",
    "4096 emoji": "👩‍👩‍👧‍👦" * 4096,
    "null-like": "null \\u0000 NULL undefined \\x00 NaN",
    "one long word": "x" * 4000,
    "javascript": "javascript:window.hacked=1",
}


@pytest.fixture
def hostile(db: Database) -> list[int]:
    """Messages of every kind of hostility, in all fields that a stranger may fill."""
    ids = []
    for name, text in HOSTILE.items():
        rows = db.execute(
            "INSERT INTO outbox.message (chat_id, payload, tag, correlation_id) VALUES (42, %s, %s, %s) RETURNING id",
            [json.dumps({"text": text, text[:50]: name}), text[:200], f"{name} {text}"[:200]],
        )
        ids.append(int(rows[0][0]))
    # And as errors: what a broken proxy may answer.
    for message_id, text in zip(ids[::2], HOSTILE.values(), strict=False):
        db.execute(
            "WITH gone AS (DELETE FROM outbox.message WHERE id = %s RETURNING *)"
            " INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, tag, correlation_id,"
            " on_uncertain, created_at, scheduled_for, died_at, attempts, calls, error_class, error_text)"
            " SELECT id, bot, chat_id, method, payload, priority, 'dead', tag, correlation_id, on_uncertain,"
            " created_at, now(), now(), 1, 1, %s, %s FROM gone",
            [message_id, text[:100], text],
        )
    return ids


async def read_payload(tab: Page, message_id: int) -> None:
    await tab.goto(f"/messages/{message_id}")
    await tab.get_by_role("button", name="Show it").click()
    await tab.locator("pre.payload").first.wait_for()


async def is_hacked(tab: Page) -> bool:
    return bool(await tab.evaluate("'hacked' in window"))


async def test_whatever_a_message_holds_is_shown_as_text(
    db: Database, hostile: list[int], open_page: Any, open_tab: OpenTab
) -> None:
    page = await open_page(payload_readers="*")
    tab = await open_tab(page.url, viewport={"width": 375, "height": 700})
    for message_id, (name, text) in zip(hostile, HOSTILE.items(), strict=True):
        await read_payload(tab, message_id)
        # As a person sees it: what is invisible has become a name.
        seen = await tab.locator("main").inner_text()
        expected = text if name != "right to left" else "שלום مرحبا"
        assert expected in seen, name
        assert not await is_hacked(tab), name
        assert "49" not in await tab.locator("pre.payload").first.inner_text()
        width = await tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, name
    for place in ("/", "/messages", "/dead-letters", "/chats", "/audit", f"/messages?text={quote(SCRIPT)}"):
        await tab.goto(place)
        assert not await is_hacked(tab), place
    await read_payload(tab, hostile[3])
    assert "U+202E" in await tab.locator("main").inner_text()
    assert TURNED[0] not in await tab.locator("main").inner_text()


async def test_hostile_words_in_the_address_are_shown_as_text(page: Any, open_tab: OpenTab, complaints: Any) -> None:
    complaints.expected += ["status of 400", "status of 404"]
    tab = await open_tab(page.url)
    attack = quote("\"'><script>window.hacked = 1</script>")
    for path in ("/messages", "/dead-letters", "/chats", "/audit", "/dead-letters/confirm", "/dead-letters/batches"):
        for name in (
            "bot",
            "chat",
            "tag",
            "class",
            "text",
            "since",
            "status",
            "state",
            "verb",
            "before_id",
            "find",
            "who",
        ):
            await tab.goto(f"{path}?{name}={attack}")
            assert not await is_hacked(tab), (path, name)
    for path in (f"/messages/{attack}", f"/bots/{attack}", f"/{attack}", f"/dead-letters/batches/{attack}"):
        await tab.goto(path)
        assert not await is_hacked(tab), path


@pytest.fixture
async def stranger() -> AsyncIterator[str]:
    """Another server of this machine, which sends whatever form it is asked for."""

    async def attack(request: web.Request) -> web.Response:
        target, how = request.query["target"], request.query["how"]
        if how == "form":
            body = f'<form method="post" action="{target}"></form><script>document.forms[0].submit()</script>'
        elif how == "image":
            body = f'<img src="{target}">'
        elif how == "frame":
            body = f'<iframe src="{target}"></iframe>'
        else:
            body = f'<script>fetch("{target}", {{method: "POST", mode: "no-cors"}}).catch(() => 0)</script>'
        return web.Response(text=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", attack)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def is_it(url: str) -> Callable[[Request], bool]:
    return lambda request: request.url == url


@pytest.mark.parametrize("how", ["form", "fetch"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_form_of_another_site_changes_nothing(
    db: Database, page: Any, open_tab: OpenTab, complaints: Complaints, stranger: str, host: str, how: str
) -> None:
    complaints.expected += [page.url, "status of 403", NO_ICON, NOT_SHARED]
    base = f"http://{host}:{urlsplit('//' + stranger).port}"
    tab = await open_tab(base)
    target = f"{page.url}/bots/default/pause"
    # What a fetch is answered, its site may not even see.
    async with tab.expect_event("requestfinished" if how == "form" else "requestfailed", is_it(target)) as event:
        await tab.goto(f"/?how={how}&target={quote(target)}")
    sent = await event.value
    if how == "form":
        site = (await sent.all_headers())["sec-fetch-site"]
        assert site == ("cross-site" if host == "localhost" else "same-site")
        answer = await sent.response()
        assert answer is not None
        assert answer.status == 403
    assert db.execute("SELECT stopped FROM outbox.limits WHERE bot = 'default'") == [(False,)]
    # The same by its own button goes through.
    tab = await open_tab(page.url)
    await tab.goto("/bots/default")
    await tab.get_by_role("button", name="Pause").click()
    await expect(tab.get_by_role("button", name="Resume")).to_be_visible()
    assert db.execute("SELECT stopped FROM outbox.limits WHERE bot = 'default'") == [(True,)]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("how", ["image", "frame"])
async def test_only_a_link_of_another_site_makes_the_database_work(
    page: Any,
    open_tab: OpenTab,
    complaints: Complaints,
    stranger: str,
    host: str,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints.expected += [page.url, "status of 403", NO_ICON, NOT_SHARED, "chrome-error:"]
    reads: list[Any] = []
    read_all = PageDatabase.read_all

    async def count(database: PageDatabase, *queries: Any) -> Any:
        reads.append(queries)
        return await read_all(database, *queries)

    monkeypatch.setattr(PageDatabase, "read_all", count)
    tab = await open_tab(f"http://{host}:{urlsplit('//' + stranger).port}")
    target = f"{page.url}/messages?text=slow"
    async with tab.expect_event("request", is_it(target)):
        await tab.goto(f"/?how={how}&target={quote(target)}")  # until all of it is loaded, or refused
    assert reads == []
    await tab.evaluate("target => { location.href = target }", target)
    await tab.wait_for_url(target)
    await expect(tab.get_by_role("heading", name="Messages", level=1)).to_be_visible()
    assert len(reads) > 0


async def test_no_other_site_frames_the_page(
    page: Any, open_tab: OpenTab, complaints: Complaints, stranger: str
) -> None:
    complaints.expected += [page.url, NO_ICON, "status of 403", "chrome-error:"]
    tab = await open_tab(f"http://{stranger}")
    await tab.goto(f"/?how=frame&target={quote(page.url + '/')}")
    texts = [await frame.locator("body").inner_text() for frame in tab.frames[1:]]
    assert len(texts) == 1
    assert "Overview" not in texts[0]


async def test_a_name_that_was_rebound_cannot_pose_as_the_proxy(db: Database, open_page: Any, chromium: str) -> None:
    page = await open_page(trusted_header="X-Forwarded-User")
    rebound = ["--host-resolver-rules=MAP rebound.example 127.0.0.1"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS + rebound)
        tab = await browser.new_page()
        await tab.goto(f"http://rebound.example:{urlsplit(page.url).port}/healthz")
        for path, method in (("/messages", "GET"), ("/bots/default/pause", "POST")):
            forged = {"X-Forwarded-User": "ann", "X-Forwarded-Proto": "https", "Sec-Fetch-Site": "same-origin"}
            status = await tab.evaluate(
                "([path, method, headers]) => fetch(path, {method, headers}).then(answer => answer.status)",
                [path, method, forged],
            )
            assert status == 403, path
        await browser.close()
    assert db.execute("SELECT FROM outbox.audit") == []
    # The same from the page's own address, as it comes out of a proxy.
    assert (await page.get("/messages", headers={"X-Forwarded-User": "ann"})).status == 200


async def test_wrong_passwords_open_nothing_and_make_the_next_one_wait_longer(
    open_page: Any, open_tab: OpenTab, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints.expected += ["status of 403", "status of 429"]
    now_s = 1000.0
    monkeypatch.setattr(WrongPasswords.__init__, "__defaults__", (lambda: now_s,))
    page = await open_page(admin_password="correct horse")
    tab = await open_tab(page.url)

    async def try_password(password: str) -> None:
        await tab.get_by_label("Your name").fill("ann")
        await tab.get_by_label("Password").fill(password)
        async with tab.expect_response(lambda answer: answer.request.method == "POST"):
            await tab.get_by_role("button", name="Log in").click()

    await tab.goto("/dead-letters?tag=x")
    assert urlsplit(tab.url).path == "/login"
    told = tab.get_by_role("alert").last
    for wait_s in (1, 2, 4):
        await try_password("wrong")
        await expect(told).to_have_text("That is not the password.")
        # Too early not even the right one is looked at.
        await try_password("correct horse")
        await expect(told).to_contain_text(f"looked at in {wait_s} s")
        now_s += wait_s
    await try_password("correct horse")
    await tab.wait_for_url(f"{page.url}/dead-letters?tag=x")  # where one wanted to go
    await expect(tab.get_by_text("ann", exact=True)).to_be_visible()
    await tab.get_by_role("button", name="Log out").click()
    await tab.wait_for_url(f"{page.url}/login")
    await tab.goto("/audit")
    assert urlsplit(tab.url).path == "/login"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2fcli.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/....//....//etc/passwd",
        "/static/../../../../../../../../etc/passwd",
        "/static/outbox.css/../../app.py",
        "/static/%00",
        "/static/",
        "/templates/layout.html",
    ],
)
async def test_static_files_are_those_of_their_folder_only(page: Any, path: str) -> None:
    parts = urlsplit(page.url)
    # By hand: every client would tidy the path up first.
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        answer = (await reader.read()).decode(errors="replace")
    writer.close()
    await writer.wait_closed()
    status = int(answer.split()[1])
    assert status in {400, 403, 404}, answer[:300]
    assert "root:" not in answer
    assert "make_app" not in answer
    assert "import" not in answer
    assert "{% block" not in answer
