"""The page of chats: by state, one by its id, and lifting a suppression."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.invariants.calls import Connection, add_bot, claim, insert, register
from tests.operate.dead_letters import audited


def chat(connection: Connection, chat_id: str, bot: str = "default", **columns: str) -> None:
    """Put a chat into a state; columns are SQL."""
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", {value}" for value in columns.values())
    connection.execute(
        f"INSERT INTO outbox.chat (chat_id, bot{names}) VALUES (%s, %s{values})",  # type: ignore[arg-type]
        [chat_id, bot],
    )


def suppress(connection: Connection, chat_id: str, bot: str = "default") -> None:
    chat(
        connection,
        chat_id,
        bot,
        suppressed_until="outbox.clock() + interval '7 days'",
        suppressed_at="outbox.clock()",
        suppressed_reason="'blocked'",
        suppression_evidence="1",
    )


def listed(text: str) -> list[str]:
    """The chats of the list, as they stand there."""
    return re.findall(
        r'<td><a href="/chats\?chat=[^"]*"><bdi class="shown">([^<]*)</bdi></a></td>\s*<td><a href="/bots', text
    )


async def test_without_suppressed_chats_it_says_that_there_is_nothing_to_lift(page: Any) -> None:
    answer = await page.get("/chats")
    assert answer.status == 200, answer.text
    assert "No chat is suppressed now" in answer.text
    assert "nothing to lift" in answer.text


async def test_each_state_has_its_chats(connection: Connection, page: Any) -> None:
    suppress(connection, "1")
    chat(connection, "2", backoff_until="ARRAY[NULL, NULL, outbox.clock() + interval '1 h', NULL]::timestamptz[]")
    chat(connection, "3", next_send_at="outbox.clock() + interval '1 h'")
    chat(connection, "-4", moved_to="'-1004'")
    message_id = insert(connection, 5)
    claim(connection, register(connection))
    for state, expected in [
        ("suppressed", "1"),
        ("backing_off", "2"),
        ("cooling", "3"),
        ("moved", "-4"),
        ("in_flight", "5"),
    ]:
        answer = await page.get("/chats", state=state)
        assert answer.status == 200, answer.text
        assert expected in listed(answer.text), state
        assert f'href="/chats?state={state}" aria-current="page"' in answer.text
    assert f'href="/messages/{message_id}"' in (await page.get("/chats", state="in_flight")).text


async def test_one_chat_is_found_whatever_its_state(connection: Connection, page: Any) -> None:
    suppress(connection, "@shop")
    insert(connection, 42)
    for typed, found in (("@Shop", "@shop"), ("42", "42")):
        answer = await page.get("/chats", chat=typed)
        assert listed(answer.text) == [found], answer.text
    assert "ready" in answer.text


async def test_a_chat_that_nobody_wrote_to_is_said_to_be_unknown(page: Any) -> None:
    answer = await page.get("/chats", chat="42")
    assert answer.status == 200
    assert "Nothing was sent to this chat yet" in answer.text


async def test_a_suppression_is_lifted_and_the_next_page_says_so(connection: Connection, page: Any) -> None:
    suppress(connection, "42")
    assert 'action="/chats/lift"' in (await page.get("/chats")).text
    answer = await page.post("/chats/lift", bot="default", chat="42")
    assert (answer.status, answer.location) == (303, "/chats?state=suppressed")
    after = await page.get(answer.location)
    assert "Chat 42 may be sent to again by bot default" in after.text
    assert listed(after.text) == []
    assert audited(connection) == [("lift_suppression", {"bot": "default", "chat_id": "42"}, 1)]


async def test_lifting_from_the_page_of_one_chat_leads_back_to_it(connection: Connection, page: Any) -> None:
    suppress(connection, "-42")
    assert 'name="found" value="1"' in (await page.get("/chats", chat="-42")).text
    answer = await page.post("/chats/lift", bot="default", chat="-42", found="1")
    assert answer.location == "/chats?chat=-42"


async def test_a_chat_with_a_message_on_its_way_is_not_lifted_and_that_is_said(
    connection: Connection, page: Any
) -> None:
    insert(connection, 42)
    claim(connection, register(connection))
    connection.execute("UPDATE outbox.chat SET suppression_evidence = 1")
    answer = await page.post("/chats/lift", bot="default", chat="42")
    assert "try again in a moment" in (await page.get(answer.location)).text


@pytest.mark.parametrize(
    "fields", [{}, {"bot": "default"}, {"bot": "nobody", "chat": "42"}, {"bot": "\0", "chat": "1"}]
)
async def test_lifting_what_does_not_exist_is_one_line(page: Any, fields: dict[str, str]) -> None:
    answer = await page.post("/chats/lift", **fields)
    assert answer.status == 400
    assert 'class="refused"' in answer.text or "cannot be done" in answer.text


async def test_pages_hold_each_chat_once_also_where_two_bots_share_it(connection: Connection, page: Any) -> None:
    add_bot(connection, "alerts")
    for number in range(1000, 1070):
        suppress(connection, str(number))
    suppress(connection, "1049", "alerts")
    first = await page.get("/chats")
    link = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert link
    second = await page.get(html.unescape(link[1]))
    shown = listed(first.text) + listed(second.text)
    assert sorted(shown) == sorted([*(str(number) for number in range(1000, 1070)), "1049"])
    assert "First" in second.text


async def test_one_bots_chats_may_be_asked_for(connection: Connection, page: Any) -> None:
    add_bot(connection, "alerts")
    suppress(connection, "1")
    suppress(connection, "2", "alerts")
    assert listed((await page.get("/chats", bot="alerts")).text) == ["2"]


async def test_states_that_are_looked_for_among_some_chats_only_say_so(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 5)
    claim(connection, register(connection))
    for state in ("backing_off", "cooling", "in_flight"):
        assert "some may be missing" not in (await page.get("/chats", state=state)).text
    connection.execute("CREATE OR REPLACE FUNCTION outbox.chat_pages_read() RETURNS int LANGUAGE sql AS 'SELECT 0'")
    for state in ("backing_off", "cooling", "in_flight"):
        answer = await page.get("/chats", state=state)
        assert "some may be missing" in answer.text, state
        assert f"No chat is {state.replace('_', ' ')} now, of those that were looked at." in answer.text
        assert "That is well" not in answer.text
    for query in ({"state": "suppressed"}, {"state": "moved"}, {"chat": "5"}):
        assert "some may be missing" not in (await page.get("/chats", **query)).text
    sending = await page.get("/messages", status="sending")
    assert "Some may be missing" in sending.text
    assert "Look further back" not in sending.text
    assert f'href="/messages/{message_id}"' in (await page.get("/messages", status=["sending", "queued"])).text


@pytest.mark.parametrize("query", ["state=asleep", "chat=%00", "after=" + "9" * 300])
async def test_what_cannot_be_understood_is_one_line_beside_the_form(page: Any, query: str) -> None:
    answer = await page.get(f"/chats?{query}")
    assert answer.status == 400
    assert 'class="refused"' in answer.text
    assert '<form class="filter"' in answer.text


async def test_hostile_text_is_shown_as_text(connection: Connection, page: Any) -> None:
    hostile = "<script>alert(1)</script>\u202e"
    suppress(connection, "42")
    connection.execute("UPDATE outbox.chat SET suppressed_reason = %s", [hostile])
    for answer in (await page.get("/chats"), await page.get("/chats", chat=hostile)):
        assert answer.status == 200
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;" in answer.text
