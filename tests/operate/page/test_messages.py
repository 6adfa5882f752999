"""The page that finds messages: filters in the address, pages, how far it looked, and what messages hold."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register
from tests.operate.dead_letters import die, unlimited

RIGHT_TO_LEFT = "\u202e"


def listed(text: str) -> list[int]:
    """The messages of the list, as they stand there."""
    return [int(number) for number in re.findall(r'<td class="num"><a href="/messages/(\d+)">', text)]


def link(text: str, label: str) -> str:
    """Where a link leads."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>{label}</a>', text)
    assert found, label
    return html.unescape(found[1])


async def test_without_messages_it_says_how_to_write_one(page: Any) -> None:
    answer = await page.get("/messages")
    assert answer.status == 200, answer.text
    assert "There is no message yet" in answer.text
    assert "INSERT INTO outbox.message" in answer.text


async def test_messages_are_listed_newest_first(connection: Connection, page: Any) -> None:
    ids = [insert(connection, chat) for chat in (1, 2, 3)]
    answer = await page.get("/messages")
    assert listed(answer.text) == ids[::-1]
    assert "3 messages" in answer.text


async def test_several_statuses_may_be_asked_for_at_once(connection: Connection, page: Any) -> None:
    unlimited(connection)
    dead = die(connection, 1)
    uncertain = die(connection, 2)
    connection.execute("UPDATE outbox.dead_letter SET status = 'uncertain' WHERE id = %s", [uncertain])
    waiting = insert(connection, 3)
    assert listed((await page.get("/messages?status=dead&status=uncertain")).text) == [uncertain, dead]
    answer = await page.get("/messages", status="queued")
    assert listed(answer.text) == [waiting]
    assert re.search(r'value="queued" checked', answer.text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bot", "alerts"),
        ("chat", "-77"),
        ("tag", "spring"),
        ("correlation_id", "order-17"),
        ("class", "blocked"),
        ("text", "FORBIDDEN: bot"),
        ("until", "2h"),
    ],
)
async def test_each_filter_leaves_out_the_others_and_stays_in_the_form(
    connection: Connection, page: Any, name: str, value: str
) -> None:
    unlimited(connection)
    unlimited(connection, "alerts")
    wanted = die(
        connection,
        -77,
        bot="alerts",
        tag="spring",
        correlation_id="order-17",
        error_class="blocked",
        error_text="Forbidden: bot was blocked by the user",
    )
    connection.execute("UPDATE outbox.dead_letter SET created_at = created_at - interval '3 hours'")
    insert(connection, 1, tag="autumn", correlation_id="order-18")
    answer = await page.get("/messages", **{name: value})
    assert answer.status == 200, answer.text
    assert listed(answer.text) == [wanted]
    assert f'value="{value}"' in answer.text
    assert "1 message<" in answer.text


async def test_what_passes_no_filter_is_said_with_a_way_back(connection: Connection, page: Any) -> None:
    insert(connection, 1)
    answer = await page.get("/messages", tag="nobody")
    assert "No message passes these filters" in answer.text
    assert link(answer.text, "show all messages") == "/messages"


async def test_text_says_how_far_it_looks(page: Any) -> None:
    assert "newest 20,000 messages that pass the other filters" in (await page.get("/messages")).text


async def test_older_pages_keep_the_filters_and_lead_back_to_the_newest(connection: Connection, page: Any) -> None:
    ids = [insert(connection, chat, tag="many") for chat in range(1, 61)]
    insert(connection, 99)
    first = await page.get("/messages", tag="many")
    assert listed(first.text) == ids[:9:-1]
    assert "60 messages" in first.text
    second = await page.get(link(first.text, "Older"))
    assert listed(second.text) == ids[9::-1]
    assert ">Older<" not in second.text
    assert link(second.text, "Newest") == "/messages?tag=many"


async def test_counting_stops_at_a_thousand(connection: Connection, page: Any) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT n::text, '{}' FROM generate_series(1, 1001) n"
    )
    assert "more than 1,000 messages" in (await page.get("/messages")).text


async def test_a_count_that_did_not_look_at_all_is_told_as_a_least_one(connection: Connection, page: Any) -> None:
    insert(connection, 1, tag="needle")
    # The only way to these is a walk of the newest 100,000.
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT n::text, '{}' FROM generate_series(1, 100000) n"
    )
    for number in range(2, 62):
        insert(connection, number, priority=0)
    full = await page.get("/messages", priority="critical")
    assert "60 or more messages" in full.text
    connection.execute("DELETE FROM outbox.message WHERE priority = 0 AND chat_id::bigint > 3")
    short = await page.get("/messages", priority="critical")
    assert "2 or more messages" in short.text


