"""The 15 behaviours that senders get wrong, in the order of docs/simulator.md: each can be produced."""

import asyncio
import io

import aiohttp
import pytest

ALBUM = [{"type": "photo", "media": "file"}] * 3


async def test_1_a_call_is_held_and_then_executed_though_its_client_had_given_up(simulate):
    client = await simulate(timed=True)
    await client.add({"effect": "stall", "seconds": [1, 8]})
    impatient = await client.begin(42)
    (held_s,) = await client.clock.sleepers(1)
    assert 1 <= held_s <= 8
    impatient.cancel()
    assert [call["verdict"] for call in await client.log()] == ["pending"]
    await client.clock.advance(8)
    again = await client.begin(42)
    await client.clock.advance(8)
    assert (await again)[0] == 200
    first, second = await client.log()
    assert (first["verdict"], first["answered_at"]) == ("accepted", None)
    assert first["executed_at"] - first["arrived_at"] == pytest.approx(held_s)
    assert (second["verdict"], second["status"]) == ("accepted", 200)
    assert (await client.stats())["duplicates"] == 1


@pytest.mark.parametrize(("retry_after_s", "held_s"), [(1, 8), (3, 6), (5, 5), (8, 8)])
async def test_2_a_short_flood_is_told_only_after_the_server_has_tried_by_itself(simulate, retry_after_s, held_s):
    client = await simulate(timed=True)
    await client.add({"match": {"count": 1}, "effect": "flood", "retry_after_s": retry_after_s, "hold": True})
    held = await client.begin(42)
    assert await client.clock.sleepers(1) == [held_s]
    await client.clock.advance(held_s)
    status, body = await held
    assert (status, body["parameters"]) == (429, {"retry_after": retry_after_s})
    await client.clock.advance(retry_after_s)
    assert await client.send(42) == 200


async def test_2_a_long_flood_is_told_at_once_and_counts_down_in_body_and_header(simulate):
    client = await simulate(timed=True)
    await client.add({"match": {"count": 1}, "effect": "flood", "retry_after_s": 36000, "hold": True})
    for rest_s in (36000, 35999, 35998):
        async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=42&text=hi") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, str(rest_s))
            assert (await response.json())["parameters"] == {"retry_after": rest_s}
        await client.clock.advance(1)
    await client.clock.advance(36000 - 3)
    assert await client.send(42) == 200


async def test_3_every_kind_of_flood_gives_the_same_text(simulate):
    client = await simulate(timed=True)
    await client.add(
        {"match": {"chat": "1", "count": 1}, "effect": "flood", "retry_after_s": 60},
        {"match": {"bot": "2", "count": 1}, "effect": "flood", "retry_after_s": 60, "scope": "bot"},
        {"match": {"chat": "3"}, "effect": "stall", "seconds": 3, "then": "429", "retry_after_s": 60},
    )
    chat = await client.call("sendMessage", chat_id=1, text="hi")
    bot = await client.call("sendMessage", token="2:x", chat_id=9, text="hi")
    overloaded = await client.begin(3)
    await client.clock.advance(3)
    for _ in range(20):
        assert await client.send(-5) == 200
        client.clock.now_s += 1
    client.clock.now_s -= 20
    group = await client.call("sendMessage", chat_id=-5, text="hi")
    assert chat == bot == await overloaded == group
    assert group[1]["description"] == "Too Many Requests: retry after 60"
    assert [call["verdict"] for call in await client.log()].count("group") == 1


async def test_4_other_chats_go_on_while_one_is_flooded_unless_the_flood_is_the_bots(simulate):
    client = await simulate()
    await client.add(
        {"match": {"chat": "42", "count": 1}, "effect": "flood", "retry_after_s": 60},
        {"match": {"bot": "2", "count": 1}, "effect": "flood", "retry_after_s": 60, "scope": "bot"},
    )
    assert [await client.send(chat) for chat in (42, 43, 42, 44)] == [429, 200, 429, 200]
    statuses = [(await client.call("sendMessage", token="2:x", chat_id=chat, text="hi"))[0] for chat in (1, 2, 3)]
    assert statuses == [429, 429, 429]
    client.clock.now_s += 60
    assert await client.send(42) == 200
    assert (await client.call("sendMessage", token="2:x", chat_id=1, text="hi"))[0] == 200


