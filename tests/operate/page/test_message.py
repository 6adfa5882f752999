"""The page of one message: where it stands, why, and what may be done about it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register, status
from tests.operate.dead_letters import audited, die, unlimited

SMILES = "\U0001f600" * 4096
OTHERS = ("/chats", "/bots", "/bots/default", "/audit", "/dead-letters", "/dead-letters/batches")


async def test_a_waiting_message_says_why_it_waits(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 42, tag="spring", correlation_id="order-17")
    answer = await page.get(f"/messages/{message_id}")
    assert answer.status == 200, answer.text
    assert "Why it waits" in answer.text
    assert "no living worker serves bot default" in answer.text
    assert "not as things are" in answer.text
    for fact in ("spring", "order-17", "sendMessage", "normal", "accepted"):
        assert fact in answer.text, fact


async def test_a_dead_letter_says_what_telegram_answered_to_each_attempt(connection: Connection, page: Any) -> None:
    unlimited(connection)
    message_id = die(connection, 42, error_class="bad_request", error_text="Bad Request: can't parse entities")
    answer = await page.get(f"/messages/{message_id}")
    assert "How it ended" in answer.text
    assert "bad_request" in answer.text
    assert "Bad Request: can&#39;t parse entities" in answer.text
    assert re.search(r"<td>.{0,40}dead.{0,40}</td>", answer.text)


async def test_a_sent_message_shows_telegrams_answer(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 42)
    worker = register(connection)
    lanes = claim(connection, worker).lanes
    finish(connection, worker, lanes, telegram_message_id=815, telegram_answer={"message_id": 815, "file_id": "<b>x"})
    answer = await page.get(f"/messages/{message_id}")
    assert "Telegram’s answer" in answer.text
    assert "&#34;message_id&#34;: 815" in answer.text
    assert "<b>x" not in answer.text


async def test_an_unknown_number_is_said_to_be_unknown(page: Any) -> None:
    answer = await page.get("/messages/17")
    assert answer.status == 404
    assert "No message 17" in answer.text


@pytest.mark.parametrize("path", ["/messages/x", "/messages/99999999999999999999", "/messages/-1", "/messages/%00"])
async def test_what_is_no_number_is_one_line(page: Any, path: str) -> None:
    answer = await page.get(path)
    assert answer.status == 400
    assert "Use digits" in answer.text or "no text in the database" in answer.text


async def test_what_it_holds_is_hidden_from_who_may_not_read_it(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 42, {"text": "Your code is 4711"})
    for query in ({}, {"payload": "1"}):
        answer = await page.get(f"/messages/{message_id}", **query)
        assert answer.status == 200
        assert "4711" not in answer.text
        assert "OUTBOX_PAYLOAD_READERS" in answer.text
    answer = await page.post(f"/messages/{message_id}/payload")
    assert answer.status == 403
    assert "4711" not in answer.text
    assert "OUTBOX_PAYLOAD_READERS" in answer.text
    assert audited(connection) == []


async def test_what_it_holds_is_shown_when_asked_and_that_goes_on_record(
    connection: Connection, open_page: Any
) -> None:
    page = await open_page(payload_readers="*")
    message_id = insert(connection, 42, {"text": "Your code is 4711"})
    assert "4711" not in (await page.get(f"/messages/{message_id}")).text
    assert audited(connection) == []
    answer = await page.post(f"/messages/{message_id}/payload")
    assert answer.status == 200, answer.text
    assert "&#34;text&#34;: &#34;Your code is 4711&#34;" in answer.text
    assert audited(connection) == [("payload", {"id": message_id}, 1)]
    # What brings itself up to date does not read it again.
    assert f'hx-get="/messages/{message_id}"' in answer.text


async def test_no_link_and_no_other_site_has_a_payload_read(connection: Connection, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    message_id = insert(connection, 42, {"text": "Your code is 4711"})
    for answer in (
        await page.get(f"/messages/{message_id}", payload="1"),
        await page.get(f"/messages/{message_id}/payload"),
        await page.post(f"/messages/{message_id}/payload", {"Sec-Fetch-Site": "cross-site"}),
        await page.post("/messages/999/payload"),
    ):
        assert "4711" not in answer.text
    assert (await page.get(f"/messages/{message_id}/payload")).location == f"/messages/{message_id}"
    assert audited(connection) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("pay \u202eevil", "U+202E"),
        (SMILES, SMILES),
        ("\\u0000 \u0007", "U+0007"),
        ("</pre><img src=x>", "&lt;/pre&gt;&lt;img src=x&gt;"),
    ],
)
async def test_a_hostile_payload_is_shown_as_text(
    connection: Connection, open_page: Any, text: str, shown: str
) -> None:
    page = await open_page(payload_readers="*")
    message_id = insert(connection, 42, {"text": text, text[:50]: 1}, tag=text[:50])
    answer = await page.post(f"/messages/{message_id}/payload")
    assert answer.status == 200
    assert shown in answer.text
    assert "<script>alert" not in answer.text
    assert "<img src=x>" not in answer.text
    assert "\u202e" not in answer.text


async def test_a_message_that_waits_can_be_cancelled(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 42)
    assert f'action="/messages/{message_id}/cancel"' in (await page.get(f"/messages/{message_id}")).text
    answer = await page.post(f"/messages/{message_id}/cancel")
    assert (answer.status, answer.location) == (303, f"/messages/{message_id}")
    after = await page.get(answer.location)
    assert f"Message {message_id} is cancelled" in after.text
    assert f'action="/messages/{message_id}/cancel"' not in after.text
    [(what, about, count)] = audited(connection)
    assert (what, about, count) == ("cancel", {"id": message_id}, 1)
    assert claim(connection, register(connection)).lanes == []
    assert status(connection, message_id) == "cancelled"


async def test_cancelling_what_has_ended_says_that_nothing_was_cancelled(connection: Connection, page: Any) -> None:
    unlimited(connection)
    message_id = die(connection, 42)
    answer = await page.post(f"/messages/{message_id}/cancel")
    assert "nothing was cancelled" in (await page.get(answer.location)).text
    assert audited(connection) == [("cancel", {"id": message_id}, 0)]


async def test_a_dead_letter_can_be_retried(connection: Connection, page: Any) -> None:
    unlimited(connection)
    message_id = die(connection, 42)
    other = die(connection, 43)
    answer = await page.post(f"/messages/{message_id}/retry")
    assert (answer.status, answer.location) == (303, f"/messages/{message_id}")
    assert "waits in its lane again" in (await page.get(answer.location)).text
    assert (status(connection, message_id), status(connection, other)) == ("queued", "dead")
    [who] = connection.execute("SELECT who FROM outbox.audit").fetchall()
    assert "local" in who[0]


async def test_a_dead_letter_can_be_discarded(connection: Connection, page: Any) -> None:
    unlimited(connection)
    message_id = die(connection, 42)
    answer = await page.post(f"/messages/{message_id}/discard")
    assert answer.status == 303
    after = await page.get(answer.location)
    assert f"Message {message_id} is discarded" in after.text
    assert "/retry" not in after.text
    assert status(connection, message_id) == "discarded"


@pytest.mark.parametrize("verb", ["retry", "discard"])
async def test_a_second_click_says_that_there_is_nothing_left_to_do(
    connection: Connection, page: Any, verb: str
) -> None:
    unlimited(connection)
    message_id = die(connection, 42)
    await page.post(f"/messages/{message_id}/{verb}")
    answer = await page.post(f"/messages/{message_id}/{verb}")
    assert answer.status == 303
    assert "is no dead letter any more" in (await page.get(answer.location)).text


async def test_an_uncertain_message_warns_that_it_may_have_arrived(connection: Connection, page: Any) -> None:
    unlimited(connection)
    message_id = die(connection, 42)
    connection.execute("UPDATE outbox.dead_letter SET status = 'uncertain'")
    answer = await page.get(f"/messages/{message_id}")
    assert "it may have arrived" in answer.text
    assert "Retry, it may arrive twice" in answer.text


async def test_a_message_that_may_still_change_brings_itself_up_to_date_with_its_buttons(
    connection: Connection, page: Any
) -> None:
    unlimited(connection)
    dead, waiting, discarded = die(connection, 42), insert(connection, 43), die(connection, 44)
    await page.post(f"/messages/{discarded}/discard")
    for message_id, verb in ((waiting, "cancel"), (dead, "retry"), (dead, "discard")):
        text = (await page.get(f"/messages/{message_id}")).text
        part = text[text.index('id="state" hx-get=') : text.index('aria-labelledby="why"')]
        assert f'action="/messages/{message_id}/{verb}"' in part
        assert f'id="act-{verb}"' in part, "so that the focus finds it again"
    assert "hx-get" not in (await page.get(f"/messages/{discarded}")).text


@pytest.mark.parametrize("verb", ["cancel", "retry", "discard"])
async def test_what_is_done_to_an_unknown_message_is_not_found_and_not_on_record(
    connection: Connection, page: Any, verb: str
) -> None:
    answer = await page.post(f"/messages/17/{verb}")
    assert answer.status == 404
    assert "No message 17" in answer.text
    assert audited(connection) == []


async def test_every_link_stays_below_the_prefix_of_a_proxy(connection: Connection, open_page: Any) -> None:
    page = await open_page(admin_prefix="/outbox", payload_readers="*")
    unlimited(connection)
    dead, waiting = die(connection, 42, tag="spring"), insert(connection, 43)
    for path in ("/messages", f"/messages/{dead}", f"/messages/{waiting}", *OTHERS):
        answer = await page.get(f"/outbox{path}")
        assert answer.status == 200, path
        links = re.findall(r'(?:href|action|src|hx-get)="([^"]*)"', answer.text)
        assert {link for link in links if not link.startswith(("/outbox/", "#"))} == set(), path
    answer = await page.post(f"/outbox/messages/{dead}/retry")
    assert answer.location == f"/outbox/messages/{dead}"
    assert (await page.get("/outbox/messages", find=str(dead))).location == f"/outbox/messages/{dead}"


async def test_who_may_only_read_sees_no_button_that_writes(
    connection: Connection, server: Any, login: Any, open_page: Any
) -> None:
    reader = login("outbox_reader")
    page = await open_page(url=server.url_of(reader.info.dbname, user=reader.info.user))
    unlimited(connection)
    dead, waiting = die(connection, 42), insert(connection, 43)
    connection.execute("UPDATE outbox.chat SET suppressed_until = outbox.clock() + interval '1 h'")
    for path in ("/messages", f"/messages/{dead}", f"/messages/{waiting}", *OTHERS):
        answer = await page.get(path)
        assert answer.status == 200, path
        forms = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', answer.text, re.DOTALL)
        assert not any("<button" in form for form in forms), path
    assert (await page.post(f"/messages/{dead}/retry")).status == 403
    assert (await page.post("/bots/default/policy", rate="5", was_rate="30")).status == 403
    assert status(connection, dead) == "dead"
