"""The page of `outbox up`: beside the worker in one process, and what happens where it cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp.test_utils import unused_port

from outbox.database.embedded import EmbeddedServer
from outbox.operate.stage import TOKEN, simulator_process

DEADLINE_S = 60.0  # the first start makes a PostgreSQL, on a machine that others use too


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that `nobody`, who runs root's PostgreSQL, can enter; tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="outbox-test-page-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


class Up:
    """`outbox up` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.said = ""

    async def hears(self, words: str) -> None:
        """Read what it says until these words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while words not in self.said and (line := await self.process.stderr.readline()):
                self.said += line.decode()
        assert words in self.said, self.said

    async def ends(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            _, err = await self.process.communicate()
        self.said += err.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            assert answer.status == 200
            return await answer.text()


@pytest.fixture
async def start() -> AsyncIterator[Any]:
    started: list[Up] = []

    async def start_one(*arguments: str, **variables: str) -> Up:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")}
        port = unused_port()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *(arguments or ("-m", "outbox", "up"))),
            env=environment | {"OUTBOX_ADMIN_ADDR": f"127.0.0.1:{port}", "OUTBOX_METRICS_ADDR": "off"} | variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(Up(process, port))
        return started[-1]

    yield start_one
    for up in started:
        if up.process.returncode is None:
            up.process.kill()
            await up.process.communicate()


async def test_with_nothing_configured_the_page_is_there_and_ctrl_c_leaves_nothing(start: Any, folder: Path) -> None:
    up = await start(OUTBOX_DATA_DIR=str(folder))
    await up.hears("the page is at")
    assert f"http://127.0.0.1:{up.port}/" in up.said
    page = await up.get("/")
    assert "Nothing waits" in page
    assert await up.ends(signal.SIGINT) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", up.port), timeout=1).close()
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()
    mine = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in _read(path)]
    assert mine == []
    assert [path for path in folder.rglob("*") if path.is_socket() or path.suffix == ".pid"] == []


async def test_it_delivers_and_shows_it_in_one_process(db: Any, start: Any) -> None:
    async with simulator_process() as telegram:
        up = await start(OUTBOX_DATABASE_URL=db.url, OUTBOX_API_URL=telegram.url, OUTBOX_TOKEN=TOKEN)
        await up.hears("started")
        db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
        async with asyncio.timeout(DEADLINE_S):
            while db.execute("SELECT status FROM outbox.history") != [("sent",)]:
                await asyncio.sleep(0.05)
        page = await up.get("/messages?status=sent")
        assert ">42<" in page
        assert await up.ends(signal.SIGTERM) == 0
        assert TOKEN not in up.said


async def test_a_second_signal_ends_it_at_once_and_leaves_nothing_either(start: Any, folder: Path) -> None:
    async with simulator_process("--answer-ms", "5000") as telegram:
        variables = {"OUTBOX_DATA_DIR": str(folder), "OUTBOX_API_URL": telegram.url, "OUTBOX_TOKEN": TOKEN}
        up = await start(**variables)
        await up.hears("started")
        with psycopg.connect(EmbeddedServer(folder).url, autocommit=True) as connection:
            connection.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
        async with asyncio.timeout(DEADLINE_S):
            while "sendMessage" not in [call["method"] for call in await telegram.log()]:
                await asyncio.sleep(0.05)
        # In flight, so that the first one alone would take the grace period.
        up.process.send_signal(signal.SIGINT)
        assert await up.ends(signal.SIGTERM) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()


async def test_a_browser_that_stays_does_not_hold_up_the_end(db: Any, start: Any) -> None:
    up = await start(OUTBOX_DATABASE_URL=db.url)
    await up.hears("the page is at")
    _, writer = await asyncio.open_connection("127.0.0.1", up.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and never the rest
    await writer.drain()
    began_s = time.monotonic()
    assert await up.ends(signal.SIGTERM) == 0
    assert time.monotonic() - began_s < 10
    writer.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
async def test_it_refuses_to_let_everybody_in(start: Any, folder: Path, host: str) -> None:
    up = await start(OUTBOX_DATA_DIR=str(folder), OUTBOX_ADMIN_ADDR=f"{host}:{unused_port()}")
    assert await up.ends() == 2
    assert "OUTBOX_ADMIN_PASSWORD" in up.said
    assert len(up.said.strip().splitlines()) == 1, up.said
    assert list(folder.iterdir()) == [], "it is refused before anything is made"


async def test_a_port_that_was_asked_for_and_is_taken_is_said_in_one_line(db: Any, start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up = await start(OUTBOX_DATABASE_URL=db.url, OUTBOX_ADMIN_ADDR=f"127.0.0.1:{port}")
        assert await up.ends() == 2
    assert f"OUTBOX_ADMIN_ADDR 127.0.0.1:{port} is taken by another program. Set OUTBOX_ADMIN_ADDR" in up.said


async def test_a_second_one_beside_the_default_port_goes_on_without_a_page(db: Any, start: Any) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8480))
            other.listen()
        except OSError:
            pass  # somebody has it already, which is all that this test needs
        up = await start(OUTBOX_DATABASE_URL=db.url, OUTBOX_ADMIN_ADDR="")
        await up.hears("keeps house")
        assert "no page: OUTBOX_ADMIN_ADDR 127.0.0.1:8480 is taken" in up.said
        assert await up.ends(signal.SIGTERM) == 0


async def test_without_jinja2_one_line_says_how_to_get_the_page_and_the_rest_goes_on(
    db: Any, start: Any, tmp_path: Path
) -> None:
    without = tmp_path / "without_jinja2.py"
    without.write_text(
        "import importlib.util, sys\n"
        "sys.modules['jinja2'] = None\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'jinja2' else found(name, package)\n"
        "from outbox.operate.cli import main\n"
        "main()\n"
    )
    up = await start(str(without), "up", OUTBOX_DATABASE_URL=db.url)
    await up.hears("keeps house")
    assert "pip install Jinja2" in up.said
    assert "Traceback" not in up.said
    assert await up.ends(signal.SIGTERM) == 0


@pytest.mark.parametrize("address", ["on", "off"])
async def test_as_json_stdout_says_once_where_it_is_and_every_log_line_is_json(
    db: Any, start: Any, address: str
) -> None:
    off = {"OUTBOX_ADMIN_ADDR": "off"} if address == "off" else {}
    up = await start("-m", "outbox", "up", "--json", OUTBOX_DATABASE_URL=db.url, **off)
    async with asyncio.timeout(DEADLINE_S):
        said = json.loads(await up.process.stdout.readline())
    page = None if off else f"http://127.0.0.1:{up.port}/"
    assert said == {"page": page, "metrics": None, "worker": None, "bots": []}
    await up.hears("keeps house")
    if page:
        assert "Nothing waits" in await up.get("/")
    assert await up.ends(signal.SIGTERM) == 0
    events = [json.loads(line)["event"] for line in up.said.splitlines()]
    assert events[0].startswith("no bot token is set, so messages wait.")


async def test_a_worker_as_json_says_once_that_it_has_started(db: Any, start: Any) -> None:
    async with simulator_process() as telegram:
        variables = {"OUTBOX_DATABASE_URL": db.url, "OUTBOX_API_URL": telegram.url, "OUTBOX_TOKEN": TOKEN}
        worker = await start("-m", "outbox", "worker", "--name", "w1", "--json", **variables)
        async with asyncio.timeout(DEADLINE_S):
            assert json.loads(await worker.process.stdout.readline()) == {
                "worker": "w1",
                "bots": ["default"],
                "metrics": None,
            }
        assert await worker.ends(signal.SIGTERM) == 0
    assert "started" in [json.loads(line)["event"] for line in worker.said.splitlines()]


async def test_a_worker_whose_database_was_never_migrated_says_what_to_run(empty_db: Any, start: Any) -> None:
    async with simulator_process() as telegram:
        variables = {"OUTBOX_DATABASE_URL": empty_db.url, "OUTBOX_API_URL": telegram.url, "OUTBOX_TOKEN": TOKEN}
        worker = await start("-m", "outbox", "worker", **variables)
        await worker.hears("the schema is older than this program: run outbox migrate")
        assert await worker.ends(signal.SIGTERM) == 0


async def test_a_worker_that_shall_serve_no_bot_is_told_so(start: Any) -> None:
    worker = await start("-m", "outbox", "worker", "--bots", ",", OUTBOX_TOKEN=TOKEN)
    assert await worker.ends() == 2
    assert worker.said == "outbox: --bots names no bot. Leave it out to serve all that have a token.\n"


async def test_a_worker_of_a_bot_without_a_token_is_told_where_it_can_stand(start: Any) -> None:
    worker = await start("-m", "outbox", "worker", "--bots", "my-bot", OUTBOX_TOKEN=TOKEN)
    assert await worker.ends() == 2
    assert 'Set a line my-bot = "123:ABC" in OUTBOX_TOKENS_FILE' in worker.said


async def test_a_simulator_as_json_says_where_it_listens(start: Any) -> None:
    simulator = await start("-m", "outbox", "simulator", "--json", "--port", "0")
    async with asyncio.timeout(DEADLINE_S):
        said = json.loads(await simulator.process.stdout.readline())
    assert said["url"].startswith("http://127.0.0.1:")
    assert await simulator.ends(signal.SIGTERM) == 0


async def test_off_means_no_page(db: Any, start: Any) -> None:
    up = await start(OUTBOX_DATABASE_URL=db.url, OUTBOX_ADMIN_ADDR="off")
    await up.hears("keeps house")
    assert "page" not in up.said
    assert await up.ends(signal.SIGTERM) == 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""
