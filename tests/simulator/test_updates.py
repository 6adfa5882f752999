import asyncio

import pytest

from outbox.simulator.updates import LONGEST_POLL_S


def message(text):
    return {"message": {"message_id": 1, "date": 1, "chat": {"id": 42, "type": "private"}, "text": text}}


async def push(client, *updates, bot="1", what="updates"):
    async with client.session.post(f"{client.url}/_sim/{what}?bot={bot}", json=list(updates)) as response:
        return response.status, await response.json()


async def fetch(client, **parameters):
    status, body = await client.call("getUpdates", **parameters)
    assert status == 200, body
    return body["result"]


def texts(updates):
    return [update["message"]["text"] for update in updates]


async def poll(client, sleeping=1, **parameters):
    """Begin a long poll, and return it once so many calls sleep in the simulator."""
    call = asyncio.create_task(client.call("getUpdates", **({"timeout": 50} | parameters)))
    await client.clock.sleepers(sleeping)
    return call


async def test_pushed_updates_come_in_order_with_growing_ids_until_the_offset_confirms_them(simulate):
    client = await simulate()
    _, pushed = await push(client, message("one"), message("two"), message("three"))
    first, second, third = ids = [update["update_id"] for update in pushed]
    assert ids == [first, first + 1, first + 2]
    assert texts(await fetch(client)) == texts(await fetch(client)) == ["one", "two", "three"]
    assert texts(await fetch(client, offset=second)) == ["two", "three"]
    assert texts(await fetch(client)) == ["two", "three"], "what the offset passed is forgotten"
    assert texts(await fetch(client, limit=1)) == ["two"]
    assert await fetch(client, offset=third + 1) == []


async def test_a_negative_offset_keeps_only_the_last_ones(simulate):
    client = await simulate()
    await push(client, message("one"), message("two"), message("three"))
    assert texts(await fetch(client, offset=-2)) == ["two", "three"]
    assert texts(await fetch(client)) == ["two", "three"]


async def test_updates_of_one_bot_are_not_anothers(simulate):
    client = await simulate()
    await push(client, message("hi"), bot="2")
    assert await fetch(client) == []
    assert texts(await fetch(client, token="2:x")) == ["hi"]


async def test_a_long_poll_ends_empty_after_its_timeout_and_not_before(simulate):
    client = await simulate(timed=True)
    waiting = await poll(client, timeout=20)
    await client.clock.advance(19.9)
    assert not waiting.done()
    await client.clock.advance(0.1)
    assert (await waiting)[1]["result"] == []


async def test_no_long_poll_is_longer_than_telegrams(simulate):
    client = await simulate(timed=True)
    await poll(client, timeout=3600)
    assert await client.clock.sleepers(1) == [LONGEST_POLL_S]


async def test_a_push_wakes_the_long_poll_at_once(simulate):
    client = await simulate(timed=True)
    waiting = await poll(client)
    await push(client, message("hi"))
    assert texts((await asyncio.wait_for(waiting, 5))[1]["result"]) == ["hi"]


async def test_who_asks_again_at_once_without_a_timeout_is_held(simulate):
    client = await simulate(timed=True)
    assert await fetch(client) == []
    again = await poll(client, timeout=0)
    assert await client.clock.sleepers(1) == [3]
    await push(client, message("hi"))
    assert texts((await asyncio.wait_for(again, 5))[1]["result"]) == ["hi"]


async def test_a_second_poller_ends_the_first_with_a_conflict(simulate):
    client = await simulate(timed=True)
    first = await poll(client)
    await poll(client)
    status, body = await asyncio.wait_for(first, 5)
    assert (status, body["description"]) == (
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    )


async def test_two_pollers_that_fight_are_held_three_seconds(simulate):
    client = await simulate(timed=True)
    first = await poll(client)
    second = await poll(client)
    assert (await asyncio.wait_for(first, 5))[0] == 409
    third = await poll(client)
    async with asyncio.timeout(5):
        while await client.clock.sleepers(2) != [3, 50]:
            await asyncio.sleep(0)
    assert not second.done()
    await client.clock.advance(3)
    assert (await second)[0] == 409
    assert not third.done()


async def test_kinds_that_have_to_be_asked_for_come_only_then_and_the_wish_is_remembered(simulate):
    client = await simulate()
    reaction = {"message_reaction": {"chat": {"id": 42, "type": "private"}, "message_id": 1}}
    await push(client, reaction, message("hi"))
    assert texts(await fetch(client)) == ["hi"]
    await push(client, reaction)
    assert len(await fetch(client, allowed_updates=["message_reaction"])) == 1
    assert (await client.call("getWebhookInfo"))[1]["result"]["allowed_updates"] == ["message_reaction"]
    await push(client, message("unwanted"), reaction)
    assert ["message_reaction" in update for update in await fetch(client)] == [True, True]