async def test_5_calls_made_inside_a_flood_fail_too_and_each_lengthens_it(simulate):
    client = await simulate()
    await client.add({"match": {"count": 1}, "effect": "flood", "retry_after_s": 10, "lengthen_s": 5, "factor": 2})
    waits = [(await client.call("sendMessage", chat_id=42, text="hi"))[1]["parameters"] for _ in range(3)]
    assert waits == [{"retry_after": 10}, {"retry_after": 25}, {"retry_after": 55}]
    client.clock.now_s += 54.9
    assert await client.send(42) == 429
    assert [(rule["hits"], rule["inside"]) for rule in await client.rules()] == [(1, 3)]


async def test_5_calls_that_were_queued_behind_a_held_one_fail_with_it_and_lengthen_nothing(simulate):
    client = await simulate(timed=True)
    await client.add({"match": {"count": 1}, "effect": "flood", "retry_after_s": 5, "hold": True, "lengthen_s": 60})
    first = await client.begin(42)
    await client.clock.advance(2)
    second = await client.begin(42, sleeping=2)
    assert await client.clock.sleepers(2) == [3, 3]
    await client.clock.advance(3)
    assert (await first)[1] == (await second)[1]
    await client.clock.advance(5)
    assert await client.send(42) == 200


async def test_6_floods_escalate_from_seconds_to_hours_and_decay_slowly(simulate):
    client = await simulate()
    steps_s = [2, 35, 291, 10072, 43200]
    await client.add({"effect": "flood", "retry_after_s": steps_s, "decay_s": 86400})

    async def wait_s():
        _, body = await client.call("sendMessage", chat_id=42, text="hi")
        client.clock.now_s += body["parameters"]["retry_after"]
        return body["parameters"]["retry_after"]

    assert [await wait_s() for _ in range(6)] == [*steps_s, 43200]
    client.clock.now_s += 2 * 86400
    assert [await wait_s() for _ in range(2)] == [10072, 43200]


async def test_7_edits_draw_from_the_budget_of_sends_callbacks_from_none_and_chat_actions_from_their_own(simulate):
    client = await simulate(timed=True)
    await client.add(
        {"match": {"method": "sendChatAction", "count": 1}, "effect": "flood", "retry_after_s": 2, "hold": True},
        {"match": {"chat": "7", "count": 1}, "effect": "flood", "retry_after_s": 60},
    )
    acting = await client.begin(42, method="sendChatAction", action="typing")
    assert await client.clock.sleepers(1) == [2]
    assert await client.send(42) == 200
    assert (await client.call("editMessageText", chat_id=42, message_id=1, text="new"))[0] == 429
    await client.clock.advance(2)
    assert (await acting)[0] == 429
    assert await client.send(7) == 429
    assert (await client.call("editMessageText", chat_id=7, message_id=1, text="new"))[0] == 429
    assert (await client.call("answerCallbackQuery", callback_query_id=1, chat_id=7))[0] == 200


@pytest.mark.parametrize("status", [502, 504])
async def test_8_an_error_comes_as_html_as_json_or_with_nothing_in_it(simulate, status):
    client = await simulate()
    await client.add(*({"match": {"count": 1}, "effect": "status", "status": status, "body": body}
                       for body in ("html", "json", "empty", "truncated")))  # fmt: skip
    bodies = []
    for _ in range(4):
        async with client.session.post(f"{client.url}/bot1:x/sendMessage", json={"chat_id": 42, "text": "hi"}) as got:
            assert got.status == status
            bodies.append(await got.text())
    html, as_json, empty, truncated = bodies
    assert html.startswith(f"<html>\r\n<head><title>{status} ")
    assert as_json.startswith(f'{{"ok":false,"error_code":{status},')
    assert empty == ""
    assert truncated
    assert as_json.startswith(truncated)
    assert {call["verdict"] for call in await client.log()} == {"error"}


async def test_8_a_200_comes_truncated_or_cut_off_and_was_executed(simulate):
    client = await simulate(chat_interval_s=0)
    await client.add({"match": {"count": 1}, "effect": "status", "status": 200, "body": "truncated"},
                     {"match": {"count": 1}, "effect": "status", "status": 200, "body": "cut"})  # fmt: skip
    async with client.session.post(f"{client.url}/bot1:x/sendMessage", json={"chat_id": 42, "text": "hi"}) as got:
        text = await got.text()
    assert text.startswith('{"ok":true,"result":{"message_id":1')
    assert not text.endswith("}")
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.send(42)
    assert [(call["verdict"], call["status"]) for call in await client.log()] == [("accepted", 200)] * 2


