"""Two processes of a running bot and the queue's worker on one strict Telegram; one of the two is killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from outbox.operate.stage import simulator_process, stop_process, worker_processes

LIBRARIES = ["with_aiogram", "with_telegram"]
TOGETHER = 100  # messages
EACH_AT_LEAST = 5  # of these; the two processes do not start to write at the same moment
GIVEN_UP_AT = 3 * TOGETHER  # one that has not sent by then is kept from it
ALONE_S = 3.5
TAKEN_OVER_S = 2.5  # a slot that was out is another's two seconds after it
# Both write to these; with what is each one's own there is more to say than may be said.
SHARED = [-1, -2, -3, *range(1, 21)]


@dataclass
class Record:
    stats: dict[str, Any]
    log: list[dict[str, Any]]
    killed_at: float

    def sent(self) -> dict[str, list[float]]:
        """When the texts of each sender arrived."""
        times = defaultdict(list)
        for name, _, call in self._texts():
            times[name].append(call["arrived_at"])
        return times

    def numbers(self) -> dict[tuple[str, str], list[int]]:
        """The texts that each process sent to each chat, in order of arrival."""
        numbers = defaultdict(list)
        for name, chat, call in self._texts():
            numbers[name, chat].append(int(call["text"].rpartition(":")[2]))
        return numbers

    def _texts(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for call in self.log:
            if call["verdict"] == "accepted" and call["text"]:
                yield call["text"].partition(":")[0], call["chat"], call


@pytest.fixture(scope="module")
def records(server: Any, template: Any) -> Iterator[dict[str, Record]]:
    """One run of each library. They share nothing, and so run at the same time."""
    databases = {library: server.create_database(template.url.rpartition("/")[2]) for library in LIBRARIES}

    async def run_all() -> list[Record]:
        return await asyncio.gather(*(_run(library, db) for library, db in databases.items()))

    yield dict(zip(LIBRARIES, asyncio.run(run_all()), strict=True))
    for db in databases.values():
        server.drop_database(db)


@pytest.fixture(params=LIBRARIES)
def record(request: pytest.FixtureRequest, records: dict[str, Record]) -> Record:
    return records[request.param]


def test_nobody_gets_a_429(record):
    assert record.stats["rejected"] == {"bot": 0, "chat": 0, "group": 0}
    assert record.stats["max_in_1s"] <= 30
    assert record.stats["max_per_chat_in_1s"] <= 1
    assert record.stats["max_per_group_in_60s"] == 20, "two albums are all that a group may have in a minute"


def test_both_processes_and_the_queue_send(record):
    sent = record.sent()
    assert set(sent) == {"a", "b", "queue"}
    assert min(sum(at < record.killed_at for at in times) for times in sent.values()) >= EACH_AT_LEAST
    assert record.stats["utilisation"] >= 0.5  # some 0.95 on a machine that does nothing else


def test_no_call_to_a_chat_overtakes_another_of_its_process(record):
    numbers = record.numbers()
    assert len(numbers) > 40
    for (name, chat), seen in numbers.items():
        if name != "queue":
            assert seen == list(range(len(seen))), f"{name} in {chat}"


def test_a_process_that_is_killed_keeps_no_slot_from_the_others(record):
    after = [at for name in ("b", "queue") for at in record.sent()[name] if at > record.killed_at + TAKEN_OVER_S]
    assert len(after) >= 0.5 * 30 * (ALONE_S - TAKEN_OVER_S)
    assert max(record.sent()["a"]) < record.killed_at + 0.1


def _all_have_sent(log: list[dict[str, Any]]) -> bool:
    texts = [call["text"] for call in log if call["verdict"] == "accepted" and call["text"]]
    each = Counter(text.partition(":")[0] for text in texts)
    together = all(each[name] >= EACH_AT_LEAST for name in ("a", "b", "queue"))
    return len(texts) >= (TOGETHER if together else GIVEN_UP_AT)


async def _run(library: str, db: Any) -> Record:
    async with (
        simulator_process("--jitter-ms", "0-30") as simulator,
        worker_processes(db.url, simulator.url),
        _bot(library, "a", db.url, simulator.url, [*SHARED, *range(21, 31)]) as killed,
        _bot(library, "b", db.url, simulator.url, [*SHARED, *range(31, 41)]) as other,
    ):
        for bot in (killed, other):
            assert bot.stdout is not None
            assert await bot.stdout.readline() == b"ready\n"
        db.execute(
            "INSERT INTO outbox.message (chat_id, payload)"
            " SELECT 10 + i % 30, jsonb_build_object('text', 'queue:' || i) FROM generate_series(1, 300) i"
        )
        for bot in (killed, other):
            assert bot.stdin is not None
            bot.stdin.write(b"\n")
            await bot.stdin.drain()
        async with asyncio.timeout(60):
            while not _all_have_sent(await simulator.log()):
                await asyncio.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        killed_at = time.time()
        await asyncio.sleep(ALONE_S)
        assert other.returncode is None
        record = Record(await simulator.stats(), await simulator.log(), killed_at)
    assert await other.wait() == 0
    return record


@contextlib.asynccontextmanager
async def _bot(library: str, name: str, database_url: str, api_url: str, chats: list[int]) -> AsyncIterator[Process]:
    arguments = [library, name, database_url, api_url, *map(str, chats)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.limit.bot_process", *arguments, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        await stop_process(process)
