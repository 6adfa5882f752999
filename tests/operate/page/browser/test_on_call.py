"""What somebody on call does in a browser: why a message failed, why one still waits, what it holds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.conftest import Database
from tests.invariants.calls import Connection, claim, finish, insert, register
from tests.operate.dead_letters import die, unlimited
from tests.operate.page.browser.conftest import OpenTab

RENEWED_MS = 30_000  # a page renews itself every 5 s


async def go_to(tab: Page, word: str) -> None:
    """One click, one word."""
    await tab.goto("/")
    await tab.get_by_role("link", name="Messages", exact=True).click()
    await tab.get_by_label("Id, correlation id or chat").fill(word)
    await tab.get_by_role("button", name="Go").click()


async def test_why_a_message_failed_is_found_by_its_correlation_id(connection: Connection, tab: Page) -> None:
    unlimited(connection)
    message_id = die(connection, 42, "blocked", "Forbidden: bot was blocked by the user", correlation_id="invoice-88")
    await go_to(tab, "invoice-88")
    await expect(tab.get_by_role("heading", level=1)).to_have_text(f"Message {message_id}")
    why = tab.get_by_role("region", name="How it ended")
    await expect(why).to_contain_text("Forbidden: bot was blocked by the user")


async def test_why_a_message_still_waits_leads_to_the_button_that_ends_it(connection: Connection, tab: Page) -> None:
    insert(connection, 42, correlation_id="invoice-89")
    connection.execute("SELECT outbox.pause('default')")
    await go_to(tab, "invoice-89")
    await expect(tab.get_by_role("region", name="Why it waits")).to_contain_text("paused by an operator")
    await tab.get_by_role("link", name="Resume it on its page").click()
    await tab.get_by_role("button", name="Resume").click()
    await expect(tab.get_by_role("status")).to_contain_text("may send again")


async def test_a_chats_number_that_is_a_message_too_lets_choose(connection: Connection, tab: Page) -> None:
    first = insert(connection, 5_000_001)
    insert(connection, first)
    await go_to(tab, str(first))
    await expect(tab.get_by_role("heading", level=1)).to_have_text("Which one is meant?")
    await tab.get_by_role("link", name="a chat").click()
    await expect(tab.get_by_role("table")).to_contain_text(str(first))


@pytest.mark.parametrize("scripted", [True, False], ids=["with script", "without"])
async def test_what_it_holds_is_shown_and_searched_by_buttons_only(
    db: Database, connection: Connection, open_page: Any, open_tab: OpenTab, scripted: bool
) -> None:
    message_id = insert(connection, 42, {"text": "Your code is 4711"})
    page = await open_page(payload_readers="*")
    tab = await open_tab(page.url, java_script_enabled=scripted)
    await tab.goto(f"/messages/{message_id}")
    await tab.get_by_role("button", name="Show it").click()
    await expect(tab.locator("pre").first).to_have_text("Your code is 4711")
    await tab.goto("/messages")
    await tab.get_by_text("Priority, correlation id, error, time, text").click()
    await tab.get_by_label("Text", exact=True).fill("CODE IS")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_text("No message passes these filters")).to_be_visible()
    assert db.execute("SELECT what FROM outbox.audit") == [("payload",)], "Enter filters, and searches in no payload"
    await tab.get_by_role("button", name="Search in payloads too").click()
    await expect(tab.get_by_role("link", name=str(message_id), exact=True)).to_be_visible()
    assert db.execute("SELECT what FROM outbox.audit ORDER BY id") == [("payload",), ("find_in_payloads",)]


async def test_a_message_that_dies_before_ones_eyes_shows_its_new_buttons_and_moves_the_focus_to_none_of_them(
    connection: Connection, tab: Page
) -> None:
    unlimited(connection)
    message_id = insert(connection, 42)
    worker = register(connection)
    lanes = claim(connection, worker).lanes
    await tab.goto(f"/messages/{message_id}")
    cancel = tab.get_by_role("button", name="Cancel this message")
    await cancel.focus()
    async with tab.expect_response(re.compile(rf"/messages/{message_id}$")):
        pass
    await expect(cancel).to_be_focused()
    finish(connection, worker, lanes, "dead", error_class="bad_request", error_text="Bad Request: no")
    retry = tab.get_by_role("button", name="Retry")
    await expect(retry).to_be_visible(timeout=RENEWED_MS)
    await expect(cancel).to_have_count(0)
    focused = await tab.evaluate("document.activeElement.tagName")
    assert focused not in ("BUTTON", "SUMMARY")


async def test_a_bot_that_is_paused_elsewhere_shows_resume(connection: Connection, tab: Page) -> None:
    await tab.goto("/bots/default")
    await expect(tab.get_by_role("button", name="Pause")).to_be_visible()
    connection.execute("SELECT outbox.pause('default')")
    await expect(tab.get_by_role("button", name="Resume")).to_be_visible(timeout=RENEWED_MS)
    await expect(tab.get_by_role("button", name="Pause")).to_have_count(0)
