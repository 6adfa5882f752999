"""Every page for everybody: contrast and structure by axe-core, light and dark, and a phone's width."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from tests.conftest import Database
from tests.operate.page.browser.conftest import OpenTab
from tests.operate.page.browser.places import places

SERIOUS = {"serious", "critical"}
PHONE = {"width": 375, "height": 700}
# What axe finds is the same for every filter.
LOOKED_AT = {
    "/messages?status=dead",
    "/messages?tag=never-used",
    "/dead-letters?text=never-used",
    "/dead-letters?tag=sale&status=uncertain",
    "/chats?state=suppressed",
}


@pytest.fixture
async def shown(small: Database, open_page: Any) -> Any:
    """The page of a filled database."""
    return await open_page(url=small.url, payload_readers="*")


def looks(db: Database) -> list[str]:
    """One of each kind of page."""
    kept = [place for place in places(db) if "?" not in place or "confirm" in place or place in LOOKED_AT]
    kept.remove("/overview/rate")  # what the plot draws
    return kept


async def violations(tab: Page) -> list[str]:
    found = (await Axe().run(tab)).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_on_any_page(
    small: Database, shown: Any, open_tab: OpenTab, scheme: str
) -> None:
    tab = await open_tab(shown.url, color_scheme=scheme)
    found = {}
    for place in looks(small):
        answer = await tab.goto(place)
        assert answer is not None
        assert answer.status == 200, place
        found[place] = await violations(tab)
    assert {place: problems for place, problems in found.items() if problems} == {}


async def test_axe_finds_nothing_serious_where_something_is_refused(
    small: Database, shown: Any, open_tab: OpenTab, complaints: Any
) -> None:
    complaints.expected += ["status of 400", "status of 404"]
    tab = await open_tab(shown.url)
    for place, status in (("/messages?since=soon", 400), ("/messages/9", 404), ("/nowhere", 404)):
        answer = await tab.goto(place)
        assert answer is not None
        assert answer.status == status
        assert await violations(tab) == [], place


async def test_the_login_is_for_everybody_too(db: Database, open_page: Any, open_tab: OpenTab) -> None:
    page = await open_page(admin_password="correct horse")
    for scheme in ("light", "dark"):
        tab = await open_tab(page.url, color_scheme=scheme, viewport=PHONE)
        await tab.goto("/")
        assert await tab.get_by_role("heading", level=1).inner_text() == "Log in"
        assert await violations(tab) == []
        assert await too_wide(tab) == []


async def test_no_page_scrolls_sideways_on_a_phone(small: Database, shown: Any, open_tab: OpenTab) -> None:
    tab = await open_tab(shown.url, viewport=PHONE)
    found = {}
    for place in looks(small):
        await tab.goto(place)
        found[place] = await too_wide(tab)
    [(sent,)] = small.execute("SELECT max(id) FROM outbox.finished WHERE status = 'sent'")
    await tab.goto(f"/messages/{sent}")
    await tab.get_by_role("button", name="Show it").click()
    await tab.locator("pre.payload").first.wait_for()
    found["its payload"] = await too_wide(tab)
    assert {place: parts for place, parts in found.items() if parts} == {}


async def too_wide(tab: Page) -> list[str]:
    """What makes the page wider than the window."""
    return list(
        await tab.evaluate(
            """() => {
                const width = document.documentElement.clientWidth;
                if (document.documentElement.scrollWidth <= width) return [];
                const scrolls = part => part && part !== document.body
                    && (getComputedStyle(part).overflowX !== 'visible' || scrolls(part.parentElement));
                return [...document.querySelectorAll('body *')]
                    .filter(part => part.getBoundingClientRect().right > width + 0.5 && !scrolls(part.parentElement))
                    .map(part => part.outerHTML.slice(0, 120)).slice(0, 5)
                    .concat([`${document.documentElement.scrollWidth} px`]);
            }"""
        )
    )
