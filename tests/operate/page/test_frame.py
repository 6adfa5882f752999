"""What every page shares: headers, links below a prefix, files, errors in one line, and how it reads the database."""

from __future__ import annotations

import asyncio
import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp.test_utils import unused_port

from outbox.operate.page import render
from outbox.operate.page.app import Page, serve
from outbox.operate.page.database import PageDatabase
from outbox.settings import Address, Settings, UsageError

SECTIONS = ["/", "/messages", "/dead-letters", "/chats", "/bots", "/audit"]
FOLDER = Path(render.__file__).parent


# --- headers ---


@pytest.mark.parametrize("path", [*SECTIONS, "/nowhere", "/static/outbox.css", "/static/none.css", "/healthz"])
async def test_every_answer_forbids_what_the_page_does_not_need(page: Any, path: str) -> None:
    answer = await page.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "outbox"


async def test_files_may_be_kept_because_their_address_changes_with_them(page: Any) -> None:
    [address] = re.findall(r'href="(/static/outbox\.css\?v=[0-9a-f]+)"', (await page.get("/")).text)
    assert "immutable" in (await page.get(address)).headers["Cache-Control"]


@pytest.mark.parametrize("path", SECTIONS)
async def test_no_page_holds_a_script_or_style_of_its_own_or_asks_elsewhere(page: Any, path: str) -> None:
    text = (await page.get(path)).text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]* src=)", text)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text)


@pytest.mark.parametrize("file", sorted(path.name for path in (FOLDER / "static").glob("*.*s")))
def test_no_file_asks_elsewhere(file: str) -> None:
    assert not re.search(r"(?:url\(|import )[\"']?https?:", (FOLDER / "static" / file).read_text())


def test_what_is_vendored_has_its_licence_beside_it() -> None:
    for name in ("htmx", "uPlot"):
        assert len((FOLDER / "static" / f"{name}.LICENSE.txt").read_text()) > 400


# --- files ---


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/..\\app.py",
        "/static/",
        "/static",
        "/static/%00",
        "/static/../static/../templates/layout.html",
    ],
)
async def test_nothing_but_the_files_comes_out_of_static(page: Any, path: str) -> None:
    host, port = page.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    # By hand: a client would tidy the path up.
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.split()[1] in {"400", "403", "404"}, answer
    assert "import" not in answer
    assert "root:" not in answer


# --- below a prefix ---


@pytest.mark.parametrize("strips", [True, False])
async def test_behind_a_proxy_every_link_begins_with_the_prefix(open_page: Any, strips: bool) -> None:
    page = await open_page(admin_prefix="/ops/outbox")
    for path in SECTIONS:
        answer = await page.get(path if strips else f"/ops/outbox{path}")
        assert answer.status == 200, answer.text
        links = re.findall(r'(?:href|src|action|hx-get|data-plot)="([^"#]*)', answer.text)
        assert len(links) > 8
        assert [link for link in links if not link.startswith("/ops/outbox/") and link] == []
        assert f'href="/ops/outbox{path}" aria-current="page"' in answer.text
    posted = await page.post("/ops/outbox/bots/default/pause")
    assert posted.location.startswith("/ops/outbox/bots")
    assert (await page.get("/ops/outbox/static/outbox.css")).status == 200


async def test_below_a_prefix_the_login_stays_below_it(open_page: Any) -> None:
    page = await open_page(admin_prefix="/ops", admin_password="correct horse")
    asked = await page.get("/ops/bots", headers={"Accept": "text/html"})
    assert asked.location == "/ops/login?next=%2Fbots"
    answer = await page.post("/ops/login", name="ann", password="correct horse", next="/bots")
    assert answer.location == "/ops/bots"
    assert "Path=/ops/" in answer.headers["Set-Cookie"]
    assert (await page.get("/ops/bots")).status == 200


# --- one line after a write ---


async def test_what_was_done_is_said_once(page: Any) -> None:
    answer = await page.post("/bots/default/pause")
    said = (await page.get(answer.location)).text
    assert re.search(r'role="status"[^>]*>.*stopped', said)
    assert 'role="status"' not in (await page.get(answer.location)).text


async def test_a_forged_line_is_shown_as_text(page: Any) -> None:
    answer = await page.get("/", headers={"Cookie": "outbox_said=PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="})
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script>alert" not in answer.text
    assert (await page.get("/", headers={"Cookie": "outbox_said=%%%"})).status == 200


# --- errors ---


async def test_an_unknown_page_says_so_within_the_frame(page: Any) -> None:
    answer = await page.get("/<b>nowhere")
    assert answer.status == 404
    assert "There is no page" in answer.text
    assert "<b>nowhere" not in answer.text
    assert "<nav" in answer.text


async def test_a_verb_that_the_database_refuses_says_why_in_one_line(page: Any) -> None:
    answer = await page.post("/bots/nobody/pause")
    assert answer.status in {400, 404}
    assert "nobody" in answer.text
    assert "Traceback" not in answer.text


