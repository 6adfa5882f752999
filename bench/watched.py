"""A worker process whose watching is switched on or off, and nothing else: python -m bench.watched on|off NAME.

on: metrics at a free port, sampled log lines as JSON to stderr, as `outbox worker` has them. off: nobody listens to its
events. Its first line on stdout is a JSON object: the URL of /metrics, or null.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from pydantic import SecretStr

from outbox.deliver.worker import Worker, run_worker
from outbox.observe.logs import EventLog, set_up_logs
from outbox.observe.monitor import Monitor
from outbox.observe.sampling import Sampler
from outbox.operate.stage import TOKEN
from outbox.settings import Address


async def _work(*, watched: bool, name: str) -> None:
    options: dict[str, Any] = {"name": name}
    database_url, api_url = os.environ["OUTBOX_DATABASE_URL"], os.environ["OUTBOX_API_URL"]
    tokens = {"default": SecretStr(TOKEN)}
    if not watched:
        print(json.dumps({"metrics": None}), flush=True)
        await run_worker(Worker(database_url, tokens, api_url, **options))
        return
    set_up_logs("json")
    monitor = Monitor(name, also=EventLog(name, sampler=Sampler()))
    worker = Worker(database_url, tokens, api_url, emit=monitor, **options)
    async with monitor.watch(Address("127.0.0.1", 0), worker.connections, worker, name) as url:
        print(json.dumps({"metrics": url}), flush=True)
        await run_worker(worker)


if __name__ == "__main__":
    asyncio.run(_work(watched=sys.argv[1] == "on", name=sys.argv[2]))
