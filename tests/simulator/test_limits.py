import pytest


async def test_the_31st_message_of_a_second_is_refused_with_the_shape_of_telegram(simulate):
    client = await simulate()
    assert [await client.send(chat) for chat in range(1, 31)] == [200] * 30
    client.clock.now_s += 0.999
    async with client.session.post(f"{client.url}/bot1:x/sendMessage", json={"chat_id": 31, "text": "hi"}) as response:
        assert response.status == 429
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Retry-After"] == "1"
        assert await response.json() == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        }
    client.clock.now_s += 0.001
    assert await client.send(31) == 200
    assert (await client.stats())["rejected"] == {"bot": 1, "chat": 0, "group": 0}


async def test_a_chat_takes_one_message_per_second_and_other_chats_go_on(simulate):
    client = await simulate()
    assert await client.send(42) == 200
    client.clock.now_s += 0.5
    assert await client.send(42) == 429
    assert await client.send(43) == 200
    client.clock.now_s += 0.5
    assert await client.send(42) == 200
    assert [call["verdict"] for call in await client.log()] == ["accepted", "chat", "accepted", "accepted"]


@pytest.mark.parametrize("chat", ["-5", "-1001234567890", "@news"])
async def test_a_group_takes_twenty_messages_per_minute(simulate, chat):
    client = await simulate()
    for _ in range(20):
        assert await client.send(chat) == 200
        client.clock.now_s += 2.0
    client.clock.now_s += 0.5
    status, body = await client.call("sendMessage", chat_id=chat, text="one too many")
    # 19.5 s are left, and seconds are whole: a wait that is rounded down would be refused again.
    assert (status, body["parameters"]) == (429, {"retry_after": 20})
    client.clock.now_s += 19.5
    assert await client.send(chat) == 200
    assert (await client.stats())["rejected"] == {"bot": 0, "chat": 0, "group": 1}


async def test_bots_do_not_share_limits(simulate):
    client = await simulate()
    assert await client.send(42) == 200
    status, _ = await client.call("sendMessage", token="2:other", chat_id=42, text="hi")
    assert status == 200


async def test_a_name_in_capitals_is_the_same_chat(simulate):
    client = await simulate()
    assert await client.send("@News") == 200
    assert await client.send("@news") == 429


async def test_edits_share_the_budget_of_sends_and_other_methods_are_free(simulate):
    client = await simulate()
    assert await client.send(42) == 200
    free = ["answerCallbackQuery", "sendChatAction", "getMe", "getChat", "setMyCommands"]
    for method in free:
        assert (await client.call(method, chat_id=42))[0] == 200, method
    assert (await client.call("deleteMessage", chat_id=42, message_id=1))[0] == 200
    assert (await client.call("editMessageText", chat_id=42, message_id=1, text="new"))[0] == 429
    client.clock.now_s += 1
    assert (await client.call("editMessageText", chat_id=42, message_id=1, text="new"))[0] == 200
    assert await client.send(42) == 429
    stats = await client.stats()
    assert (stats["accepted"], stats["free"]) == (2, len(free) + 1)


async def test_an_album_takes_a_place_per_picture_of_bot_and_group_but_is_one_call_to_the_chat(simulate):
    client = await simulate(rate=5, group_limit=6)
    album = [{"type": "photo", "media": "file"}] * 4
    assert (await client.call("sendMediaGroup", chat_id=-5, media=album))[0] == 200
    assert (await client.call("copyMessages", chat_id=7, from_chat_id=8, message_ids=[1, 2]))[0] == 429
    assert await client.send(7) == 200
    client.clock.now_s += 1
    status, body = await client.call("sendMediaGroup", chat_id=-5, media=album[:3])
    assert (status, body["parameters"]) == (429, {"retry_after": 59})
    assert (await client.call("sendMediaGroup", chat_id=-5, media=album[:2]))[0] == 200
    stats = await client.stats()
    assert (stats["max_in_1s"], stats["max_per_chat_in_1s"], stats["max_per_group_in_60s"]) == (5, 1, 6)


async def test_a_call_that_is_wrong_in_itself_takes_no_place(simulate):
    client = await simulate()
    assert await client.send(42, text="") == 400
    assert await client.send(42) == 200


async def test_zero_means_no_limit(simulate):
    client = await simulate(rate=0, chat_interval_s=0, group_limit=0)
    assert [await client.send(-5) for _ in range(50)] == [200] * 50
