"""Each page with a million finished messages, ten thousand dead letters and a hundred thousand that wait.

The mark is of a machine that reckons the control in CONTROL_MS, as that of docs/performance.md does when nothing else
runs: one that just now takes twice as long, because others share it, may take twice as long for a page. The figures as
they are: python -m bench page.
"""

from __future__ import annotations

import re
import time
from statistics import median
from typing import Any

import pytest
from playwright.async_api import Page

from tests.conftest import Database
from tests.operate.page.browser.conftest import OpenTab
from tests.operate.page.browser.places import places, posts

MOST_MS = 300
TIMES = 3
CONTROL = "SELECT sum(n::numeric) FROM generate_series(1, 300000) n"
CONTROL_MS = 75.0


POST = """async ([path, form]) => {
    const answer = await fetch(path, {method: "POST", body: new URLSearchParams(form)});
    await answer.text();
    return [answer.status, answer.headers.get("Server-Timing")];
}"""


async def look(tab: Page, path: str, form: dict[str, str] | None) -> float:
    """Open it, and return the milliseconds that the page itself measured."""
    if form is None:
        answer = await tab.goto(path)
        assert answer is not None
        status, timing = answer.status, (await answer.all_headers())["server-timing"]
    else:
        status, timing = await tab.evaluate(POST, [path, form])
    assert status == 200, (path, form)
    found = re.search(r"app;dur=([0-9.]+)", timing)
    assert found
    return float(found[1])


def slowness(database: Database) -> float:
    """How many times as long as usual this machine takes just now; 1 where it is as quick or quicker."""
    with database.connect() as connection:
        started_s = time.perf_counter()
        connection.execute(CONTROL).fetchall()
        return max(1.0, 1000 * (time.perf_counter() - started_s) / CONTROL_MS)


async def test_every_page_answers_within_300_ms_of_server_time(
    large: Database, open_page: Any, open_tab: OpenTab
) -> None:
    page = await open_page(url=large.url, payload_readers="*")
    tab = await open_tab(page.url)
    asked: list[tuple[str, Any]] = [(place, None) for place in places(large)] + posts(large)
    figures = {
        path if form is None else f"POST {path} {form}": [
            await look(tab, path, form) / slowness(large) for _ in range(TIMES)
        ]
        for path, form in asked
    }
    # One look may meet a checkpoint; most of them must not be slow.
    told = "\n".join(
        f"{median(times):7.1f} ms, at most {max(times):7.1f} ms  {name}" for name, times in figures.items()
    )
    print(f"\nserver time, median of {TIMES}\n{told}")
    slow = {name: times for name, times in figures.items() if median(times) >= MOST_MS}
    assert slow == {}, told


@pytest.mark.parametrize("correlation_id", ["order-999999", "dead-17", "waiting-5"])
async def test_a_message_is_found_by_its_correlation_id(
    large: Database, open_page: Any, open_tab: Any, correlation_id: str
) -> None:
    page = await open_page(url=large.url)
    tab = await open_tab(page.url)
    await tab.goto("/messages")
    await tab.get_by_label("Id, correlation id or chat").fill(correlation_id)
    await tab.keyboard.press("Enter")
    await tab.wait_for_url(re.compile(r"/messages/\d+"))
    assert await tab.get_by_role("link", name=correlation_id).count() == 1
    [(message_id,)] = large.execute("SELECT id FROM outbox.history WHERE correlation_id = %s", [correlation_id])
    assert await tab.get_by_role("heading", level=1).inner_text() == f"Message {message_id}"
