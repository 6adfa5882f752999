"""The page of dead letters: groups, filters in the address, pages."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import Database
from tests.operate.page.dead_letters import make_dead_letters


def listed(text: str) -> list[int]:
    """The messages of the list, as they stand there."""
    return [int(number) for number in re.findall(r'name="id" value="(\d+)"', text)]


def link(text: str, label: str) -> tuple[str, dict[str, Any]]:
    """Where a link leads: path, fields."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>{label}</a>', text)
    assert found, label
    parts = urlsplit(html.unescape(found[1]))
    return parts.path, {name: value[0] for name, value in parse_qs(parts.query).items()}


async def test_without_dead_letters_it_says_that_nothing_failed(page: Any) -> None:
    answer = await page.get("/dead-letters")
    assert answer.status == 200, answer.text
    assert "nothing has failed for good" in answer.text
    assert "Retry all" not in answer.text


async def test_dead_letters_stand_in_groups_with_a_count_and_a_sample_linked_to_its_message(
    db: Database, page: Any
) -> None:
    make_dead_letters(db, 3, error_class="bad_request", error_text="Bad Request: can't parse entities")
    [uncertain] = make_dead_letters(db, error_class="timeout", error_text="no answer within 15 s", status="uncertain")
    answer = await page.get("/dead-letters")
    assert answer.status == 200, answer.text
    groups = answer.text[answer.text.index("<tbody>") : answer.text.index("</tbody>")]
    assert groups.index("bad_request") < groups.index("timeout"), "the largest comes first"
    assert re.search(r'<td class="num">3</td>', groups)
    assert f'href="/messages/{uncertain}"' in groups
    assert "no answer within 15 s" in groups
    assert "Retry all 4" in answer.text


async def test_a_group_leads_to_its_dead_letters_only(db: Database, page: Any) -> None:
    make_dead_letters(db, 2, error_class="bad_request")
    timeouts = make_dead_letters(db, 2, error_class="timeout")
    _, fields = link((await page.get("/dead-letters")).text, '<bdi class="shown">timeout</bdi>')
    assert fields == {"class": "timeout", "bot": "default", "status": "dead"}
    assert sorted(listed((await page.get("/dead-letters", **fields)).text)) == timeouts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bot", "alerts"),
        ("bot", "ALERTS"),
        ("class", "timeout"),
        ("tag", "bill & <co>"),
        ("status", "uncertain"),
        ("since", "10min"),
        ("text", "NO ANSWER"),
    ],
)
async def test_each_filter_finds_its_own_and_stays_in_the_form(db: Database, page: Any, name: str, value: str) -> None:
    make_dead_letters(db, 2, died_ago_s=3600)
    wanted = make_dead_letters(
        db, bot="alerts", error_class="timeout", error_text="no answer", tag="bill & <co>", status="uncertain"
    )
    answer = await page.get("/dead-letters", **{name: value})
    assert listed(answer.text) == wanted
    _, fields = link(answer.text, "Retry this dead letter")
    assert fields[name].lower() == value.lower()
    kept = html.escape(value.lower() if name == "bot" else value)
    assert f'value="{kept}"' in answer.text.replace("&#34;", "&quot;")


async def test_until_takes_those_that_died_before(db: Database, page: Any) -> None:
    old = make_dead_letters(db, 2, died_ago_s=3600)
    make_dead_letters(db, 2)
    until = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%d %H:%M")
    assert sorted(listed((await page.get("/dead-letters", until=until)).text)) == old


async def test_a_filter_that_nothing_meets_says_so_and_leads_back(db: Database, page: Any) -> None:
    make_dead_letters(db)
    answer = await page.get("/dead-letters", tag="none")
    assert "No dead letter meets this filter" in answer.text
    assert link(answer.text, "Show all of them") == ("/dead-letters", {})


async def test_that_older_ones_were_not_looked_at_is_said_with_a_way_to_them(db: Database, page: Any) -> None:
    [old] = make_dead_letters(db, error_class="timeout", died_ago_s=200_000)
    make_dead_letters(db, 99_999)
    assert "There may be older ones" not in (await page.get("/dead-letters")).text
    make_dead_letters(db, died_ago_s=1)
    # At the moment down to which was looked, too: nobody is passed over.
    db.execute(
        "UPDATE outbox.dead_letter SET died_at = (SELECT min(died_at) FROM outbox.dead_letter WHERE id <> %s)"
        " WHERE id = %s",
        [old, old],
    )
    for fields in ({}, {"class": "timeout"}):
        answer = await page.get("/dead-letters", **fields)
        assert "Only the newest 100,000 deaths were looked at" in answer.text
        assert "There may be older ones" in answer.text
        path, further = link(answer.text, "Look further back")
        assert old in listed((await page.get(path, **further)).text)


async def test_pages_show_each_dead_letter_once_also_of_one_moment(db: Database, page: Any) -> None:
    dead = make_dead_letters(db, 120)
    # Half of them died in one moment: the id decides.
    db.execute("UPDATE outbox.dead_letter SET died_at = '2026-01-01' WHERE id %% 2 = 0 AND %s", [True])
    seen: list[int] = []
    fields: dict[str, Any] = {"class": "bad_request"}
    for _ in range(3):
        answer = await page.get("/dead-letters", **fields)
        seen += listed(answer.text)
        if "Older" not in answer.text:
            break
        _, fields = link(answer.text, "Older")
        assert fields["class"] == "bad_request"
    assert len(seen) == len(set(seen)) == 120
    assert sorted(seen) == dead


async def test_every_text_of_strangers_is_shown_as_text(db: Database, page: Any) -> None:
    evil = "<script>alert(1)</script>\u202egnp.exe"
    make_dead_letters(db, error_class="<b>x</b>", error_text=evil, tag=evil, chat_id="@evil")
    for fields in ({}, {"tag": evil}, {"class": "<b>x</b>"}, {"text": '"><script>alert(2)</script>'}):
        answer = await page.get("/dead-letters", **fields)
        assert answer.status == 200, answer.text
        assert "<script>alert" not in answer.text
        assert "<b>x</b>" not in answer.text
    assert "U+202E" in (await page.get("/dead-letters")).text


@pytest.mark.parametrize(
    "fields",
    [
        {"since": "yesterday"},
        {"until": "2026-99-01"},
        {"status": "sent"},
        {"tag": "x" * 201},
        {"tag": "a\x00b"},
        {"before_at": "2026-01-01"},
        {"before_id": "5"},
        {"before_at": "2026-01-01", "before_id": "99999999999999999999"},
        {"since": "999999w"},
    ],
    ids="-".join,
)
async def test_a_bad_parameter_is_refused_in_one_line(page: Any, fields: dict[str, str]) -> None:
    answer = await page.get("/dead-letters", **fields)
    assert answer.status == 400
    assert "Traceback" not in answer.text
