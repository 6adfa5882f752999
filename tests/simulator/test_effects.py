"""Effects beside those that the 15 behaviours need."""

import asyncio
import time

import aiohttp
import pytest


@pytest.mark.parametrize(
    ("state", "chat", "method", "status", "description"),
    [
        ("blocked", 42, "sendMessage", 403, "Forbidden: bot was blocked by the user"),
        ("deactivated", 42, "sendMessage", 403, "Forbidden: user is deactivated"),
        ("kicked", -5, "sendMessage", 403, "Forbidden: bot was kicked from the group chat"),
        ("kicked", -1001557912345, "sendMessage", 403, "Forbidden: bot was kicked from the supergroup chat"),
        ("kicked", "@news", "sendMessage", 403, "Forbidden: bot was kicked from the channel chat"),
        ("not_a_member", "@news", "sendMessage", 403, "Forbidden: bot is not a member of the channel chat"),
        ("cannot_initiate", 42, "sendMessage", 403, "Forbidden: bot can't initiate conversation with a user"),
        ("not_found", 42, "sendMessage", 400, "Bad Request: chat not found"),
        ("no_rights", -5, "sendMessage", 400, "Bad Request: not enough rights to send text messages to the chat"),
        ("no_rights", -5, "sendPhoto", 400, "Bad Request: not enough rights to send photos to the chat"),
        ("thread_not_found", -5, "sendMessage", 400, "Bad Request: message thread not found"),
    ],
)
async def test_a_chat_refuses_in_telegrams_exact_words(simulate, state, chat, method, status, description):
    client = await simulate()
    await client.add({"match": {"chat": chat}, "effect": "chat", "state": state})
    body = {"ok": False, "error_code": status, "description": description}
    assert await client.call(method, chat_id=chat, text="hi", photo="file") == (status, body)
    assert (await client.call("getMe"))[0] == 200
    assert await client.send(77) == 200


async def test_a_status_carries_what_is_asked_for_and_only_that(simulate):
    client = await simulate()
    await client.add(
        {"match": {"chat": 1}, "effect": "status", "status": 429},
        {"match": {"chat": 2}, "effect": "status", "status": 429, "retry_after_s": 36000},
        {"match": {"chat": 3}, "effect": "status", "status": 500, "error_code": 420, "description": "FLOOD_WAIT_3",
         "parameters": {"adaptive": True}},
        {"match": {"chat": 4}, "effect": "status", "status": 503, "text": "<b>later</b>"},
    )  # fmt: skip
    assert (await client.call("sendMessage", chat_id=1, text="hi"))[1] == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests",
    }
    _, body = await client.call("sendMessage", chat_id=2, text="hi")
    assert body["description"] == "Too Many Requests: retry after 36000"
    assert await client.call("sendMessage", chat_id=3, text="hi") == (
        500,
        {"ok": False, "error_code": 420, "description": "FLOOD_WAIT_3", "parameters": {"adaptive": True}},
    )
    async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=4&text=hi") as response:
        assert (response.status, response.content_type, await response.text()) == (503, "text/html", "<b>later</b>")


async def test_a_status_after_the_execution_hides_it(simulate):
    client = await simulate()
    await client.add({"effect": "status", "status": 502, "when": "after", "body": "html"})
    async with client.session.get(f"{client.url}/bot1:x/sendMessage?chat_id=42&text=hi") as response:
        assert (response.status, response.content_type) == (502, "text/html")
    (call,) = await client.log()
    assert (call["verdict"], call["status"], call["executed_at"]) == ("accepted", 502, call["arrived_at"])


@pytest.mark.parametrize(("side", "verdict"), [("before", "error"), ("after", "accepted")])
async def test_a_named_reset_knows_its_side(simulate, side, verdict):
    client = await simulate()
    await client.add({"effect": "reset", "when": side})
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.send(42)
    (call,) = await client.log()
    assert (call["verdict"], call["status"], call["made"]) == (verdict, None, int(side == "after"))


