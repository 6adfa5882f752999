import asyncio
import json
import threading
import urllib.error
import urllib.request

import aiohttp
import pytest

from outbox.simulator.config import Config
from outbox.simulator.fields import BadRuleError
from outbox.simulator.files import Upload
from outbox.simulator.thread import run_in_thread
from outbox.simulator.updates import BadUpdateError


@pytest.fixture
def telegram():
    with run_in_thread() as telegram:
        yield telegram


def call(telegram, method, **parameters):
    body = json.dumps(parameters).encode()
    url = f"{telegram.url}/bot{telegram.token}/{method}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_blocking_test_calls_it_and_reads_ledger_parameters_and_figures(telegram):
    assert call(telegram, "sendMessage", chat_id=42, text="hi", disable_notification=True)[0] == 200
    assert call(telegram, "sendMessage", chat_id=42, text="hi")[0] == 429
    first, second = telegram.calls
    assert (first.text, first.verdict, second.verdict) == ("hi", "accepted", "chat")
    assert first.parameters == {"chat_id": "42", "text": "hi", "disable_notification": True}
    assert telegram.stats()["rejected"]["chat"] == 1


async def test_the_kept_parameters_name_uploads_and_the_log_shows_them(telegram):
    form = aiohttp.FormData({"chat_id": "42"})
    form.add_field("photo", b"cat", filename="cat.jpg")
    async with aiohttp.ClientSession() as session:
        await session.post(f"{telegram.url}/bot1:x/sendPhoto", data=form)
        async with session.get(f"{telegram.url}/_sim/log") as response:
            (shown,) = await response.json()
    assert telegram.calls[0].parameters["photo"] == Upload("cat.jpg", 3)
    assert shown["parameters"]["photo"] == {"name": "cat.jpg", "size_bytes": 3}


def test_a_reset_leaves_nothing_behind(telegram):
    telegram.faults.add([{"match": {"chat": "43"}, "status": 500}])
    telegram.push_message(42, "old")
    call(telegram, "sendMessage", chat_id=42, text="hi")
    telegram.reset()
    assert telegram.calls == []
    assert telegram.faults.as_json() == []
    assert call(telegram, "getUpdates")[1]["result"] == []
    # The window is free, and the message is the chat's first one.
    assert call(telegram, "sendMessage", chat_id=42, text="hi")[1]["result"]["message_id"] == 1
    assert call(telegram, "sendMessage", chat_id=43, text="hi")[0] == 200


def test_the_same_draws_come_again_after_a_reset(telegram):
    def statuses():
        telegram.faults.add([{"match": {"share": 0.5}, "status": 500}])
        return [call(telegram, "getMe")[0] for _ in range(20)]

    first = statuses()
    telegram.reset()
    assert statuses() == first
    assert set(first) == {200, 500}


def test_a_rule_hits_until_it_is_cleared_and_a_bad_one_raises_here(telegram):
    telegram.faults.add([{"status": 502}])
    assert call(telegram, "getMe")[0] == 502
    assert telegram.faults.as_json()[0]["hits"] == 1
    telegram.faults.clear()
    assert call(telegram, "getMe")[0] == 200
    with pytest.raises(BadRuleError):
        telegram.faults.add([{"effect": "nothing"}])


def test_a_pushed_message_reaches_the_bot_with_the_id_that_was_returned(telegram):
    message_id = telegram.push_message(42, "/start", **{"from": {"id": 7, "is_bot": False, "first_name": "Ada"}})
    (update,) = call(telegram, "getUpdates")[1]["result"]
    message = update["message"]
    assert (message["message_id"], message["text"], message["from"]["first_name"]) == (message_id, "/start", "Ada")


def test_updates_go_to_the_bot_of_the_token_or_to_the_one_that_is_named(telegram):
    telegram.push_update({"poll_answer": {"poll_id": "1"}}, bot=2)
    pushed = telegram.push_update({"poll_answer": {"poll_id": "2"}})
    (update,) = call(telegram, "getUpdates")[1]["result"]
    assert (update["update_id"], update["poll_answer"]["poll_id"]) == (pushed, "2")
    with pytest.raises(BadUpdateError):
        telegram.push_update({"mesage": {}})


def test_a_blocking_test_waits_for_a_call(telegram):
    sender = threading.Timer(0.05, call, (telegram, "sendMessage"), {"chat_id": 42, "text": "hi"})
    sender.start()
    assert telegram.wait_for("sendmessage", chat_id=42).result().text == "hi"
    sender.join()


async def test_an_async_test_waits_for_the_second_call_to_a_chat(telegram):
    async with aiohttp.ClientSession() as session:
        for chat, text in ((1, "first"), (2, "elsewhere"), (1, "too early")):
            await session.post(f"{telegram.url}/bot1:x/sendMessage", json={"chat_id": chat, "text": text})
        waiting = asyncio.ensure_future(_await(telegram.wait_for("sendMessage", chat_id=1, n=2)))
        await session.post(f"{telegram.url}/bot1:x/editMessageText", json={"chat_id": 3, "message_id": 1, "text": "x"})
        assert not waiting.done()
        telegram.faults.clear()
        while (await _send(session, telegram.url, 1, "second")) == 429:
            await asyncio.sleep(0.05)
        assert (await waiting).text == "second"


async def _await(coming):
    return await coming


async def _send(session, url, chat, text):
    async with session.post(f"{url}/bot1:x/sendMessage", json={"chat_id": chat, "text": text}) as response:
        return response.status


def test_a_call_that_does_not_come_is_said_with_those_that_did(telegram):
    call(telegram, "getMe")
    with pytest.raises(TimeoutError) as late:
        telegram.wait_for("sendMessage", chat_id=42, timeout_s=0.05).result()
    assert str(late.value) == "no sendMessage to 42 number 1 within 0.05 s. Calls: getMe 200."


def test_an_address_that_is_taken_is_an_error_here(telegram):
    port = int(telegram.url.rpartition(":")[2])
    with pytest.raises(OSError, match=str(port)), run_in_thread(port=port):
        pass


def test_its_thread_ends_with_the_block_though_a_client_polls():
    before = set(threading.enumerate())
    with run_in_thread(Config()) as telegram:
        poller = threading.Thread(target=call, args=(telegram, "getUpdates"), kwargs={"timeout": 50})
        poller.start()
        while not telegram.calls:
            pass
    poller.join(10)
    assert not poller.is_alive()
    assert not set(threading.enumerate()) - before