async def test_a_count_that_takes_too_long_leaves_the_list(
    connection: Connection, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [insert(connection, chat) for chat in range(1, 61)]
    monkeypatch.setattr("outbox.operate.page.messages._COUNT", "SELECT pg_sleep(60), 1 AS found, true AS complete")
    monkeypatch.setattr("outbox.operate.page.database.READ_WITHIN_S", 0.5)
    answer = await page.get("/messages")
    assert answer.status == 200
    assert listed(answer.text) == ids[:9:-1]
    assert " messages<" not in answer.text


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("status=lost", "Status is never"),
        ("since=yesterday", "Since &#34;yesterday&#34; is not a time"),
        ("since=99999999d", "is not a time"),
        ("until=0001-01-01T00:00%2B23:00", "is not a time"),
        ("before=x", "Before &#34;x&#34; is not the number"),
        ("before=99999999999999999999999", "is not the number"),
        ("text=%00", "no text in the database can have"),
        ("tag=" + "x" * 300, "300 characters"),
    ],
)
async def test_what_cannot_be_understood_is_one_line_beside_the_form(page: Any, query: str, line: str) -> None:
    answer = await page.get(f"/messages?{query}")
    assert answer.status == 400
    assert line in answer.text
    assert '<form class="filter"' in answer.text


async def test_what_was_typed_stays_in_the_form_when_it_cannot_be_understood(page: Any) -> None:
    answer = await page.get("/messages", since="yesterday", tag="spring")
    assert 'value="yesterday"' in answer.text
    assert 'value="spring"' in answer.text


async def test_hostile_text_is_shown_as_text(connection: Connection, page: Any) -> None:
    unlimited(connection)
    hostile = f"<script>alert(1)</script>{RIGHT_TO_LEFT}"
    die(connection, 1, tag=hostile, error_class="bad_request", error_text=hostile + "\U0001f600" * 400 + "\\u0000")
    answer = await page.get("/messages", tag=hostile)
    assert len(listed(answer.text)) == 1
    assert "<script>alert" not in answer.text
    assert answer.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert "U+202E" in answer.text


async def test_who_may_read_messages_finds_what_they_hold_and_that_goes_on_record_once_a_look(
    connection: Connection, open_page: Any
) -> None:
    page = await open_page(payload_readers="*")
    wanted = insert(connection, 1, {"text": "Your code is 4711"})
    insert(connection, 2, {"text": "hello"})
    assert listed((await page.get("/messages", text="CODE IS")).text) == []
    answer = await page.post("/messages", text="CODE IS", chat="1", since="2020-01-01")
    assert answer.status == 200, answer.text
    assert listed(answer.text) == [wanted]
    assert "4711" not in answer.text
    assert "what messages hold" in answer.text
    assert listed((await page.post("/messages", text="not there")).text) == []
    audited = connection.execute("SELECT what, filter FROM outbox.audit ORDER BY id").fetchall()
    assert audited == [
        ("find_in_payloads", {"text": "CODE IS", "chat_id": "1", "since": "2020-01-01T00:00:00+00:00"}),
        ("find_in_payloads", {"text": "not there"}),
    ]


async def test_a_chat_stands_in_the_audit_of_a_search_where_forget_finds_it(
    connection: Connection, open_page: Any
) -> None:
    page = await open_page(payload_readers="*")
    await page.post("/messages", text="x", chat="@Shop")
    assert connection.execute("SELECT filter FROM outbox.audit").fetchall() == [({"text": "x", "chat_id": "@shop"},)]


