import asyncio
import time

import aiohttp


async def test_jitter_delays_a_call_before_its_verdict(simulate):
    client = await simulate(stopped=False, jitter_s=(0.04, 0.06))
    written_at = time.time()
    assert await client.send(42) == 200
    (call,) = await client.log()
    # A timer may fire a millisecond early; late is bounded only by the machine.
    assert call["arrived_at"] - written_at >= 0.038
    assert call["answered_at"] - call["arrived_at"] < 0.038


async def test_the_answers_way_comes_after_the_verdict(simulate):
    client = await simulate(stopped=False, answer_s=0.05)
    assert await client.send(42) == 200
    (call,) = await client.log()
    assert call["answered_at"] - call["arrived_at"] >= 0.048


async def test_the_delay_path_splits_its_milliseconds_around_the_verdict(simulate):
    client = await simulate(stopped=False)
    written_at = time.time()
    async with client.session.get(f"{client.url}/delay/100/bot1:x/sendMessage?chat_id=42&text=hi") as response:
        assert response.status == 200
    (call,) = await client.log()
    assert call["arrived_at"] - written_at >= 0.048
    assert call["answered_at"] - call["arrived_at"] >= 0.048
    assert call["chat"] == "42"


async def test_two_calls_to_one_chat_are_logged_in_the_order_of_arrival_not_of_writing(simulate):
    client = await simulate(stopped=False, chat_interval_s=0)

    async def send(delay_ms, text):
        url = f"{client.url}/delay/{delay_ms}/bot1:x/sendMessage"
        async with client.session.post(url, data={"chat_id": 42, "text": text}) as response:
            assert response.status == 200

    await asyncio.gather(send(300, "written first"), send(20, "arrived first"))
    assert [call["text"] for call in await client.log()] == ["arrived first", "written first"]


async def test_the_same_seed_draws_the_same_jitter(simulate):
    async def draw(seed):
        client = await simulate(seed=seed, jitter_s=(0.0, 0.001))
        return client.running.simulator._random.random()

    assert await draw(7) == await draw(7)
    assert await draw(7) != await draw(8)


async def test_a_client_that_leaves_does_not_undo_its_call(simulate):
    client = await simulate()
    client.running.faults.add([{"when": "after", "delay_s": 0.3}])
    url = f"{client.url}/bot1:x/sendMessage"
    try:
        async with client.session.post(
            url, json={"chat_id": 42, "text": "hi"}, timeout=aiohttp.ClientTimeout(total=0.1)
        ):
            raise AssertionError("the simulator answered too early")
    except TimeoutError:
        pass
    (call,) = await client.log()
    assert (call["verdict"], call["message_id"], call["answered_at"]) == ("accepted", 1, None)
