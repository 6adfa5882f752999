"""The quick field: one word leads to a message, to what has a correlation id, to a chat, or to a choice."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.invariants.calls import Connection, insert
from tests.operate.page.test_messages import link, listed


def choices(text: str) -> list[str]:
    """Where the choices of a page lead, in their order."""
    found = re.search(r'<ul class="reasons">(.*?)</ul>', text, re.DOTALL)
    return [html.unescape(path) for path in re.findall(r'<li>\s*<a href="([^"]+)"', found[1])] if found else []


async def test_a_number_leads_to_its_message(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 5_000_001)
    for typed in (str(message_id), f" #{message_id} "):
        answer = await page.get("/messages", find=typed)
        assert (answer.status, answer.location) == (303, f"/messages/{message_id}")


async def test_a_correlation_id_leads_to_its_only_message(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 1, correlation_id="order-17")
    answer = await page.get("/messages", find="order-17")
    assert (answer.status, answer.location) == (303, f"/messages/{message_id}")


async def test_a_correlation_id_made_of_digits_is_found_too(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 1, correlation_id="20260301")
    assert (await page.get("/messages", find="20260301")).location == f"/messages/{message_id}"


async def test_a_correlation_id_of_several_leads_to_their_list(connection: Connection, page: Any) -> None:
    ids = [insert(connection, chat, correlation_id="order 17&x=1") for chat in (1, 2)]
    answer = await page.get("/messages", find="order 17&x=1")
    parts = urlsplit(answer.location)
    assert (parts.path, parse_qs(parts.query)) == ("/messages", {"correlation_id": ["order 17&x=1"]})
    assert listed((await page.get(answer.location)).text) == ids[::-1]


@pytest.mark.parametrize("chat", ["-100123", "@Shop"])
async def test_a_chat_leads_to_its_messages(connection: Connection, page: Any, chat: str) -> None:
    message_id = insert(connection, chat)
    answer = await page.get("/messages", find=chat)
    assert answer.status == 303
    assert listed((await page.get(answer.location)).text) == [message_id]


async def test_a_private_chats_number_leads_to_its_messages(connection: Connection, page: Any) -> None:
    ids = [insert(connection, 5_000_001) for _ in range(2)]
    answer = await page.get("/messages", find="5000001")
    assert answer.status == 303
    assert listed((await page.get(answer.location)).text) == ids[::-1]


async def test_a_chat_of_which_no_message_is_kept_leads_to_its_state(connection: Connection, page: Any) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until) VALUES ('77', 'default', outbox.clock() + '1 h')"
    )
    assert (await page.get("/messages", find="77")).location == "/chats?chat=77"


async def test_a_number_that_means_several_things_lets_choose(connection: Connection, page: Any) -> None:
    first = insert(connection, 5_000_001)
    insert(connection, first)
    named = insert(connection, 5_000_002, correlation_id=str(first))
    answer = await page.get("/messages", find=str(first))
    assert answer.status == 200
    assert "Which one is meant?" in answer.text
    assert choices(answer.text) == [f"/messages/{first}", f"/messages/{named}", f"/messages?chat={first}"]


async def test_a_message_whose_correlation_id_is_its_own_number_is_one_thing(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 5_000_001)
    connection.execute("UPDATE outbox.message SET correlation_id = id::text")
    assert (await page.get("/messages", find=str(message_id))).location == f"/messages/{message_id}"


@pytest.mark.parametrize("wanted", ["order-17", "17", "-17", "@nobody", "9999999999999999999", "#9999999999999999999"])
async def test_what_nothing_is_called_says_what_was_looked_for_and_what_to_do(page: Any, wanted: str) -> None:
    answer = await page.get("/messages", find=wanted)
    assert answer.status == 200
    assert "Nothing is called" in answer.text
    assert "messages with that correlation id" in answer.text
    assert ("a message with that id" in answer.text) == (wanted == "17")
    assert (f'chat <bdi class="shown">{wanted}</bdi>' in answer.text) == (wanted[0] in "-@" or wanted.isdecimal())
    assert (
        await page.get(link(answer.text, "Look for it as a part of tags, correlation ids and errors"))
    ).status == 200


async def test_a_hostile_word_is_shown_as_text(page: Any) -> None:
    answer = await page.get("/messages", find="<script>alert(1)</script>\u202e")
    assert answer.status == 200
    assert "<script>alert" not in answer.text
    assert "U+202E" in answer.text