async def test_9_a_504_is_delivered_afterwards_and_a_502_is_not_and_only_the_ledger_knows(simulate):
    client = await simulate(timed=True)
    await client.add({"match": {"chat": "1"}, "effect": "late", "status": 504, "after_s": 20, "body": "html"},
                     {"match": {"chat": "2"}, "effect": "status", "status": 502, "body": "html"})  # fmt: skip
    for chat, status in ((1, 504), (2, 502)):
        async with client.session.post(f"{client.url}/bot1:x/sendMessage", json={"chat_id": chat, "text": "hi"}) as got:
            assert got.status == status
    assert [call["verdict"] for call in await client.log()] == ["pending", "error"]
    await client.clock.advance(20)
    late, never = await client.log()
    assert (late["verdict"], late["status"], late["message_id"], late["made"]) == ("accepted", 504, 1, 1)
    assert late["executed_at"] - late["answered_at"] == pytest.approx(20)
    assert (never["verdict"], never["executed_at"]) == ("error", None)


async def test_10_a_restart_answers_429_or_500_to_every_chat_and_then_is_over(simulate):
    client = await simulate(rate=0)
    await client.add({"match": {"until_s": 4}, "effect": "restart"})
    answers = [await client.call("sendMessage", chat_id=chat, text="hi") for chat in range(1, 31)]
    assert {(status, body["description"]) for status, body in answers} == {
        (429, "Too Many Requests: retry after 5"),
        (500, "Internal Server Error: restart"),
    }
    assert {call["verdict"] for call in await client.log()} == {"error"}
    client.clock.now_s += 4
    assert await client.send(1) == 200


async def test_11_a_flood_hides_in_a_400_of_an_album_of_which_a_part_was_sent(simulate):
    client = await simulate(chat_interval_s=0)
    await client.add({"match": {"count": 1}, "effect": "album_flood"},
                     {"match": {"count": 1}, "effect": "album_flood", "at": 3, "sent": 2})  # fmt: skip
    for position in (1, 3):
        assert await client.call("sendMediaGroup", chat_id=42, media=ALBUM) == (
            400,
            {
                "ok": False,
                "error_code": 400,
                "description": f"Bad Request: failed to send message #{position} with the error message "
                '"Too Many Requests: retry after 8"',
            },
        )
    none, part = await client.log()
    assert (none["verdict"], none["made"]) == ("error", 0)
    assert (part["verdict"], part["made"]) == ("accepted", 2)
    assert (await client.call("sendMessage", chat_id=42, text="hi"))[1]["result"]["message_id"] == 3


async def test_11_copies_return_fewer_ids_than_were_asked_for(simulate):
    client = await simulate()
    await client.add({"effect": "fewer_ids", "missing": 1})
    status, body = await client.call("copyMessages", chat_id=42, from_chat_id=1, message_ids=[1, 2, 3])
    assert (status, body["result"]) == (200, [{"message_id": 1}, {"message_id": 2}])


async def test_12_a_group_moves_in_mid_stream_and_its_new_id_has_a_budget_of_its_own(simulate):
    client = await simulate(group_limit=2, chat_interval_s=0)
    await client.add({"match": {"chat": "-5", "skip": 2, "count": 1}, "effect": "migrate", "to": "-1001557912345"})
    assert [await client.send(-5) for _ in range(2)] == [200, 200]
    for _ in range(2):
        assert await client.call("sendMessage", chat_id=-5, text="hi") == (
            400,
            {
                "ok": False,
                "error_code": 400,
                "description": "Bad Request: group chat was upgraded to a supergroup chat",
                "parameters": {"migrate_to_chat_id": -1001557912345},
            },
        )
    assert [await client.send(-1001557912345, text=str(number)) for number in range(3)] == [200, 200, 429]


async def test_13_permanent_looking_errors_pass_by_themselves(simulate):
    client = await simulate(rate=0, chat_interval_s=0)
    await client.add(
        {"match": {"until_s": 3600, "bot": "1"}, "effect": "chat", "state": "no_rights"},
        {"match": {"bot": "2", "share": 0.5}, "effect": "revoked"},
        {"match": {"bot": "3", "count": 1}, "effect": "chat", "state": "not_found"},
    )
    _, body = await client.call("sendMessage", chat_id=-1001557912345, text="hi")
    assert body["description"] == "Bad Request: not enough rights to send text messages to the chat"
    client.clock.now_s += 3600
    assert await client.send(-1001557912345) == 200
    flaps = [(await client.call("sendMessage", token="2:x", chat_id=42, text="hi"))[0] for _ in range(20)]
    assert set(flaps) == {200, 401}
    lost = [await client.call("sendMessage", token="3:x", chat_id=42, text="hi") for _ in range(2)]
    assert lost[0][1]["description"] == "Bad Request: chat not found"
    assert lost[1][0] == 200


