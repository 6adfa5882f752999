"""From the overview to one message with the keys alone, and one always sees where one is."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import Page, expect

from tests.conftest import Database
from tests.operate.page.browser.conftest import OpenTab
from tests.operate.page.dead_letters import make_dead_letters

MOST_TABS = 60
FOCUSED = """() => {
    const part = document.activeElement, style = getComputedStyle(part), box = part.getBoundingClientRect();
    return {
        name: part.tagName, text: (part.innerText || part.value || '').trim(), path: part.getAttribute('href') || '',
        seen: box.width > 0 && box.height > 0
            && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        marked: (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none',
    };
}"""


async def press_tab(tab: Page) -> dict[str, Any]:
    """Go one further; what has the focus is in sight and marked."""
    await tab.keyboard.press("Tab")
    found: dict[str, Any] = await tab.evaluate(FOCUSED)
    assert found["seen"], found
    assert found["marked"], found
    return found


async def tab_to(tab: Page, path: str) -> None:
    """Press Tab until a link to such an address has the focus."""
    passed = []
    for _ in range(MOST_TABS):
        found = await press_tab(tab)
        if re.fullmatch(path, found["path"]):
            return
        passed.append(found["text"] or found["name"])
    raise AssertionError(f"no link to {path} within {MOST_TABS} tabs: {passed}")


async def test_with_the_keys_alone_one_gets_from_the_overview_to_a_message(
    small: Database, open_page: Any, open_tab: OpenTab
) -> None:
    page = await open_page(url=small.url)
    tab = await open_tab(page.url)
    await tab.goto("/")
    await tab_to(tab, "/messages")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("heading", level=1)).to_have_text("Messages")

    assert (await press_tab(tab))["text"] == "Skip to the content"
    await tab.keyboard.press("Enter")
    assert await tab.evaluate("document.activeElement.id") == "main"
    await tab_to(tab, r"/messages/\d+")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("heading", level=1)).to_have_text(re.compile(r"Message \d+"))


async def test_the_skip_link_is_the_first_stop_of_each_page(small: Database, open_page: Any, open_tab: OpenTab) -> None:
    page = await open_page(url=small.url)
    tab = await open_tab(page.url)
    for place in ("/", "/messages", "/dead-letters", "/dead-letters/batches", "/chats", "/bots", "/audit"):
        await tab.goto(place)
        assert (await press_tab(tab))["text"] == "Skip to the content", place


async def test_a_table_that_scrolls_does_so_by_keyboard(small: Database, open_page: Any, open_tab: OpenTab) -> None:
    page = await open_page(url=small.url)
    tab = await open_tab(page.url, viewport={"width": 375, "height": 700})
    await tab.goto("/dead-letters")
    table = tab.get_by_role("region", name="Dead letters", exact=True)
    await table.focus()
    for _ in range(3):
        await tab.keyboard.press("ArrowRight")
    await tab.wait_for_function("part => part.scrollLeft > 0", arg=await table.element_handle())


async def test_dead_letters_are_selected_and_confirmed_by_keyboard(db: Database, tab: Page) -> None:
    make_dead_letters(db, 2)
    await tab.goto("/dead-letters")
    for _ in range(MOST_TABS):
        found = await press_tab(tab)
        if found["name"] == "INPUT" and await tab.evaluate("document.activeElement.name") == "id":
            break
    await tab.keyboard.press("Space")
    for _ in range(MOST_TABS):
        if (await press_tab(tab))["text"] == "Discard the selected":
            break
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("heading", level=1)).to_have_text("Discard 1 dead letter?")
