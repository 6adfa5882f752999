"""One process at a time reads the numbers of the database, over a connection that only it keeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from outbox.deliver.connections import Connections
from outbox.observe import exporter
from outbox.observe.exporter import Exporter
from outbox.observe.gauges import DatabaseGauges
from tests.conftest import Database

DEADLINE_S = 30.0


class Process:
    """What shows them in one process."""

    def __init__(self, gauges: DatabaseGauges, reading: asyncio.Task[None]) -> None:
        self.gauges = gauges
        self.reading = reading

    def shows(self) -> bool:
        return any(family.name == "outbox_workers_alive" for family in self.gauges.collect())


@contextlib.asynccontextmanager
async def process(db: Database, name: str) -> AsyncIterator[Process]:
    connections = Connections(db.url, name)
    await connections.open()
    gauges = DatabaseGauges()
    reading = asyncio.create_task(Exporter(gauges, connections, name).read_for_ever())
    try:
        yield Process(gauges, reading)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
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
            await until(lambda: connections_of(db, "b") > 0)
            pooled = connections_of(db, "b")
            assert not second.shows()
            assert connections_of(db, "a") == pooled + 1
            first.reading.cancel()
            await asyncio.gather(first.reading, return_exceptions=True)
            db.execute("SELECT outbox.leave_house('a')")
            await until(second.shows)
            assert connections_of(db, "b") == pooled + 1
            assert connections_of(db, "a") <= pooled


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
