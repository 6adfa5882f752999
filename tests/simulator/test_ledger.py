import asyncio

import aiohttp
from hypothesis import given
from hypothesis import strategies as st

from outbox.simulator.ledger import Call, Ledger
from outbox.simulator.stats import densest


async def test_the_log_tells_every_call_and_never_the_token(simulate):
    client = await simulate()
    await client.call("sendMessage", token="123:very-secret", chat_id=42, text="first")
    await client.call("sendMessage", token="123:very-secret", chat_id=42, text="second")
    first, second = log = await client.log()
    assert first["arrived_monotonic_s"] == client.clock.now_s
    assert {
        name: first[name] for name in ("n", "bot", "chat", "method", "text", "verdict", "status", "message_id")
    } == {
        "n": 1,
        "bot": "123",
        "chat": "42",
        "method": "sendMessage",
        "text": "first",
        "verdict": "accepted",
        "status": 200,
        "message_id": 1,
    }
    assert (second["n"], second["verdict"], second["status"], second["message_id"]) == (2, "chat", 429, None)
    assert "very-secret" not in str(log)


async def test_the_log_is_filtered_by_bot_chat_since_and_limit(simulate):
    client = await simulate()
    for chat in (1, 2, 3):
        await client.send(chat)
    await client.call("sendMessage", token="9:x", chat_id=1, text="hi")
    assert [call["n"] for call in await client.log("?bot=9")] == [4]
    assert [call["n"] for call in await client.log("?chat=1")] == [1, 4]
    assert [call["n"] for call in await client.log("?since=2")] == [3, 4]
    assert [call["n"] for call in await client.log("?since=1&limit=2")] == [2, 3]
    assert await client.log("?since=99") == []
    async with client.session.get(f"{client.url}/_sim/log?since=soon") as response:
        assert response.status == 400
        assert "since" in (await response.json())["error"]


async def test_stats_have_the_promised_keys_before_any_call(simulate):
    client = await simulate()
    stats = await client.stats()
    assert {
        "accepted": 0,
        "rejected": {"bot": 0, "chat": 0, "group": 0},
        "max_in_1s": 0,
        "max_per_chat_in_1s": 0,
        "max_per_group_in_60s": 0,
        "utilisation": 0.0,
    }.items() <= stats.items()


async def test_utilisation_is_one_when_the_busiest_bot_sends_at_its_limit(simulate):
    client = await simulate(rate=4)
    for chat in range(9):
        assert await client.send(chat + 1) == 200
        client.clock.now_s += 0.25
    await client.call("sendMessage", token="2:idle", chat_id=1, text="hi")
    stats = await client.stats()
    assert (stats["utilisation"], stats["max_in_1s"], stats["bots"]) == (1.0, 4, 2)


async def test_stats_of_a_span_leave_out_what_arrived_outside_it(simulate):
    client = await simulate()
    for _ in range(3):
        await client.send(42)
        client.clock.now_s += 10
    second = (await client.log())[1]["arrived_at"]
    assert (await client.stats(f"?after={second - 1}&before={second + 1}"))["accepted"] == 1
    assert (await client.stats(f"?after={second - 1}"))["accepted"] == 2


async def test_reset_forgets_calls_and_windows(simulate):
    client = await simulate()
    assert await client.send(42) == 200
    async with client.session.post(f"{client.url}/_sim/reset") as response:
        assert response.status == 200
    assert await client.log() == []
    assert await client.send(42) == 200
    assert (await client.log())[0]["n"] == 1


async def test_two_open_requests_to_one_chat_are_counted_as_two_in_flight(simulate):
    client = await simulate(answer_s=0.05)
    await client.send(42)
    await asyncio.gather(client.send(43), client.send(44))
    assert (await client.stats())["max_in_flight_per_chat"] == 1
    await asyncio.gather(client.send(42), client.send(42))
    assert (await client.stats())["max_in_flight_per_chat"] == 2


async def test_a_request_whose_client_has_left_is_not_in_flight(simulate):
    client = await simulate()
    client.running.faults.add([{"match": {"count": 1}, "hang": True}])
    timeout = aiohttp.ClientTimeout(total=0.1)
    try:
        async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=42&text=hi", timeout=timeout):
            raise AssertionError("the simulator answered a call that should hang")
    except TimeoutError:
        pass
    await client.stats()  # one round trip later the server has seen the other connection close
    assert await client.send(42) == 200
    assert (await client.stats())["max_in_flight_per_chat"] == 1


async def test_connections_counts_those_that_carried_calls(simulate):
    client = await simulate(answer_s=0.02)
    await client.send(1)
    await client.send(2)
    assert (await client.stats())["connections"] == 1
    await asyncio.gather(client.send(3), client.send(4))
    assert (await client.stats())["connections"] == 2


def test_the_ledger_keeps_the_newest_calls_and_their_numbers():
    ledger = Ledger(offset_s=0.0, keep=3)
    for at in range(8):
        ledger.record(
            Call(0, "1", "42", "sendMessage", None, arrived_s=float(at), verdict="accepted", status=200, cost=1)
        )
    assert [call.n for call in ledger.select(since=5)] == [6, 7, 8]
    assert 3 <= len(ledger.calls) < 6


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=40), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_densest_window_is_that_of_a_count_by_hand(arrivals, window_s):
    arrivals = sorted((at / 8, cost) for at, cost in arrivals)
    by_hand = max(
        (sum(cost for at, cost in arrivals if end - window_s < at <= end) for end, _ in arrivals),
        default=0,
    )
    assert densest(arrivals, window_s) == by_hand
