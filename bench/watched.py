"""A worker that is watched in turns: python -m bench.watched NAME SECONDS

Every second its events go to the metrics and the sampled log, or to nobody, in turn, and the processor time of each
second is noted; /metrics is scraped by nobody meanwhile. Then, with no message on the way, it answers scrapes and reads
the database's numbers, each time a line comes on stdin. Its lines on stdout are JSON: the seconds, each with is_on,
cpu_s and sent; the URL of /metrics; then the worker's cpu_s of a scrape, and of a read.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any, Final

from pydantic import SecretStr

from outbox.deliver import events
from outbox.deliver.worker import Worker
from outbox.observe.exporter import Exporter
from outbox.observe.gauges import DatabaseGauges
from outbox.observe.logs import EventLog, set_up_logs
from outbox.observe.monitor import Monitor
from outbox.observe.sampling import PER_S, Sampler
from outbox.operate.stage import TOKEN
from outbox.settings import Address

WARM_S: Final = 5.0
TURN_S: Final = 1.0
SCRAPES: Final = 50
READS: Final = 50


class Turns:
    """What the worker emits to."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.is_on = False
        self.sent = 0

    def __call__(self, event: events.Event) -> None:
        if type(event) is events.Sent:
            self.sent += 1
        if self.is_on:
            self._monitor(event)

    async def take(self, seconds: float) -> list[dict[str, Any]]:
        """Switch to and fro; one line per second."""
        lines = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.is_on = not self.is_on
            cpu_s, sent = time.process_time(), self.sent
            await asyncio.sleep(TURN_S)
            if self.is_on:
                self._monitor.count_now()  # what waits to be counted belongs to this turn
            lines.append({"is_on": self.is_on, "cpu_s": time.process_time() - cpu_s, "sent": self.sent - sent})
        self.is_on = True
        return lines


async def _work(name: str, seconds: float) -> None:
    set_up_logs("json")
    # Half as many a second: what it leaves unused in the seconds without comes on top in those with it.
    turns = Turns(Monitor(name, also=EventLog(name, sampler=Sampler(per_s=PER_S / 2))))
    worker = Worker(
        os.environ["OUTBOX_DATABASE_URL"],
        {"default": SecretStr(TOKEN)},
        os.environ["OUTBOX_API_URL"],
        name=name,
        emit=turns,
    )
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.sleep(WARM_S)
        print(json.dumps(await turns.take(seconds)), flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # nothing is on its way
        async with turns._monitor.watch(Address("127.0.0.1", 0), worker.connections, worker, name) as url:
            print(json.dumps(url), flush=True)
            cpu_s = time.process_time()
            await asyncio.to_thread(sys.stdin.readline)  # scraped so often
            print(json.dumps((time.process_time() - cpu_s) / SCRAPES), flush=True)
        reader = Exporter(DatabaseGauges(), worker.connections, name)
        await reader.read()
        for _ in range(2):  # of nothing, then of what is to be measured
            await asyncio.to_thread(sys.stdin.readline)
            cpu_s = time.process_time()
            for _ in range(READS):
                await reader.read()
            print(json.dumps((time.process_time() - cpu_s) / READS), flush=True)
        await reader.leave()
    finally:
        worker.stop()
        await running


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], float(sys.argv[2])))
