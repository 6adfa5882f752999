"""Five thousand dead letters, from the group to the last one sent, watched in a browser."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from playwright.async_api import Page, expect

from outbox.operate.stage import simulator_process, worker_processes
from tests.conftest import Database
from tests.operate.page.browser.conftest import OpenTab
from tests.operate.page.dead_letters import make_dead_letters

COUNT = 5000
WITHIN_MS = 120_000
MOVED = "#batch strong >> nth=0"


def count(db: Database, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM outbox.{what}")[0][0])


async def until_sent(db: Database, number: int) -> None:
    async with asyncio.timeout(WITHIN_MS / 1000):
        while await asyncio.to_thread(count, db, "finished WHERE status = 'sent'") < number:
            await asyncio.sleep(0.2)


async def test_five_thousand_dead_letters_are_retried_by_filter_and_sent(db: Database, tab: Page) -> None:
    make_dead_letters(db, COUNT, chats=500, error_class="server_error", error_text="502 Bad Gateway")
    others = make_dead_letters(db, 20, error_class="bad_request")
    db.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")

    await tab.goto("/dead-letters")
    await tab.get_by_role("link", name="server_error").first.click()
    await tab.get_by_role("link", name="Retry all 5,000 that meet the filter").click()
    await expect(tab.get_by_role("heading", level=1)).to_have_text("Retry 5,000 dead letters?")
    assert count(db, "dead_letter") == COUNT + len(others), "so far nothing has happened"
    await expect(tab.get_by_text("No housekeeper is alive")).to_be_visible()
    await tab.get_by_label("Type the count, 5,000, to confirm").fill("5000")
    await tab.get_by_role("button", name="Retry 5,000 dead letters").click()
    await tab.wait_for_url(re.compile(r"/dead-letters/batches/\d+"))
    await expect(tab.locator(MOVED)).to_have_text("0 of 5,000")

    loads: list[str] = []
    tab.on("load", lambda _: loads.append(tab.url))
    async with simulator_process("--rate", "0", "--chat-interval-s", "0", "--group-limit", "0") as telegram:
        async with worker_processes(db.url, telegram.url):
            # The page renews itself: nobody reloads it here.
            await expect(tab.get_by_text("No housekeeper is alive")).to_be_hidden(timeout=WITHIN_MS)
            await expect(tab.locator(MOVED)).to_have_text("5,000 of 5,000", timeout=WITHIN_MS)
            await expect(tab.locator("#batch .badge")).to_have_text("done", timeout=WITHIN_MS)
            await until_sent(db, COUNT)
        stats = await telegram.stats()
    assert loads == []
    assert stats["accepted"] == COUNT
    assert count(db, "dead_letter") == len(others)

    await tab.goto("/audit")
    await expect(tab.get_by_role("cell", name="start_batch", exact=True)).to_be_visible()


async def test_the_way_to_a_batch_works_without_script(db: Database, page: Any, open_tab: OpenTab) -> None:
    make_dead_letters(db, 3)
    tab = await open_tab(page.url, java_script_enabled=False)
    await tab.goto("/dead-letters")
    await tab.get_by_role("checkbox").first.check()
    await tab.get_by_role("button", name="Discard the selected").click()
    await expect(tab.get_by_role("heading", level=1)).to_have_text("Discard 1 dead letter?")
    await tab.get_by_role("button", name="Discard 1 dead letter").click()
    await expect(tab.locator(MOVED)).to_have_text("0 of 1")
    for _ in range(3):
        db.execute("SELECT outbox.run_batches()")
    await tab.get_by_role("link", name="Reload").click()
    await expect(tab.locator(MOVED)).to_have_text("1 of 1")
    assert count(db, "dead_letter") == 2


async def test_a_click_and_another_one_start_one_batch(db: Database, tab: Page) -> None:
    make_dead_letters(db, 3)
    await tab.goto("/dead-letters/confirm?verb=discard")
    await tab.get_by_role("button", name="Discard 3 dead letters").dblclick()
    await tab.wait_for_url(re.compile(r"/dead-letters/batches/\d+"))
    assert count(db, "batch") == 1


async def test_the_stop_button_keeps_the_focus_while_the_page_renews_itself(db: Database, tab: Page) -> None:
    make_dead_letters(db, 3)
    await tab.goto("/dead-letters/confirm?verb=discard")
    await tab.get_by_label("At most so many per second").fill("0.001")
    await tab.get_by_role("button", name="Discard 3 dead letters").click()
    stop = tab.get_by_role("button", name="Stop it")
    await stop.focus()
    async with tab.expect_response(lambda answer: "/batches/" in answer.url):
        pass
    async with tab.expect_response(lambda answer: "/batches/" in answer.url):
        pass
    await expect(stop).to_be_focused()
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("status")).to_contain_text("It stops")