@pytest.mark.parametrize(("side", "verdict"), [("before", "error"), ("after", "accepted")])
async def test_a_silence_never_answers_and_knows_its_side(simulate, side, verdict):
    client = await simulate()
    await client.add({"effect": "silence", "when": side})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.send(42), 0.1)
    (call,) = await client.log()
    assert (call["verdict"], call["answered_at"]) == (verdict, None)


async def test_a_call_in_flight_at_a_restart_is_aborted_and_may_have_been_executed(simulate):
    client = await simulate(rate=0)
    await client.add({"effect": "restart", "aborted_share": 1})
    answers = [await client.call("sendMessage", chat_id=chat, text="hi") for chat in range(1, 31)]
    assert {body["description"] for _, body in answers} == {"Internal Server Error: request aborted"}
    assert {call["verdict"] for call in await client.log()} == {"accepted", "error"}


async def test_a_stall_that_ends_in_a_429_executes_nothing(simulate):
    client = await simulate(timed=True)
    await client.add({"effect": "stall", "seconds": 7, "then": "429"})
    held = await client.begin(42)
    assert await client.clock.sleepers(1) == [7]
    await client.clock.advance(7)
    status, body = await held
    assert (status, body["parameters"]) == (429, {"retry_after": 8})
    assert [call["verdict"] for call in await client.log()] == ["error"]


async def test_a_stalled_call_took_its_place_in_the_windows_when_it_arrived(simulate):
    client = await simulate(timed=True)
    await client.add({"match": {"count": 1}, "effect": "stall", "seconds": 8})
    held = await client.begin(42)
    assert await client.send(42) == 429
    await client.clock.advance(1)
    assert await client.send(42) == 200
    await client.clock.advance(7)
    assert (await held)[0] == 200
    assert (await client.stats())["max_per_chat_in_1s"] == 1


async def test_a_late_call_that_the_limits_refuse_is_never_executed(simulate):
    client = await simulate(timed=True)
    assert await client.send(42) == 200
    await client.add({"effect": "late", "after_s": 5})
    assert await client.send(42) == 429
    await client.clock.advance(5)
    assert [call["verdict"] for call in await client.log()] == ["accepted", "chat"]


async def test_an_answer_trickles(simulate):
    client = await simulate(stopped=False)
    await client.add({"effect": "trickle", "bytes_per_s": 1000})
    started_at = time.monotonic()
    assert (await client.call("sendMessage", chat_id=42, text="x" * 200))[1]["result"]["text"] == "x" * 200
    assert time.monotonic() - started_at > 0.2


async def test_a_limit_that_moves_refuses_by_the_number_of_the_moment_and_tells_nobody_but_the_log(simulate):
    client = await simulate(chat_interval_s=0)
    await client.add({"match": {"bot": "1"}, "effect": "moving_limit", "between": [20, 30], "every_s": 10})
    passed = []
    for _ in range(6):
        passed.append([await client.send(chat) for chat in range(1, 32)].count(200))
        client.clock.now_s += 10
    limits = [call["limit"] for call in (await client.log())[::31]]
    assert passed == limits
    assert len(set(limits)) > 1
    assert set(limits) <= set(range(20, 31))
    others = [(await client.call("sendMessage", token="2:x", chat_id=9, text="hi"))[0] for _ in range(31)]
    assert others.count(200) == 30


async def test_clearing_the_faults_ends_floods_and_migrations(simulate):
    client = await simulate()
    await client.add(
        {"match": {"chat": 42}, "effect": "flood", "retry_after_s": 600},
        {"match": {"chat": -5}, "effect": "migrate", "to": "-1001557912345"},
    )
    assert [await client.send(chat) for chat in (42, -5)] == [429, 400]
    client.running.faults.clear()
    assert [await client.send(chat) for chat in (42, -5)] == [200, 200]
