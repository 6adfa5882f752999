"""Everything is gone, and comes back."""

import asyncio

import aiohttp
import pytest


async def test_an_outage_refuses_connections_until_its_end(simulate):
    client = await simulate(timed=True)
    assert await client.send(42) == 200
    await client.add({"match": {"from_s": 5, "until_s": 30}, "effect": "outage", "kind": "refuse"})
    assert await client.send(43) == 200
    await client.clock.sleepers(1)
    await client.clock.advance(5)
    with pytest.raises(aiohttp.ClientConnectionError):
        # An open connection is reset, so the next call has to connect, and cannot.
        await client.send(44)
    await client.clock.sleepers(1)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="Connect"):
            await session.get(f"{client.url}/bot1:x/getMe")
    await client.clock.advance(25)
    assert await answers_again(client) == 200
    assert [(call["chat"], call["verdict"]) for call in await client.log()] == [
        ("42", "accepted"),
        ("43", "accepted"),
        ("44", "error"),
        ("45", "accepted"),
    ]


async def test_clearing_the_faults_ends_an_outage(simulate):
    client = await simulate()
    await client.add({"match": {"until_s": 36000}, "effect": "outage", "kind": "refuse"})
    client.running.faults.clear()
    assert await answers_again(client) == 200


async def answers_again(client):
    async with asyncio.timeout(5):
        while True:
            try:
                return await client.send(45)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


async def test_an_outage_resets_or_answers_502_to_everybody(simulate):
    client = await simulate(rate=0)
    await client.add({"match": {"until_s": 5}, "effect": "outage", "kind": "reset"},
                     {"match": {"until_s": 10}, "effect": "outage", "kind": "502"})  # fmt: skip
    for token in ("1:x", "2:x"):
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.call("getMe", token=token)
    client.clock.now_s += 5
    async with client.session.get(f"{client.url}/bot1:x/getMe") as response:
        assert (response.status, response.content_type) == (502, "text/html")
    client.clock.now_s += 5
    assert await client.send(42) == 200