async def test_a_webhook_keeps_get_updates_away_and_ends_a_poll(simulate):
    client = await simulate(timed=True)
    waiting = await poll(client)
    assert (await client.call("setWebhook", url="https://example.org/hook"))[0] == 200
    assert (await asyncio.wait_for(waiting, 5))[1]["description"] == "Conflict: terminated by setWebhook request"
    await push(client, message("hi"))
    info = (await client.call("getWebhookInfo"))[1]["result"]
    assert (info["url"], info["pending_update_count"]) == ("https://example.org/hook", 1)
    await client.clock.advance(3)
    status, body = await client.call("getUpdates")
    assert (status, "while webhook is active" in body["description"]) == (409, True)
    assert (await client.call("deleteWebhook"))[0] == 200
    assert texts(await fetch(client)) == ["hi"]


@pytest.mark.parametrize("method", ["setWebhook", "deleteWebhook"])
async def test_pending_updates_are_dropped_on_request(simulate, method):
    client = await simulate()
    await push(client, message("hi"))
    assert (await client.call(method, drop_pending_updates=True))[0] == 200
    assert await fetch(client) == []


async def test_what_a_user_writes_is_a_message_of_the_chat_and_a_command_is_marked(simulate):
    client = await simulate()
    await client.send(42)
    await push(client, {"chat_id": 42, "text": "/start now"}, what="messages")
    (update,) = await fetch(client)
    assert isinstance(update["message"].pop("date"), int)
    assert update["message"] == {
        "message_id": 2,
        "chat": {"id": 42, "first_name": "User 42", "type": "private"},
        "from": {"id": 42, "is_bot": False, "first_name": "User 42"},
        "text": "/start now",
        "entities": [{"type": "bot_command", "offset": 0, "length": 6}],
    }


@pytest.mark.parametrize("text", ["start", "/", "/nö", "/starté", "5 /start"])
async def test_what_is_no_command_is_not_marked(simulate, text):
    client = await simulate()
    await push(client, {"chat_id": 42, "text": text}, what="messages")
    assert "entities" not in (await fetch(client))[0]["message"]


async def test_given_fields_win_and_a_channel_posts(simulate):
    client = await simulate()
    written = {"chat_id": -5, "text": "hi", "from": {"id": 9, "is_bot": False, "first_name": "Ada"}}
    await push(client, written, {"chat_id": "@news", "photo": []}, what="messages")
    group, channel = await fetch(client)
    assert group["message"]["from"]["first_name"] == "Ada"
    assert channel["channel_post"]["photo"] == []


@pytest.mark.parametrize(
    ("what", "bot", "body", "said"),
    [
        ("updates", "", [], "?bot=123"),
        ("updates", "me", [], "?bot=123"),
        ("updates", "1", [{}], "exactly one of business_connection"),
        ("updates", "1", [{"mesage": {}}], "['mesage']"),
        ("updates", "1", [{"message": "hi"}], "message is no JSON object"),
        ("updates", "1", ["hi"], "an update is a JSON object"),
        ("messages", "1", [{"text": "hi"}], "chat_id is missing"),
        ("messages", "1", ["hi"], "chat_id is missing"),
    ],
)
async def test_what_is_no_update_is_refused_in_one_line_and_nothing_is_pushed(simulate, what, bot, body, said):
    client = await simulate()
    good = {"chat_id": 42, "text": "hi"} if what == "messages" else message("hi")
    status, answer = await push(client, *([good, *body] if bot == "1" else body), bot=bot, what=what)
    assert (status, said in answer["error"]) == (400, True), answer
    assert await fetch(client) == []


async def test_no_json_is_refused(simulate):
    client = await simulate()
    async with client.session.post(f"{client.url}/_sim/updates?bot=1", data="{") as response:
        assert (response.status, "Send one JSON object" in (await response.json())["error"]) == (400, True)


async def test_a_reset_forgets_updates_and_webhooks_and_ids_go_on(simulate):
    client = await simulate()
    _, (before,) = await push(client, message("old"))
    await client.call("setWebhook", url="https://example.org/hook")
    async with client.session.post(f"{client.url}/_sim/reset") as response:
        assert response.status == 200
    assert await fetch(client) == []
    _, (after,) = await push(client, message("new"))
    assert after["update_id"] > before["update_id"]


async def test_an_open_poll_does_not_hold_up_the_end(simulate):
    client = await simulate()
    waiting = asyncio.create_task(client.call("getUpdates", timeout=50))
    while not await client.log():
        await asyncio.sleep(0)
    await asyncio.wait_for(client.running.simulator.stop(), 5)
    assert (await asyncio.wait_for(waiting, 5))[1]["result"] == []