async def test_a_token_that_is_looked_for_does_not_go_on_record(connection: Connection, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    await page.post("/messages", text="123456789:AAF-abcdefghijklmnopqrstuvwxyz_01234")
    assert connection.execute("SELECT filter FROM outbox.audit").fetchall() == [({"text": "123456789:***"},)]


async def test_no_link_searches_in_what_messages_hold(connection: Connection, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    insert(connection, 1, {"text": "Your code is 4711"})
    for query in ({"payloads": "1"}, {"payloads": "1", "before": "9"}):
        answer = await page.get("/messages", text="CODE IS", **query)
        assert answer.status == 200
        assert listed(answer.text) == []
    assert connection.execute("SELECT FROM outbox.audit").fetchall() == []


async def test_older_pages_of_a_search_in_payloads_keep_its_filters(connection: Connection, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    ids = [insert(connection, chat, {"text": "4711 & <b>"}, tag="many") for chat in range(1, 61)]
    insert(connection, 99, {"text": "4711 & <b>"})
    first = await page.post("/messages", text="4711 & <b>", tag="many", status=["queued", "sent"])
    assert listed(first.text) == ids[:9:-1]
    form = re.search(r'aria-label="Pages">(.*?)<button class="quiet">Older', first.text, re.DOTALL)
    assert form
    fields = re.findall(r'name="([^"]+)" value="([^"]*)"', form[1])
    sent: dict[str, list[str]] = {}
    for name, value in fields:
        sent.setdefault(name, []).append(html.unescape(value))
    assert listed((await page.post("/messages", **sent)).text) == ids[9::-1]
    assert sent["status"] == ["queued", "sent"]


@pytest.mark.parametrize("readers", ["", "somebody"])
async def test_who_may_not_read_messages_cannot_search_in_them(
    connection: Connection, open_page: Any, readers: str
) -> None:
    page = await open_page(payload_readers=readers)
    answer = await page.post("/messages", text="secret")
    assert answer.status == 403
    assert "OUTBOX_PAYLOAD_READERS" in answer.text
    assert "Search in payloads" not in (await page.get("/messages")).text
    assert connection.execute("SELECT FROM outbox.audit").fetchall() == []


async def test_another_site_cannot_have_payloads_searched(connection: Connection, open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    answer = await page.post("/messages", {"Sec-Fetch-Site": "cross-site"}, text="secret")
    assert answer.status == 403
    assert connection.execute("SELECT FROM outbox.audit").fetchall() == []


@pytest.mark.parametrize(
    ("fields", "line"), [({"text": " "}, "The text is empty"), ({"text": "x", "since": "soon"}, "is not a time")]
)
async def test_a_search_in_payloads_that_cannot_be_understood_is_one_line_beside_the_form(
    connection: Connection, open_page: Any, fields: dict[str, str], line: str
) -> None:
    page = await open_page(payload_readers="*")
    answer = await page.post("/messages", **fields)
    assert answer.status == 400
    assert line in answer.text
    assert '<form class="filter"' in answer.text
    assert connection.execute("SELECT FROM outbox.audit").fetchall() == []


async def test_how_far_text_was_looked_for_stands_beside_the_result(connection: Connection, page: Any) -> None:
    insert(connection, 1, tag="spring")
    for text in ("spring", "autumn"):
        answer = await page.get("/messages", text=text)
        beside = re.sub(r"<details.*</details>", "", answer.text, flags=re.DOTALL)
        assert "Text was looked for in the newest 20,000 messages that pass the other filters" in beside
        assert "There may be older ones" not in beside


async def test_that_there_may_be_older_ones_is_said_when_the_limit_was_reached(
    connection: Connection, page: Any
) -> None:
    old = insert(connection, 1, tag="needle")
    connection.execute("UPDATE outbox.message SET created_at = created_at - interval '1 d'")
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT n::text, '{}' FROM generate_series(2, 20001) n"
    )
    answer = await page.get("/messages", text="needle")
    assert listed(answer.text) == []
    assert "No message passes these filters, of those that were looked at" in answer.text
    assert "There may be older ones" in answer.text
    assert listed((await page.get(link(answer.text, "Look further back"))).text) == [old]


async def test_messages_are_filtered_by_priority(connection: Connection, page: Any) -> None:
    urgent = insert(connection, 1, priority=0)
    insert(connection, 2)
    answer = await page.get("/messages", status="queued", priority="critical")
    assert listed(answer.text) == [urgent]
    assert '<option value="critical" selected>' in answer.text
    assert (await page.get("/messages", priority="5")).status == 400


async def test_a_message_in_flight_is_listed_as_sending(connection: Connection, page: Any) -> None:
    message_id = insert(connection, 1)
    worker = register(connection)
    lanes = claim(connection, worker).lanes
    assert listed((await page.get("/messages", status="sending")).text) == [message_id]
    finish(connection, worker, lanes)
    assert listed((await page.get("/messages", status="sent")).text) == [message_id]