async def test_without_a_database_the_page_says_so(open_page: Any) -> None:
    page = await open_page(url=f"postgresql://nobody:secret-word@127.0.0.1:{unused_port()}/none")
    answer = await page.get("/")
    assert answer.status == 503
    assert "The database does not answer" in answer.text
    assert "secret-word" not in answer.text
    assert (await page.get("/healthz")).status == 200


async def test_on_an_older_schema_the_page_says_what_to_run(db: Any, page: Any) -> None:
    db.execute("DROP FUNCTION outbox.outcomes(int)")
    answer = await page.get("/")
    assert answer.status == 500
    assert "run outbox migrate" in answer.text


# --- text of strangers ---


def test_what_cannot_be_seen_is_marked_and_the_rest_is_escaped() -> None:
    text = str(render.shown("<b>\u202eevil\u2066\x00\u200b & \u0645\u0631\u062d\u0628\u0627"))
    assert text.startswith("<bdi ")
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    for name in ("U+202E", "U+2066", "U+0000", "U+200B"):
        assert name in text
    assert not set(text) & set("\u202e\u2066\x00\u200b")
    assert "\u0645\u0631" in text


def test_emoji_and_lines_stay_as_they_are() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert f"{family}\n\tend" in str(render.shown(f"{family}\n\tend"))
    assert "—" in render.shown(None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "&lt; 1 s"),
        (59, "59 s"),
        (61, "1 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_ages_are_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert html.escape(str(render.age(seconds))) == text


def test_times_are_told_relative_and_exact() -> None:
    now = datetime.now(UTC)
    assert "3 min ago" in render.ago(now - timedelta(seconds=185))
    assert "in 2 h" in render.ago(now + timedelta(hours=2, seconds=5))
    assert f"{now:%Y-%m-%d %H:%M:%S} UTC" in render.ago(now)


# --- the database ---


@pytest.fixture
async def database(db: Any) -> Any:
    opened = PageDatabase(db.url)
    await opened.open()
    yield opened
    await opened.close()


async def test_a_page_reads_as_a_reader_and_changes_nothing(database: Any) -> None:
    assert await database.read("SELECT current_user AS name") == [{"name": "outbox_reader"}]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await database.read("SELECT payload FROM outbox.message")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await database.read("CREATE TEMPORARY TABLE x ()")
    # What failed took nothing with it.
    assert await database.read("SELECT 1 AS one") == [{"one": 1}]


async def test_a_login_that_may_not_become_a_reader_reads_as_itself(db: Any, server: Any) -> None:
    name = f"page_{db.url.rpartition('/')[2]}"
    db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        db.execute(f"GRANT USAGE ON SCHEMA outbox TO {name}; GRANT SELECT ON outbox.limits TO {name}")
        database = PageDatabase(server.url_of(db.url.rpartition("/")[2], name, "x"))
        await database.open()
        assert await database.read("SELECT current_user AS name") == [{"name": name}]
        assert not (await database.rights()).may_act
        await database.close()
    finally:
        db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_what_takes_longer_than_three_seconds_is_stopped(database: Any) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(psycopg.errors.QueryCanceled):
            await database.read("SELECT pg_sleep(60)")
    assert await database.read("SELECT 1 AS one") == [{"one": 1}]


async def test_several_queries_are_of_one_moment(db: Any, database: Any) -> None:
    slow = "SELECT count(*)::int AS n, pg_sleep(0.5) FROM outbox.limits"
    reading = asyncio.create_task(database.read_all((slow, ()), ("SELECT count(*)::int AS n FROM outbox.bot", ())))
    await asyncio.sleep(0.25)
    db.execute("SELECT outbox.set_bot('late')")
    first, second = await reading
    assert (first[0]["n"], second[0]["n"]) == (1, 1)


async def test_a_verb_that_fails_leaves_nothing_done(db: Any, database: Any) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await database.act("ann", "SELECT outbox.pause('default'), 1 / 0")
    assert db.execute("SELECT stopped FROM outbox.limits") == [(False,)]
    await database.act("ann", "SELECT outbox.pause(%s)", ("default",))
    assert db.execute("SELECT what, who LIKE '%% (ann)' FROM outbox.audit", ()) == [("pause", True)]


# --- where it listens ---


async def test_an_address_that_is_taken_is_one_line_that_says_what_to_do(db: Any) -> None:
    settings = Settings(admin_addr=Address("127.0.0.1", 0))
    async with serve(Page(settings, PageDatabase(db.url))) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        taken = Settings(admin_addr=Address("127.0.0.1", port))
        with pytest.raises(UsageError, match=r"is taken.*OUTBOX_ADMIN_ADDR") as refused:
            async with serve(Page(taken, PageDatabase(db.url))):
                pass
    assert "\n" not in str(refused.value)
