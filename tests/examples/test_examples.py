"""Each example as it is in the repository, against a real database, a worker and the simulator."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from outbox.operate.stage import simulator_process, worker_processes
from tests.conftest import Database
from tests.examples.conftest import Shop
from tests.examples.shop import EXAMPLES, Ran, calls_to, java, psql, run

LANGUAGES = ["sql", "python", "python without the package", "node", "java"]


def _commands(language: str, request: pytest.FixtureRequest) -> list[list[str]]:
    """How the example is run for chat 42, and how for chat 43."""
    if language == "sql":
        command = psql("-f", str(EXAMPLES / "sql" / "producer.sql"))
        return [command, [*command, "-v", "chat=43"]]
    if language == "node":
        command = ["node", str(request.getfixturevalue("node_folder") / "producer.js")]
    elif language == "java":
        command = [*java(), str(EXAMPLES / "java" / "Producer.java")]
    else:
        file = "producer.py" if language == "python" else "without_package.py"
        command = [sys.executable, str(EXAMPLES / "python" / file)]
    return [command, [*command, "43"]]


async def _run(commands: list[list[str]], db: Database, shop: Database) -> list[Ran]:
    async with simulator_process() as telegram, worker_processes(db.url, telegram.url):
        ran = []
        for chat, command in zip(["42", "43"], commands, strict=True):
            done = await asyncio.to_thread(run, command, shop.url)
            ran.append(Ran(done.returncode, done.stdout, done.stderr, await calls_to(telegram, chat)))
        return ran


@pytest.fixture(scope="module", params=LANGUAGES)
def runs(request: pytest.FixtureRequest, server: Any, template: Database, shop: Shop) -> Iterator[tuple[Database, Any]]:
    """The database in which the example of one language ran twice, and both runs. Too slow to have for each test."""
    commands = _commands(request.param, request)
    db = server.create_database(template.url.rpartition("/")[2])
    with shop(db) as as_shop:
        yield db, asyncio.run(_run(commands, db, as_shop))
    server.drop_database(db)


@pytest.fixture
def ran(runs: tuple[Database, list[Ran]]) -> Ran:
    return runs[1][0]


@pytest.fixture
def database(runs: tuple[Database, list[Ran]]) -> Database:
    return runs[0]


def test_an_example_ends_well_with_the_rights_of_a_producer(ran):
    assert ran.code == 0, ran


def test_what_was_committed_arrives_once_and_in_order_and_nothing_else_does(ran):
    assert [(call["method"], call["text"], call["verdict"]) for call in ran.calls] == [
        ("sendMessage", "Order 1 is paid", "accepted"),
        ("sendMessage", "Order 1 is on its way", "accepted"),
        ("editMessageText", "Order 1 is paid and packed", "accepted"),
    ]


def test_the_edit_carries_the_telegram_id_of_its_target(ran):
    paid, _, edit = ran.calls
    assert edit["message_id"] == paid["message_id"]


def test_it_says_what_became_of_each_message(ran):
    for message, call in zip(_sent(ran), ran.calls, strict=True):
        assert ran.number(rf"\b{message}\b.*\bsent\b\D*(\d+)") == call["message_id"]


def test_history_says_the_same(ran, database):
    rows = database.execute(
        "SELECT id, telegram_message_id FROM outbox.history WHERE chat_id = '42' AND status = 'sent' ORDER BY id"
    )
    assert rows == [(id, call["message_id"]) for id, call in zip(_sent(ran), ran.calls, strict=True)]


def test_what_was_rolled_back_is_unknown_with_its_order(ran, database):
    refused = ran.number(r"message (\d+) was rolled back with its order: unknown")
    assert database.execute("SELECT status FROM outbox.status(%s)", [refused]) == [("unknown",)]


def test_the_cancelled_message_ends_so_or_will(ran, database):
    reminder = ran.number(r"message (\d+) was scheduled, and is cancelled: (?:[Tt]rue|t)\b")
    [(status, requested)] = database.execute("SELECT status, cancel_requested FROM outbox.status(%s)", [reminder])
    assert status == "cancelled" or requested


def test_a_key_used_again_gives_the_first_id(ran):
    shipped = ran.number(r"message (\d+) has a key")
    assert ran.number(r"with that key again: message (\d+)") == shipped


def test_a_refused_row_is_shown_with_what_to_do(ran):
    said = ran.out + ran.err
    assert "Use 0 critical, 1 high, 2 normal or 3 low." in said or "such as {" in said, ran


def test_it_runs_again_for_another_chat(runs):
    again = runs[1][1]
    assert again.code == 0, again
    assert [call["text"] for call in again.calls] == [
        "Order 2 is paid",
        "Order 2 is on its way",
        "Order 2 is paid and packed",
    ]


def _sent(ran: Ran) -> list[int]:
    """The ids of what was to be sent, in the order of sending."""
    return [
        ran.number(r"message (\d+) is committed"),
        ran.number(r"message (\d+) has a key"),
        ran.number(r"message (\d+) will edit"),
    ]
