"""What every page shares: headers, links below a prefix, files, errors in one line, and how it reads the database."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
from aiohttp.test_utils import unused_port
from yarl import URL

from outbox.operate.page import database as database_module
from outbox.operate.page import filters, render
from outbox.operate.page.app import Page, serve
from outbox.operate.page.database import CONNECTIONS, PageDatabase
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


async def test_a_section_as_the_prefix_opens_nothing_and_hides_nothing(db: Any, open_page: Any) -> None:
    page = await open_page(admin_prefix="/bots", admin_password="correct horse")
    for path in ("/bots/static/pause", "/bots/bots/static/pause"):
        assert (await page.post(path)).status == 401, path
    assert (await page.get("/bots/static/none.css")).status == 404
    assert (await page.get("/bots/bots/login")).status == 401, "a bot of that name"
    assert 'name="password"' in (await page.get("/bots/login")).text
    await page.log_in("correct horse")
    assert "<h1>Messages</h1>" in (await page.get("/bots/messages")).text
    assert "<h1>Bots</h1>" in (await page.get("/bots/bots")).text


# --- what stands in an address ---

ODD = 'a&b=c#d+1% "q" пр ✓ \u202e'


async def test_odd_characters_survive_the_filter_the_pager_and_a_renewal(db: Any, page: Any) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT i, '{\"text\": \"x\"}', CASE WHEN i > 3 THEN %s ELSE 'a' END FROM generate_series(1, 60) i",
        [ODD],
    )
    first = await page.get("/messages", tag=ODD)
    assert first.status == 200, first.text
    older = html.unescape(re.findall(r'href="([^"]*before=[^"]*)"', first.text)[0])
    assert parse_qs(urlsplit(older).query)["tag"] == [ODD]
    second = await page.get(URL(older, encoded=True))
    assert len(re.findall(r'<td class="num"><a href="/messages/[0-9]+"', second.text)) == 57 - 50
    # What a part asks for to renew itself is what the browser asked for, as it was encoded.
    asked = f"/?bot={quote(ODD)}"
    renewed = html.unescape(
        re.findall(r'hx-get="([^"]*bot=[^"]*)"', (await page.get(URL(asked, encoded=True))).text)[0]
    )
    assert renewed == asked


# --- one line after a write ---


async def test_what_was_done_is_said_once(page: Any) -> None:
    answer = await page.post("/bots/default/pause")
    said = (await page.get(answer.location)).text
    assert re.search(r'role="status"[^>]*>.*paused', said)
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
    text = str(filters.shown("<b>\u202eevil\u2066\x00\u200b & \u0645\u0631\u062d\u0628\u0627"))
    assert text.startswith("<bdi ")
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    for name in ("U+202E", "U+2066", "U+0000", "U+200B"):
        assert name in text
    assert not set(text) & set("\u202e\u2066\x00\u200b")
    assert "\u0645\u0631" in text


def test_emoji_and_lines_stay_as_they_are() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert f"{family}\n\tend" in str(filters.shown(f"{family}\n\tend"))
    assert "—" in filters.shown(None)


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
    assert html.escape(str(filters.age(seconds))) == text


def test_times_are_told_relative_and_exact() -> None:
    now = datetime.now(UTC)
    assert "3 min ago" in filters.ago(now - timedelta(seconds=185))
    assert "in 2 h" in filters.ago(now + timedelta(hours=2, seconds=5))
    assert f"{now:%Y-%m-%d %H:%M:%S} UTC" in filters.ago(now)


# --- the database ---


def running(db: Any) -> int:
    """How many queries of the page run."""
    query = "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'outbox page' AND state = 'active'"
    return int(db.execute(f"{query} AND datname = current_database()")[0][0])


def waiting_for_a_lock(db: Any) -> int:
    query = "SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return int(db.execute(f"{query} AND datname = current_database()")[0][0])


async def until(holds: Callable[[], bool]) -> None:
    """Ask the server until it is so: nothing tells when a query begins to wait."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.01)


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


async def test_all_queries_of_a_page_have_three_seconds_together(db: Any, database: Any) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(psycopg.errors.QueryCanceled):
            await database.read_all(*[("SELECT pg_sleep(2)", ())] * 4)
    assert await database.read("SELECT 1 AS one") == [{"one": 1}]
    assert running(db) == 0


async def test_a_closed_tab_leaves_no_query_behind(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "READ_WITHIN_S", 60)
    db.execute(
        "CREATE OR REPLACE FUNCTION outbox.rate_series(p_minutes int DEFAULT 15, p_step_s int DEFAULT 10)"
        " RETURNS TABLE (bot text, at timestamptz, sent int, too_many_requests int, failed int, allowed float8)"
        " LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); END $$"
    )
    async with serve(Page(Settings(admin_addr=Address("127.0.0.1", 0)), PageDatabase(db.url))) as url:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /overview/rate HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: running(db) == 1)
        writer.close()
        await until(lambda: running(db) == 0)


async def test_when_all_connections_are_in_use_the_page_says_it_is_busy(
    db: Any, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CONNECTED_WITHIN_S", 0.2)
    await page.get("/bots")
    with db.connect() as holding:
        holding.execute("BEGIN; LOCK TABLE outbox.bot IN ACCESS EXCLUSIVE MODE")
        slow = [asyncio.create_task(page.get("/bots")) for _ in range(CONNECTIONS)]
        await until(lambda: waiting_for_a_lock(db) == CONNECTIONS)
        answer = await page.get("/bots")
        holding.execute("ROLLBACK")
    assert answer.status == 503
    assert "The page is busy" in answer.text
    assert "The database does not answer" not in answer.text
    assert answer.headers["Retry-After"] == "5"
    assert {one.status for one in await asyncio.gather(*slow)} == {200}


async def test_several_queries_are_of_one_moment(db: Any, database: Any) -> None:
    held = "SELECT count(*)::int AS n, pg_advisory_xact_lock_shared(7) FROM outbox.limits"
    with db.connect() as holding:
        holding.execute("SELECT pg_advisory_lock(7)")
        reading = asyncio.create_task(database.read_all((held, ()), ("SELECT count(*)::int AS n FROM outbox.bot", ())))
        await until(lambda: waiting_for_a_lock(db) == 1)
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