async def test_14_uploads_of_the_same_size_queue_and_end_in_a_429_while_a_file_id_is_free(simulate):
    client = await simulate(timed=True, rate=0, chat_interval_s=0)
    await client.add({"effect": "upload_throttle"})

    async def upload(chat, size_bytes=9_000_000):
        form = aiohttp.FormData({"chat_id": str(chat)})
        form.add_field("photo", io.BytesIO(b"x" * size_bytes), filename="cat.jpg")
        async with client.session.post(f"{client.url}/bot1:x/sendPhoto", data=form) as response:
            return response.status, await response.json()

    status, body = await upload(1)
    assert status == 200
    uploads = [asyncio.create_task(upload(chat)) for chat in range(2, 8)]
    assert await client.clock.sleepers(6) == [0.9, 1.8, 2.7, 3.0, 3.6, 4.5]
    file_id = body["result"]["photo"][-1]["file_id"]
    assert (await client.call("sendPhoto", chat_id=42, photo=file_id))[0] == 200
    await client.clock.advance(6)
    answers = await asyncio.gather(*uploads)
    assert sorted(status for status, _ in answers) == [200] * 5 + [429]
    assert {"retry_after": 60} in [body.get("parameters") for _, body in answers]
    assert (await upload(43, size_bytes=9_000_001))[0] == 200


async def test_14_a_file_id_of_another_bot_fails(simulate):
    client = await simulate(chat_interval_s=0)
    _, body = await client.call("sendPhoto", chat_id=42, photo="https://example.org/cat.jpg")
    file_id = body["result"]["photo"][-1]["file_id"]
    for photo in (file_id, file_id + "s"):
        _, body = await client.call("sendPhoto", token="2:x", chat_id=42, photo=photo)
        assert body["description"] == "Bad Request: wrong file identifier/HTTP URL specified"
    album = [{"type": "photo", "media": "other"}, {"type": "photo", "media": file_id}]
    _, body = await client.call("sendMediaGroup", token="2:x", chat_id=42, media=album)
    assert body["description"].startswith("Bad Request: failed to send message #2 with the error message")


async def test_15_the_first_call_after_idleness_is_reset_and_was_not_executed(simulate):
    client = await simulate(connection_idle_s=10)
    assert await client.send(42) == 200
    client.clock.now_s += 9.9
    assert await client.send(42) == 200
    client.clock.now_s += 10
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.send(42)
    assert await client.send(42) == 200
    assert [(call["verdict"], call["broken_by"]) for call in await client.log()] == [
        ("accepted", None),
        ("accepted", None),
        ("error", "idle connection"),
        ("accepted", None),
    ]


async def test_15_a_connection_ends_at_its_age_though_it_is_busy(simulate):
    client = await simulate(timed=True, connection_age_s=39, connection_idle_s=10)
    await client.add({"match": {"chat": "2"}, "effect": "stall", "seconds": 5})
    for _ in range(5):
        assert await client.send(1) == 200
        await client.clock.advance(7)
    stalled = await client.begin(2, sleeping=2)
    await client.clock.advance(4)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asyncio.wait_for(stalled, 5)
    await client.clock.advance(1)
    call = (await client.log())[-1]
    assert (call["verdict"], call["answered_at"]) == ("accepted", None)
    assert await client.send(1) == 200


async def test_15_a_text_overtakes_a_photo_when_two_sends_to_one_chat_are_in_flight(simulate):
    client = await simulate(timed=True, chat_interval_s=0)
    await client.add({"match": {"method": "sendPhoto"}, "effect": "stall", "seconds": 2})
    photo = await client.begin(42, method="sendPhoto", photo="file", caption="first")
    assert await client.send(42, text="second") == 200
    await client.clock.advance(2)
    assert (await photo)[1]["result"]["message_id"] == 2
    log = sorted(await client.log(), key=lambda call: call["executed_at"])
    assert [call["text"] for call in log] == ["second", "hi"]
