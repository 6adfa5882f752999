"""The plugin in a project of its own, outside the repository, with its own pytest."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"

# A bot of a few lines, as a blocking program and as an async one: it answers every message.
BOT = """
import json
import urllib.request


def call(url, method, **parameters):
    body = json.dumps(parameters).encode()
    request = urllib.request.Request(f"{url}/{method}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["result"]


def answer_once(url):
    for update in call(url, "getUpdates", timeout=10):
        message = update["message"]
        call(url, "sendMessage", chat_id=message["chat"]["id"], text=message["text"].upper())
        call(url, "getUpdates", offset=update["update_id"] + 1)
"""
TESTS = """
import asyncio
import threading
import urllib.error

import pytest
from bot import answer_once, call

URLS = []


def test_blocking(telegram):
    URLS.append(telegram.url)
    telegram.push_message(42, "hi")
    answer_once(f"{telegram.url}/bot{telegram.token}")
    assert [(call.chat, call.text) for call in telegram.calls if call.made] == [("42", "HI")]


def test_blocking_beside_the_bot(telegram):
    bot = threading.Thread(target=answer_once, args=(f"{telegram.url}/bot{telegram.token}",))
    bot.start()
    telegram.push_message(42, "hi")
    assert telegram.wait_for("sendMessage", chat_id=42).result().text == "HI"
    bot.join()


async def test_async(telegram):
    URLS.append(telegram.url)
    assert telegram.calls == []
    bot = asyncio.create_task(asyncio.to_thread(answer_once, f"{telegram.url}/bot{telegram.token}"))
    telegram.push_message(42, "hi")
    assert (await telegram.wait_for("sendMessage", chat_id=42)).text == "HI"
    await bot


def test_a_fault_and_a_limit(telegram):
    url = f"{telegram.url}/bot{telegram.token}"
    telegram.faults.add([{"match": {"chat": "7"}, "effect": "chat", "state": "blocked"}])
    with pytest.raises(urllib.error.HTTPError, match="403"):
        call(url, "sendMessage", chat_id=7, text="hi")
    call(url, "sendMessage", chat_id=42, text="hi")
    with pytest.raises(urllib.error.HTTPError, match="429"):
        call(url, "sendMessage", chat_id=42, text="again")


@pytest.mark.telegram(chat_interval_s=0)
def test_marked(telegram):
    URLS.append(telegram.url)
    for _ in range(3):
        call(f"{telegram.url}/bot{telegram.token}", "sendMessage", chat_id=42, text="hi")
    assert telegram.stats()["accepted"] == 3


def test_one_server_per_config_serves_the_session():
    assert URLS[0] == URLS[1] != URLS[2]
"""


INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = --strict-markers -p no:cacheprovider
filterwarnings = error
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(INI)
    pytester.makeconftest('pytest_plugins = ["outbox.simulator.fixture"]')
    return pytester


def test_blocking_and_async_tests_of_a_bot_use_the_fixture(project):
    project.makepyfile(bot=BOT, test_bot=TESTS)
    project.runpytest_subprocess().assert_outcomes(passed=6)


def test_an_option_that_does_not_exist_is_said_in_one_line(project):
    project.makepyfile("import pytest\n\n@pytest.mark.telegram(speed=3)\ndef test_it(telegram): pass")
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.telegram: *speed*"])


def test_the_example_of_the_docs_runs(project):
    (example,) = re.findall(r"```python\n(import asyncio\n.*?)```", DOCS.read_text(), re.DOTALL)
    project.makepyfile(example)
    project.runpytest_subprocess().assert_outcomes(passed=1)
