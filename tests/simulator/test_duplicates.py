"""Texts that came into a chat more than once."""


async def duplicates(client):
    async with client.session.get(f"{client.url}/_sim/duplicates") as response:
        return await response.json()


async def test_a_text_that_was_executed_twice_is_named_with_its_calls(simulate):
    client = await simulate(chat_interval_s=0)
    for chat, text in ((42, "a"), (42, "b"), (42, "a"), (43, "a"), (42, "a")):
        assert await client.send(chat, text=text) == 200
    assert await duplicates(client) == [{"bot": "1", "chat": "42", "text": "a", "times": 3, "calls": [1, 3, 5]}]
    assert (await client.stats())["duplicates"] == 2


async def test_what_was_refused_or_is_an_edit_or_of_another_bot_is_no_duplicate(simulate):
    client = await simulate()
    assert [await client.send(42, text="a") for _ in range(2)] == [200, 429]
    assert (await client.call("sendMessage", token="2:x", chat_id=42, text="a"))[0] == 200
    client.clock.now_s += 1
    assert (await client.call("editMessageText", chat_id=42, message_id=1, text="a"))[0] == 200
    assert await duplicates(client) == []
    assert (await client.stats())["duplicates"] == 0


async def test_a_migrated_chat_is_one_chat(simulate):
    client = await simulate()
    await client.add({"match": {"chat": -5, "skip": 1}, "effect": "migrate", "to": -1001557912345})
    assert [await client.send(chat, text="a") for chat in (-5, -5, -1001557912345)] == [200, 400, 200]
    (twice,) = await duplicates(client)
    assert (twice["chat"], twice["calls"]) == ("-1001557912345", [1, 3])


async def test_a_text_that_is_delivered_late_after_its_repetition_is_a_duplicate(simulate):
    client = await simulate(timed=True)
    await client.add({"match": {"count": 1}, "effect": "late", "after_s": 20})
    assert await client.send(42) == 504
    await client.clock.advance(10)
    assert await client.send(42) == 200
    stats = await client.stats()
    assert (stats["duplicates"], stats["accepted"], stats["pending"]) == (0, 1, 1)
    await client.clock.advance(10)
    stats = await client.stats()
    assert (stats["duplicates"], stats["accepted"], stats["pending"]) == (1, 2, 0)
