"""The page of what operators did."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.invariants.calls import Connection
from tests.operate.dead_letters import operate


def listed(text: str) -> list[str]:
    """What was done, as it stands there."""
    return re.findall(r'<td class="what"><bdi[^>]*>([a-z_]+)</bdi></td>', text)


def whos(text: str) -> list[str]:
    """Logins and the names told with them, as they stand there."""
    cells = re.findall(r'<td class="login">(.*?)</td><td>(.*?)</td>', text)
    return [" / ".join(re.sub("<[^>]+>", "", cell).strip() for cell in pair) for pair in cells]


async def test_without_actions_it_says_what_will_stand_there(page: Any) -> None:
    answer = await page.get("/audit")
    assert answer.status == 200, answer.text
    assert "No operator has done anything yet" in answer.text


async def test_actions_stand_there_newest_first_with_who_and_about_what(connection: Connection, page: Any) -> None:
    await page.post("/bots/default/pause")
    connection.execute("SELECT set_config('outbox.operator', 'ann', false)")
    operate(connection, "retry", p_class="timeout")
    answer = await page.get("/audit")
    assert listed(answer.text) == ["retry", "pause"]
    assert [who.split(" / ")[1] for who in whos(answer.text)] == ["ann", "local"]
    assert re.search(r"class.{0,20}: .{0,30}timeout", answer.text)


@pytest.mark.parametrize(("name", "value"), [("who", "ANN"), ("what", "resume"), ("since", "1h"), ("until", "3h")])
async def test_each_filter_leaves_out_the_others_and_stays_in_the_form(
    connection: Connection, page: Any, name: str, value: str
) -> None:
    old = ("bob", "pause", "2 h") if name != "until" else ("ann", "resume", "4 h")
    new = ("ann", "resume", "0 h") if name != "until" else ("bob", "pause", "0 h")
    for who, what, ago in (old, new):
        connection.execute(
            "INSERT INTO outbox.audit (at, who, what) VALUES (clock_timestamp() - %s::interval, %s, %s)",
            [ago, who, what],
        )
    answer = await page.get("/audit", **{name: value})
    assert listed(answer.text) == ["resume"]
    assert f'value="{value}"' in answer.text


async def test_older_pages_hold_each_action_once(connection: Connection, page: Any) -> None:
    connection.execute(
        "INSERT INTO outbox.audit (who, what, count) SELECT 'ann', 'pause', n FROM generate_series(1, 120) n"
    )
    path, counts = "/audit?what=pause", []
    while True:
        answer = await page.get(path)
        counts += [int(n) for n in re.findall(r'<td class="num">(\d+)</td>', answer.text)]
        link = re.search(r'href="([^"]+)">Older<', answer.text)
        if link is None:
            break
        path = html.unescape(link[1])
        assert "what=pause" in path
    assert counts == list(range(120, 0, -1))


async def test_what_is_far_back_is_reached_by_older(connection: Connection, page: Any) -> None:
    connection.execute("INSERT INTO outbox.audit (who, what) VALUES ('ann', 'pause')")
    connection.execute("INSERT INTO outbox.audit (who, what) SELECT 'app', 'lift' FROM generate_series(1, 20000)")
    first = await page.get("/audit", who="ann")
    assert listed(first.text) == []
    assert "newest 20,000 actions were looked at" in first.text
    link = re.search(r'href="([^"]+)">Older<', first.text)
    assert link
    assert listed((await page.get(html.unescape(link[1]))).text) == ["pause"]


@pytest.mark.parametrize("query", ["before=x", "before=99999999999999999999", "since=soon", "who=%00"])
async def test_what_cannot_be_understood_is_one_line_beside_the_form(page: Any, query: str) -> None:
    answer = await page.get(f"/audit?{query}")
    assert answer.status == 400
    assert 'class="refused"' in answer.text
    assert '<form class="filter"' in answer.text


async def test_how_sure_it_is_who_it_was_stands_beside_each_name(connection: Connection, page: Any) -> None:
    for who in ("app", "outbox (ann)", "outbox (bob, as typed)", "outbox (local)", "a (b) c", "outbox (x (y))"):
        connection.execute("INSERT INTO outbox.audit (who, what) VALUES (%s, 'pause')", [who])
    answer = await page.get("/audit")
    assert whos(answer.text)[::-1] == [
        "app / —",
        "outbox / ann",
        "outbox / bob as typed",
        "outbox / local",
        "a (b) c / —",
        "outbox / x (y)",
    ]
    assert "nobody vouches" in answer.text


async def test_hostile_text_is_shown_as_text_and_many_ids_are_told_in_short(connection: Connection, page: Any) -> None:
    connection.execute(
        "INSERT INTO outbox.audit (who, what, filter) VALUES (%s, %s,"
        " jsonb_build_object('text', %s::text, 'ids', (SELECT jsonb_agg(n) FROM generate_series(1, 5000) n)))",
        ["<script>alert(1)</script>", "<b>Unlucky", "\u202e<img src=x>"],
    )
    answer = await page.get("/audit")
    assert answer.status == 200
    for mark in ("<script>alert", "<img src=x", "\u202e", "<b>U"):
        assert mark not in answer.text
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 4,990 more" in answer.text
