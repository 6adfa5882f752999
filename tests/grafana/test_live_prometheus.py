"""Every query of every dashboard and alert, asked of a Prometheus that scrapes a worker in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from outbox.operate.stage import TOKEN, simulator_process, stop_process
from tests.conftest import Database
from tests.grafana.conftest import DASHBOARDS, names, panels
from tests.grafana.prometheus import Prometheus, prometheus
from tests.grafana.test_alerts import RULES, rules

# Expected empty, and why.
EMPTY_WHEN_WELL: Final = {
    "outbox_slots_unused_total": "every lane that was claimed was sent",
    "outbox_database_failures_total": "no call to the database failed",
}
FAULTS: Final = [
    {"match": {"chat": 1001, "count": 1}, "effect": "flood", "retry_after_s": 1},
    {"match": {"chat": 1002, "count": 1}, "effect": "status", "status": 502},
    {"match": {"chat": 1005, "count": 1}, "effect": "status", "status": 503},
    {"match": {"chat": 1003, "count": 1}, "effect": "reset", "when": "after"},
    {"match": {"chat": 1004}, "effect": "status", "status": 400, "description": "Bad Request: message text is empty"},
]
VARIABLES: Final = {"$__rate_interval": "10s", "$__interval": "5s", "$__range": "1m", "$bot": ".*", "$job": "outbox"}


@pytest.fixture
async def monitored(db: Database, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that has watched a worker send, be refused, retry and give up."""
    db.execute("SELECT outbox.set_bot('default', p_backoff_initial_s => 0.1)")
    async with simulator_process() as telegram:
        await telegram.add_faults(FAULTS)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")} | {
            "OUTBOX_DATABASE_URL": db.url,
            "OUTBOX_API_URL": telegram.url,
            "OUTBOX_TOKEN": TOKEN,
            "OUTBOX_METRICS_ADDR": "127.0.0.1:0",
        }
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", "worker", "--name", "w1", "--json"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert worker.stdout is not None
            said = json.loads(await worker.stdout.readline())
            async with prometheus(tmp_path, RULES, [urlsplit(said["metrics"]).netloc]) as running:
                insert(db, 20)
                await running.until('outbox_messages_ended_total{status="dead"}')
                insert(db, 10)
                # A rate needs two scrapes of what has moved, and housekeeping counts every 15 s.
                await running.until('increase(outbox_messages_ended_total{status="sent"}[1m]) > 0')
                yield running
        finally:
            await stop_process(worker)


def insert(db: Database, count: int) -> None:
    db.execute(
        'INSERT INTO outbox.message (chat_id, payload) SELECT (1000 + n)::text, \'{"text": "hi"}\''
        " FROM generate_series(1, %s::int) n",
        [count],
    )


def filled_in(expression: str) -> str:
    """An expression with Grafana's variables in place."""
    return re.sub(r"\$[a-z_]+", lambda found: VARIABLES[found[0]], expression)


async def test_every_query_of_every_panel_shows_something_and_every_alert_can_be_reckoned(
    monitored: Prometheus,
) -> None:
    asked = [
        (path.stem, panel["title"], target["expr"])
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
        if "expr" in target
    ]
    assert len(asked) > 50
    silent = [one for one in asked if not await monitored.ask(filled_in(one[2]))]
    assert [one for one in silent if not names(one[2]) & set(EMPTY_WHEN_WELL)] == []
    unknown = set()
    for rule in rules():
        await monitored.ask(rule["expr"])
        unknown |= {name for name in names(rule["expr"]) if not await monitored.ask(f"count({name})")}
    assert unknown - set(EMPTY_WHEN_WELL) == set()
    # Made once, because it takes half a minute: a few failures wake nobody up.
    firing = await monitored.firing()
    assert "critical" not in firing.values(), firing
