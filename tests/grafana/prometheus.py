"""A Prometheus of a test: scrapes each second, loads the alerts, answers queries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

DEADLINE_S: Final = 60.0
SCRAPE_S: Final = 1


class Prometheus:
    """A running one."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. One that fails raises AssertionError with Prometheus' own words."""
        async with self._session.post(f"{self.url}/api/v1/query", data={"query": expression}) as answer:
            said = json.loads(await answer.text())
        assert said["status"] == "success", f"{expression}\n{said.get('error')}"
        return list(said["data"]["result"])

    async def until(self, expression: str) -> None:
        """Wait until a query gives something."""
        async with asyncio.timeout(DEADLINE_S):
            while not await self.ask(expression):
                await asyncio.sleep(0.5)

    async def firing(self) -> dict[str, str]:
        """Return the alerts that fire, with their severity."""
        async with self._session.get(f"{self.url}/api/v1/alerts") as answer:
            said = json.loads(await answer.text())
        return {
            alert["labels"]["alertname"]: alert["labels"]["severity"]
            for alert in said["data"]["alerts"]
            if alert["state"] == "firing"
        }


@contextlib.asynccontextmanager
async def prometheus(folder: Path, rules: Path, targets: Sequence[str]) -> AsyncIterator[Prometheus]:
    """Run one that scrapes `targets` (host:port). Skips the test where Prometheus is missing."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is missing: Debian has it in prometheus")
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "outbox", "static_configs": [{"targets": list(targets)}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config), encoding="utf-8")
    port = unused_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            running = Prometheus(f"http://127.0.0.1:{port}", session)
            async with asyncio.timeout(DEADLINE_S):
                while not await _is_ready(session, running.url):
                    await asyncio.sleep(0.1)
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
