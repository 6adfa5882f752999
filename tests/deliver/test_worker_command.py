"""`outbox worker` as a process: what it asks for, how it ends, what it never prints."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from outbox.simulator.server import Running

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
ROOT = Path(__file__).parents[2]


async def _start(**variables: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")} | variables
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "outbox",
        "worker",
        "--verbose",
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _end(worker: asyncio.subprocess.Process) -> tuple[int, str]:
    async with asyncio.timeout(20):
        out, err = await worker.communicate()
    assert worker.returncode is not None
    return worker.returncode, (out + err).decode()


async def _until_sent(db: Any, count: int) -> None:
    async with asyncio.timeout(20):
        while db.execute("SELECT count(*) FROM outbox.history WHERE status = 'sent'") != [(count,)]:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"OUTBOX_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}, "OUTBOX_TOKEN"),
        ({"OUTBOX_TOKEN": f"1:{SECRET}"}, "OUTBOX_DATABASE_URL"),
    ],
)
async def test_what_is_missing_is_named_in_one_line(variables: dict[str, str], names: str) -> None:
    code, text = await _end(await _start(**variables))
    assert code == 2
    assert names in text
    assert len(text.strip().splitlines()) == 1, text
    assert SECRET not in text


@pytest.mark.parametrize("form", ["console", "json"])
async def test_sigterm_ends_it_with_0_and_no_output_holds_the_bot_token(db: Any, simulator: Running, form: str) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage", "count": 1}, "reset": "after"}])
    db.execute("SELECT outbox.set_bot('default', p_backoff_initial_s => 0.05)")
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text":"hi"}\')')
    worker = await _start(
        OUTBOX_DATABASE_URL=db.url, OUTBOX_TOKEN=f"1:{SECRET}", OUTBOX_API_URL=simulator.url, OUTBOX_LOG=form
    )
    await _until_sent(db, 1)
    worker.send_signal(signal.SIGTERM)
    code, text = await _end(worker)
    assert code == 0, text
    assert "connection_lost" in text
    assert "stopped" in text
    assert SECRET not in text
    assert db.execute("SELECT count(*) FROM outbox.worker WHERE ended_at IS NULL") == [(0,)]


async def test_a_second_signal_ends_it_at_once(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage"}, "hang": True}])
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text":"hi"}\')')
    worker = await _start(OUTBOX_DATABASE_URL=db.url, OUTBOX_TOKEN=f"1:{SECRET}", OUTBOX_API_URL=simulator.url)
    async with asyncio.timeout(20):
        while not simulator.ledger.in_flight.most:
            await asyncio.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert worker.returncode is None, "the call in flight has its grace period"
    worker.send_signal(signal.SIGTERM)
    async with asyncio.timeout(2):
        code, _ = await _end(worker)
    assert code == 128 + signal.SIGTERM
