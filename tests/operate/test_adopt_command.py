"""Workers as processes on a copy, and `outbox adopt`, which says what becomes of the copy's messages."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outbox.operate.stage import Simulator, simulator_process, stop_process

FIRST = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
SECOND = "1000002:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
DEADLINE_S = 30.0


@pytest.fixture
async def telegram() -> AsyncIterator[Simulator]:
    async with simulator_process() as simulator:
        yield simulator


def _environment(db: Any, **variables: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
    return environment | {"OUTBOX_DATABASE_URL": db.url, "OUTBOX_TOKEN": FIRST} | variables


def _adopt(db: Any, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "outbox", "adopt", *options],
        env=_environment(db, **variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


async def _start_worker(db: Any, telegram: Simulator, *command: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "outbox", *(command or ("worker", "--name", "w"))),
        env=_environment(db, OUTBOX_API_URL=telegram.url, **variables),
        stderr=asyncio.subprocess.PIPE,
    )


async def _end_of(worker: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(DEADLINE_S):
        _, said = await worker.communicate()
    assert worker.returncode is not None
    return worker.returncode, said.decode()


def _insert(db: Any, text: str, chat_id: int) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload) VALUES (%s, jsonb_build_object('text', %s::text))",
        [chat_id, text],
    )


def _left(db: Any) -> int:
    [(left,)] = db.execute("SELECT count(*) FROM outbox.message")
    return int(left)


async def _texts(telegram: Simulator) -> list[str]:
    return sorted(call["text"] for call in await telegram.log() if call["text"] is not None)


async def _until_gone(db: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while _left(db):
            await asyncio.sleep(0.05)


def _remember(db: Any, telegram_id: int = 1000001) -> None:
    """What a first worker leaves behind."""
    db.execute(
        "SELECT * FROM outbox.check_identity('default', jsonb_build_object('default', %s::bigint))", [telegram_id]
    )


@pytest.mark.parametrize("command", ["worker", "up"])
@pytest.mark.parametrize("variables", [{"OUTBOX_ENVIRONMENT": "staging"}, {"OUTBOX_TOKEN": SECOND}])
async def test_a_worker_of_another_identity_refuses_in_one_line_and_sends_nothing(
    db: Any, telegram: Simulator, command: str, variables: dict[str, str]
) -> None:
    _remember(db)
    _insert(db, "of the original", 1)
    code, said = await _end_of(
        await _start_worker(db, telegram, command, OUTBOX_ADMIN_ADDR="off", OUTBOX_METRICS_ADDR="off", **variables)
    )
    assert code == 1
    assert len(said.strip().splitlines()) == 1, said
    assert "outbox adopt --send" in said
    assert "outbox adopt --hold" in said
    if "OUTBOX_TOKEN" in variables:
        assert "the id of bot 'default' was 1000001 and is 1000002" in said
        assert SECOND.partition(":")[2] not in said
    else:
        assert "environment was default and is staging" in said
    assert await telegram.log() == []
    assert db.execute("SELECT count(*) FROM outbox.worker") == [(0,)]
    assert _left(db) == 1


async def test_held_at_adoption_only_what_came_later_is_sent(db: Any, telegram: Simulator) -> None:
    _remember(db)
    _insert(db, "of the original", 1)
    variables = {"OUTBOX_ENVIRONMENT": "staging", "OUTBOX_TOKEN": SECOND}
    dry = _adopt(db, "--hold", "--dry-run", **variables)
    assert dry.returncode == 0, dry.stderr
    assert "environment was default and is staging" in dry.stdout
    assert "1 messages wait and would be held; nothing was changed" in dry.stdout
    assert _left(db) == 1
    done = _adopt(db, "--hold", **variables)
    assert done.returncode == 0, done.stderr
    assert "1 messages are held" in done.stdout
    assert SECOND.partition(":")[2] not in done.stdout + done.stderr
    worker = await _start_worker(db, telegram, **variables)
    try:
        _insert(db, "of the copy", 1)
        await _until_gone(db)
        alive = _adopt(db, "--send", **variables)
        assert alive.returncode == 1
        assert alive.stderr.startswith("outbox: worker w is alive")
        assert len(alive.stderr.strip().splitlines()) == 1
    finally:
        assert await stop_process(worker) == 0
    assert await _texts(telegram) == ["of the copy"]
    assert db.execute("SELECT status, error_class, count(*) FROM outbox.history GROUP BY 1, 2 ORDER BY 1") == [
        ("sent", None, 1),
        ("uncertain", "adopted", 1),
    ]


async def test_sent_at_adoption_everything_goes(db: Any, telegram: Simulator) -> None:
    _remember(db, telegram_id=5)
    _insert(db, "moved here", 1)
    assert _adopt(db, "--send").returncode == 0
    worker = await _start_worker(db, telegram)
    try:
        await _until_gone(db)
    finally:
        assert await stop_process(worker) == 0
    assert await _texts(telegram) == ["moved here"]


@pytest.mark.parametrize("options", [(), ("--send", "--hold")])
def test_adopt_does_not_decide_by_itself_what_becomes_of_the_messages(db: Any, options: tuple[str, ...]) -> None:
    _remember(db, telegram_id=5)
    refused = _adopt(db, *options)
    assert refused.returncode == 2
    assert refused.stderr.startswith("outbox: adopt needs one of --send and --hold.")
    assert db.execute("SELECT telegram_id FROM outbox.bot") == [(5,)]


async def test_a_test_system_writes_to_the_chats_it_may_write_to_alone(db: Any, telegram: Simulator) -> None:
    _insert(db, "to a developer", 42)
    _insert(db, "to a customer", 43)
    worker = await _start_worker(db, telegram, OUTBOX_ONLY_CHATS="42, @testers")
    try:
        await _until_gone(db)
    finally:
        assert await stop_process(worker) == 0
    assert await _texts(telegram) == ["to a developer"]
    assert db.execute("SELECT chat_id, status, error_class, attempts FROM outbox.history ORDER BY chat_id") == [
        ("42", "sent", None, 1),
        ("43", "discarded", "not_allowed", 0),
    ]
