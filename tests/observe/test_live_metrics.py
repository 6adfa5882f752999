"""What a monitor reads from a running process: metrics of a worker, numbers of the database, health."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from outbox.operate.stage import TOKEN, Simulator, simulator_process, stop_process
from tests.conftest import Database
from tests.grafana.conftest import known_names

DEADLINE_S = 60.0


class Watched:
    """A process that is scraped."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    async def get(self, path: str = "/metrics", **headers: str) -> tuple[int, str]:
        address = self.url.removesuffix("/metrics") + path
        async with aiohttp.ClientSession() as client, client.get(address, headers=headers) as answer:
            return answer.status, await answer.text()

    async def shows(self, name: str, **labels: str) -> float:
        """Scrape until a sample is there; return its value."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                _, text = await self.get()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        if sample.name == name and labels.items() <= sample.labels.items():
                            return float(sample.value)
                await asyncio.sleep(0.2)


@pytest.fixture
async def telegram() -> AsyncIterator[Simulator]:
    async with simulator_process() as running:
        yield running


@pytest.fixture
async def worker(db: Database, telegram: Simulator) -> AsyncIterator[Watched]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")} | {
        "OUTBOX_DATABASE_URL": db.url,
        "OUTBOX_API_URL": telegram.url,
        "OUTBOX_TOKEN": TOKEN,
        "OUTBOX_METRICS_ADDR": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outbox", "worker", "--name", "w1", "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            said = json.loads(await process.stdout.readline())
        yield Watched(process, said["metrics"])
    finally:
        await stop_process(process)


def insert(db: Database, **more: Any) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, correlation_id) VALUES ('42', '{\"text\": \"hi\"}', 'order-7')"
    )


async def test_what_was_sent_is_counted_and_its_correlation_id_is_an_exemplar(db: Database, worker: Watched) -> None:
    insert(db)
    assert await worker.shows("outbox_messages_sent_total", bot="default", method="sendMessage") == 1
    _, text = await worker.get(Accept="application/openmetrics-text; version=1.0.0")
    assert 'correlation_id="order-7"' in text
    assert text.endswith("# EOF\n")


async def test_who_keeps_house_shows_the_numbers_of_the_database(db: Database, worker: Watched) -> None:
    insert(db)
    assert await worker.shows("outbox_workers_alive") == 1
    assert await worker.shows("outbox_limit_messages_per_second", bot="default") == 30


async def test_every_name_is_one_that_dashboards_may_ask_for_and_promtool_likes_it(worker: Watched) -> None:
    await worker.shows("outbox_workers_alive")
    _, text = await worker.get()
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    ours = {name for name in names if name.startswith("outbox_") and not name.endswith("_created")}
    assert ours <= known_names()
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: Debian has it in prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    ours_only = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("outbox_")]
    assert ours_only == []


async def test_a_bot_token_is_in_no_metric(db: Database, worker: Watched) -> None:
    insert(db)
    await worker.shows("outbox_messages_sent_total")
    _, text = await worker.get()
    assert TOKEN.split(":")[1] not in text


async def test_a_worker_that_claims_is_ready(worker: Watched) -> None:
    assert (await worker.get("/healthz")) == (200, "ok\n")
    async with asyncio.timeout(DEADLINE_S):
        while (await worker.get("/readyz"))[0] != 200:
            await asyncio.sleep(0.1)
    _, text = await worker.get("/readyz")
    assert text.splitlines()[0] == "ok database: reachable, schema at head"


async def test_a_worker_whose_schema_is_gone_is_alive_and_not_ready(db: Database, worker: Watched) -> None:
    db.execute("DELETE FROM outbox.release")
    status, text = await worker.get("/readyz")
    assert status == 503
    assert "NOT database: its schema is older than this process: run outbox migrate" in text
    assert (await worker.get("/healthz"))[0] == 200


async def test_a_stop_ends_the_door_too(worker: Watched) -> None:
    worker.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        assert await worker.process.wait() == 0
    with pytest.raises(aiohttp.ClientConnectorError):
        await worker.get("/healthz")
