"""The overview in a browser: it brings itself up to date, keeps what somebody is at, and says when it cannot."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from playwright.async_api import expect
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

SOON_MS = 20_000
GONE = "WITH gone AS (DELETE FROM outbox.message WHERE id = %s RETURNING *)"
DEAD = """(id, bot, chat_id, method, payload, priority, status, correlation_id, on_uncertain, created_at, scheduled_for,
           died_at, attempts, calls, error_class, error_text)
    SELECT id, bot, chat_id, method, payload, priority, 'dead', correlation_id, on_uncertain, created_at, now(), now(),
           1, 1, 'bad_request', 'no' FROM gone"""


def away(db: Any, is_away: bool) -> None:
    """Let nobody in to this test's database, or everybody again."""
    name = str(conninfo_to_dict(db.url)["dbname"])
    with psycopg.connect(db.url.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), not is_away))
        if is_away:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def call(db: Any, count: int = 100) -> None:
    db.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, worker, started_at, answered_at, outcome)"
        " SELECT i, 1, 'default', i::text, 1, now(), now() - interval '1 min', 'sent' FROM generate_series(1, %s) i",
        [count],
    )


async def test_it_brings_itself_up_to_date_and_keeps_plot_table_and_focus(db: Any, tab: Any) -> None:
    call(db)
    await tab.goto("/")
    await expect(tab.locator("#plot canvas")).to_be_visible()
    await tab.evaluate("document.querySelector('#plot canvas').mark = 'same'")
    await tab.get_by_text("As a table").click()
    await tab.get_by_role("link", name="default").focus()
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (1, \'{"text": "x"}\')')
    db.execute("SELECT outbox.measure_queue(), outbox.note_duty('measure', NULL)")
    figure = tab.locator(".figures > div", has_text="Due now").locator("dd")
    await expect(figure).to_contain_text("1", timeout=SOON_MS)
    assert await tab.evaluate("document.querySelector('#plot canvas').mark") == "same"
    assert await tab.evaluate("document.activeElement.getAttribute('href')") == "/bots/default"
    assert await tab.evaluate("document.querySelector('#now details').open")
    await expect(tab.locator("#stale")).to_be_hidden()


async def test_the_plot_tells_the_last_step_before_anybody_points_at_one(db: Any, tab: Any) -> None:
    await tab.goto("/")
    legend = tab.locator("#plot .u-legend")
    await expect(legend.locator("tr", has_text="limit").locator("td")).to_have_text("30.0/s")
    await expect(legend.locator("tr", has_text="sent").locator("td")).to_have_text("0.0/s")


async def test_what_has_ended_is_not_stale_and_takes_the_focus_to_no_other_button(db: Any, tab: Any) -> None:
    [(number,)] = db.execute('SELECT outbox.send(42, \'{"text": "x"}\')')
    await tab.clock.install()
    await tab.goto(f"/messages/{number}")
    await tab.get_by_role("button", name="Cancel this message").focus()
    db.execute(f"{GONE} INSERT INTO outbox.dead_letter {DEAD}", [number])
    await tab.clock.run_for(6000)
    await expect(tab.get_by_role("button", name="Retry")).to_be_visible()
    assert await tab.evaluate("document.activeElement.id") == "main"
    await tab.get_by_role("button", name="Retry").focus()
    await tab.clock.run_for(6000)
    await expect(tab.get_by_role("button", name="Retry")).to_be_focused()
    db.execute("SELECT outbox.discard(p_ids => ARRAY[%s::bigint])", [number])
    await tab.clock.run_for(6000)
    await expect(tab.get_by_text("How it ended")).to_be_visible()
    await expect(tab.get_by_role("button", name="Retry")).to_have_count(0)
    assert await tab.evaluate("document.activeElement.id") == "main"
    await tab.clock.run_for(120_000)
    await expect(tab.locator("#stale")).to_be_hidden()


async def test_the_broadcasts_come_by_themselves(db: Any, tab: Any) -> None:
    db.execute("INSERT INTO outbox.message (chat_id, payload, tag) VALUES (1, '{\"text\": \"x\"}', 'news')")
    await tab.goto("/")
    await expect(tab.locator("#broadcasts").get_by_role("link", name="news")).to_be_visible(timeout=SOON_MS)


async def test_while_the_database_is_away_it_says_from_when_it_is(db: Any, tab: Any, complaints: Any) -> None:
    complaints.expected.append("503")
    await tab.goto("/")
    away(db, True)
    stale = tab.locator("#stale")
    await expect(stale).to_contain_text("The database does not answer. What you see is from", timeout=SOON_MS)
    await expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
    away(db, False)
    await expect(stale).to_be_hidden(timeout=SOON_MS)


async def test_when_the_server_is_gone_it_says_so(open_page: Any, open_tab: Any, complaints: Any) -> None:
    complaints.expected += ["ERR_CONNECTION", "htmx:"]
    page = await open_page()
    tab = await open_tab(page.url)
    await tab.goto("/")
    await expect(tab.locator("#plot canvas")).to_be_visible()
    await page.close()
    await expect(tab.locator("#stale")).to_contain_text("outbox does not answer", timeout=SOON_MS)
    await expect(tab.get_by_role("heading", name="Overview")).to_be_visible()


async def test_when_the_login_has_ended_it_says_so_and_stays(open_page: Any, open_tab: Any, complaints: Any) -> None:
    complaints.expected.append("401")
    page = await open_page(admin_password="correct horse")
    tab = await open_tab(page.url)
    await tab.goto("/")
    await tab.get_by_label("Your name").fill("ann")
    await tab.get_by_label("Password").fill("correct horse")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
    await tab.context.clear_cookies()
    await expect(tab.locator("#stale")).to_contain_text("Your login has ended", timeout=SOON_MS)
    await expect(tab.get_by_role("heading", name="Overview")).to_be_visible()


async def test_a_link_of_another_site_finds_the_login_that_is_there(
    open_page: Any, open_tab: Any, complaints: Any
) -> None:
    complaints.expected.append("request to http://localhost")
    page, elsewhere = await open_page(admin_password="correct horse"), await open_page()
    tab = await open_tab(page.url)
    await tab.goto("/")
    await tab.get_by_label("Your name").fill("ann")
    await tab.get_by_label("Password").fill("correct horse")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
    await tab.goto(elsewhere.url.replace("127.0.0.1", "localhost"))
    await tab.evaluate(f"location.href = '{page.url}/bots'")
    await expect(tab.get_by_role("heading", name="Bots", level=1)).to_be_visible()
    await expect(tab.get_by_role("button", name="Log out")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/broadcasts"])
async def test_it_works_without_script(db: Any, page: Any, open_tab: Any, path: str) -> None:
    call(db, 500)
    tab = await open_tab(page.url, java_script_enabled=False)
    await tab.goto(path)
    if path == "/":
        await tab.get_by_text("As a table").click()
        await expect(tab.get_by_label("Calls by minute").get_by_role("cell", name="500", exact=True)).to_be_visible()
        await tab.get_by_role("link", name="How far the broadcasts are").click()
    await expect(tab.get_by_role("heading", name="Broadcasts", level=1)).to_be_visible()
