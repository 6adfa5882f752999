"""One process at a time reads the numbers of the database, over a connection that only it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from outbox.deliver.connections import POOLED_CONNECTIONS, Connections
from outbox.observe import exporter
from outbox.observe.exporter import Exporter
from outbox.observe.gauges import DatabaseGauges
from tests.conftest import Database

DEADLINE_S = 30.0


class Process:
    """What shows them in one process."""

    def __init__(self, gauges: DatabaseGauges, exporter: Exporter) -> None:
        self.gauges = gauges
        self.exporter = exporter
        self.reading = asyncio.create_task(exporter.read_for_ever())

    async def stop(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        await self.exporter.leave()

    def shows(self) -> bool:
        return any(family.name == "outbox_workers_alive" for family in self.gauges.collect())


@contextlib.asynccontextmanager
async def process(
    db: Database, name: str, *, scraped: bool = True, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[Process]:
    connections = Connections(db.url, name)
    await connections.open()
    gauges = DatabaseGauges()
    running = Process(gauges, Exporter(gauges, connections, name, now))
    if scraped:
        running.exporter.note_scrape()
    try:
        yield running
    finally:
        await running.stop()
        await connections.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.02)


def connections_of(db: Database, name: str) -> int:
    [(count,)] = db.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name])
    return int(count)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "READ_EVERY_S", 0.05)


async def test_another_process_takes_over_when_the_exporter_leaves_and_only_one_keeps_a_connection(
    db: Database,
) -> None:
    async with process(db, "a") as first:
        await until(first.shows)
        async with process(db, "b") as second:
            await until(lambda: connections_of(db, "b") == POOLED_CONNECTIONS)
            assert not second.shows()
            assert connections_of(db, "a") == POOLED_CONNECTIONS + 1
            await first.stop()
            await until(second.shows)
            assert connections_of(db, "b") == POOLED_CONNECTIONS + 1
            assert connections_of(db, "a") == POOLED_CONNECTIONS


async def test_an_exporter_that_was_overtaken_shows_nothing_more(db: Database) -> None:
    async with process(db, "a") as first:
        await until(first.shows)
        db.execute("UPDATE outbox.housekeeping SET holder = 'b' WHERE duty = 'exporter'")
        await until(lambda: not first.shows())


async def test_a_broken_connection_is_made_anew(db: Database) -> None:
    async with process(db, "a") as first:
        await until(first.shows)
        first.gauges.drop()
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'a'")
        await until(first.shows)


async def test_a_process_that_nobody_scrapes_takes_no_part(db: Database) -> None:
    async with process(db, "a", scraped=False) as unseen, process(db, "b") as seen:
        await until(seen.shows)
        assert not unseen.shows()
        await seen.stop()
        unseen.exporter.note_scrape()
        await until(unseen.shows)


async def test_an_exporter_that_is_scraped_no_more_leaves_it_to_another(db: Database) -> None:
    now = [1000.0]
    async with process(db, "a", now=lambda: now[0]) as first, process(db, "b") as second:
        await until(lambda: first.shows() or second.shows())
        if second.shows():
            await second.stop()
            await until(first.shows)
            second.reading = asyncio.create_task(second.exporter.read_for_ever())
        now[0] += exporter.SCRAPED_WITHIN_S + 1
        await until(second.shows)
        assert not first.shows()


async def test_a_process_that_stops_while_it_takes_the_numbers_shows_none_of_them_after(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, may_end = threading.Event(), threading.Event()
    take = DatabaseGauges.take

    def take_slowly(self: DatabaseGauges, *arguments: Any) -> None:
        taking.set()
        may_end.wait(DEADLINE_S)
        take(self, *arguments)

    monkeypatch.setattr(DatabaseGauges, "take", take_slowly)
    async with process(db, "a") as only:
        await until(taking.is_set)
        stopping = asyncio.create_task(only.stop())
        asyncio.get_running_loop().call_later(0.3, may_end.set)  # long after a stop that does not wait has ended
        await stopping
        assert not only.shows()
