"""outbox up: one process that migrates, delivers and keeps house."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from outbox.operate.stage import TOKEN, Simulator, simulator_process, stop_process

DEADLINE_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that `nobody`, who runs root's PostgreSQL, can enter; tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="outbox-test-up-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


async def start_up(**variables: str) -> asyncio.subprocess.Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox", "up", env=environment | variables, stderr=asyncio.subprocess.PIPE
    )


async def say_until(process: asyncio.subprocess.Process, word: str) -> str:
    """Read what it says until a line holds the word."""
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(DEADLINE_S):
        while line := (await process.stderr.readline()).decode():
            said += line
            if word in line:
                break
    assert word in said, said
    return said


async def arrived(telegram: Simulator, texts: set[str]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while {call["text"] for call in await telegram.log()} & texts != texts:
            await asyncio.sleep(0.05)


async def test_up_into_an_existing_database_migrates_and_delivers(empty_db):
    async with simulator_process() as telegram:
        process = await start_up(OUTBOX_DATABASE_URL=empty_db.url, OUTBOX_API_URL=telegram.url, OUTBOX_TOKEN=TOKEN)
        try:
            await say_until(process, "started")
            empty_db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
            await arrived(telegram, {"hi"})
        finally:
            assert await stop_process(process) == 0
    assert empty_db.execute("SELECT status FROM outbox.history") == [("sent",)]


async def test_up_with_nothing_configured_says_where_it_keeps_the_data_and_what_is_missing(folder):
    process = await start_up(OUTBOX_DATA_DIR=str(folder))
    try:
        said = await say_until(process, "keeps house")
        assert str(folder) in said
        assert "Set OUTBOX_TOKEN" in said
    finally:
        assert await stop_process(process) == 0


async def test_two_ups_that_start_at_once_share_the_embedded_server(folder):
    async with simulator_process() as telegram:
        variables = {"OUTBOX_DATA_DIR": str(folder), "OUTBOX_API_URL": telegram.url, "OUTBOX_TOKEN": TOKEN}
        processes = await asyncio.gather(start_up(**variables), start_up(**variables))
        try:
            await asyncio.gather(*(say_until(process, "started") for process in processes))
            url = await database_url_of(folder)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (1, \'{"text": "once"}\')')
            await arrived(telegram, {"once"})
        finally:
            assert [await stop_process(process) for process in processes] == [0, 0]
        assert [call["text"] for call in await telegram.log() if call["text"]] == ["once"]
    # The last one stopped the server.
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()


async def database_url_of(folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "outbox", "db", "url"),
        env=environment | {"OUTBOX_DATA_DIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode().strip()
