import asyncio

import aiohttp
import pytest


async def add(client, *rules):
    async with client.session.post(f"{client.url}/_sim/faults", json=list(rules)) as response:
        return response.status, await response.json()


async def test_a_fault_before_is_answered_and_not_executed(simulate):
    client = await simulate()
    await add(client, {"match": {"count": 1}, "status": 500})
    assert await client.call("sendMessage", chat_id=42, text="hi") == (
        500,
        {"ok": False, "error_code": 500, "description": "Internal Server Error"},
    )
    assert await client.send(42) == 200
    first, second = await client.log()
    assert (first["verdict"], first["status"], first["message_id"]) == ("error", 500, None)
    assert second["message_id"] == 1


async def test_a_fault_after_hides_a_call_that_was_executed(simulate):
    client = await simulate()
    await add(client, {"match": {"count": 1}, "status": 502, "when": "after", "body": "<html>Bad Gateway</html>"})
    async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=42&text=hi") as response:
        assert (response.status, response.content_type) == (502, "text/html")
    assert await client.send(42) == 429
    hidden, _ = await client.log()
    assert (hidden["verdict"], hidden["status"], hidden["message_id"]) == ("accepted", 502, 1)


async def test_a_forced_flood_carries_its_wait_in_body_and_header(simulate):
    client = await simulate()
    await add(client, {"match": {"chat": 42}, "retry_after": 35})
    async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=42&text=hi") as response:
        assert response.headers["Retry-After"] == "35"
        body = await response.json()
    assert (response.status, body["description"]) == (429, "Too Many Requests: retry after 35")
    assert body["parameters"] == {"retry_after": 35}
    assert await client.send(43) == 200


async def test_a_migration_can_be_told_in_parameters(simulate):
    client = await simulate()
    await add(client, {"status": 400, "parameters": {"migrate_to_chat_id": -1001}, "match": {"chat": "-5"}})
    _, body = await client.call("sendMessage", chat_id=-5, text="hi")
    assert body["parameters"] == {"migrate_to_chat_id": -1001}


@pytest.mark.parametrize(("side", "verdict"), [("before", "error"), ("after", "accepted")])
async def test_a_reset_breaks_the_connection_and_the_log_knows_on_which_side(simulate, side, verdict):
    client = await simulate()
    await add(client, {"reset": side})
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.send(42)
    (call,) = await client.log()
    assert (call["verdict"], call["status"], call["answered_at"]) == (verdict, None, None)


async def test_a_hang_never_answers_and_does_not_hold_up_the_end(simulate):
    client = await simulate()
    await add(client, {"hang": True, "when": "after"})
    hanging = asyncio.create_task(client.send(42))
    _done, pending = await asyncio.wait([hanging], timeout=0.2)
    assert pending
    client.running.simulator.stopped.set()
    with pytest.raises(aiohttp.ClientConnectionError):
        await asyncio.wait_for(hanging, 5)
    assert [call["verdict"] for call in await client.log()] == ["accepted"]


async def test_a_delay_before_moves_the_arrival_and_a_delay_after_does_not(simulate):
    client = await simulate(stopped=False)
    await add(
        client,
        {"match": {"chat": 1}, "delay_s": 0.1},
        {"match": {"chat": 2}, "delay_s": 0.1, "when": "after"},
    )
    await asyncio.gather(client.send(1), client.send(2))
    stalled, late = await client.log()
    assert (stalled["chat"], late["chat"]) == ("2", "1")
    assert stalled["answered_at"] - stalled["arrived_at"] >= 0.098
    assert late["answered_at"] - late["arrived_at"] < 0.098


async def test_a_share_hits_about_that_share_and_the_same_calls_again_with_the_same_seed(simulate):
    async def statuses():
        client = await simulate(rate=0, seed=3)
        await add(client, {"match": {"share": 0.3}, "status": 500})
        return [await client.send(chat) for chat in range(1, 201)]

    first = await statuses()
    assert 35 <= first.count(500) <= 85, "seed 3"
    assert await statuses() == first


async def test_rules_match_bot_and_method_and_count_their_hits_until_they_are_cleared(simulate):
    client = await simulate()
    await add(client, {"match": {"bot": "2", "method": "GETME"}, "status": 401})
    assert (await client.call("getMe"))[0] == 200
    assert (await client.call("getMe", token="2:x"))[0] == 401
    async with client.session.get(f"{client.url}/_sim/faults") as response:
        assert [rule["hits"] for rule in await response.json()] == [1]
    async with client.session.delete(f"{client.url}/_sim/faults") as response:
        assert await response.json() == []
    assert (await client.call("getMe", token="2:x"))[0] == 200


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"statsu": 500}, "unknown key 'statsu'"),
        ({"match": {"chta": 1}, "status": 500}, "unknown match key 'chta'"),
        ({"match": {"count": 1}}, "needs something to do"),
        ({"status": 500, "when": "during"}, "when is 'during'"),
        ({"status": "many"}, "many"),
        ("nonsense", "a rule is a JSON object"),
    ],
)
async def test_a_bad_rule_is_refused_with_what_is_wrong_and_none_of_its_list_is_kept(simulate, rule, words):
    client = await simulate()
    status, body = await add(client, {"status": 500}, rule)
    assert status == 400
    assert words in body["error"]
    assert await client.send(42) == 200
