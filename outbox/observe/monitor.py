"""What one process tells a monitor: its worker's metrics, its health, the database's numbers if it is the exporter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import Final

import psycopg
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, Info

from outbox.database.migrate import release_digest
from outbox.deliver import events
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError, describe
from outbox.deliver.events import Emit, Event
from outbox.deliver.worker import Worker
from outbox.observe.door import serve
from outbox.observe.exporter import Exporter
from outbox.observe.gauges import DatabaseGauges
from outbox.observe.health import Check, ClaimHealth
from outbox.observe.metrics import WorkerMetrics
from outbox.observe.names import BUILD
from outbox.observe.worker_state import WorkerState
from outbox.settings import Address

ASK_WITHIN_S: Final = 2.0
COUNT_EVERY_S: Final = 2.0
EVENTS_AT_ONCE: Final = 256  # half a millisecond: no slot is missed for it
# They come with every message, and no log says them.
_NEVER_LOGGED: Final = frozenset({events.Claimed, events.ClaimDone, events.Flushed})


class Monitor:
    """Give it to the worker as `emit`; it passes each event on to `also`."""

    def __init__(self, name: str, *, also: Emit) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        Info("outbox_build", BUILD, registry=self.registry).info(
            {"version": metadata.version("outbox"), "worker": name}
        )
        self._metrics = WorkerMetrics(self.registry)
        self._claims = ClaimHealth()
        self._gauges = DatabaseGauges()
        self.registry.register(self._gauges)
        self._also = also
        self._events: list[Event] = []
        self._counting: asyncio.TimerHandle | None = None
        self.faults = 0
        """Events that could not be counted, or not be logged."""
        self._exporter: Exporter | None = None
        self._reading: asyncio.Task[None] | None = None

    def __call__(self, event: Event) -> None:
        # Many at a time: one by one, between waits, each costs several times as much, because nothing is in the caches.
        self._events.append(event)
        if len(self._events) >= EVENTS_AT_ONCE:
            self.count_now()
        elif self._counting is None:
            self._count_soon()
        # Each alone: a fault in a metric must not cost a log line.
        if type(event) not in _NEVER_LOGGED:
            try:
                self._also(event)
            except Exception:
                self.faults += 1

    def _count_soon(self) -> None:
        try:
            self._counting = asyncio.get_running_loop().call_later(COUNT_EVERY_S, self.count_now)
        except RuntimeError:  # no loop runs: nobody waits for another event
            self.count_now()

    def count_now(self) -> None:
        """Count the events that wait for it; they wait COUNT_EVERY_S at most, and until a scrape."""
        if self._counting is not None:
            self._counting.cancel()
            self._counting = None
        waiting, self._events = self._events, []
        self.faults += self._metrics.count(waiting)
        if any(type(event) is events.ClaimDone for event in waiting):
            self._claims.note_claim()

    def _note_scrape(self) -> None:
        self.count_now()
        if self._exporter is not None:
            self._exporter.note_scrape()

    @contextlib.asynccontextmanager
    async def watch(
        self, address: Address, connections: Connections, worker: Worker | None, holder: str
    ) -> AsyncIterator[str]:
        """Serve /metrics, /healthz and /readyz while the block runs; yields the URL of /metrics.

        `holder` names this process among those that may show the numbers of the database. Raises UsageError where it
        cannot listen at `address`.
        """
        self.registry.register(WorkerState(connections, worker))

        digest = await asyncio.to_thread(release_digest)

        async def ready() -> Sequence[Check]:
            self.count_now()
            return [
                await _database(connections, digest),
                *([] if worker is None else [self._claims.check(self._metrics.now_in_flight)]),
            ]

        exporter = self._exporter = Exporter(self._gauges, connections, holder)
        async with serve(address, self.registry, ready, self._note_scrape) as url:
            self._reading = asyncio.create_task(exporter.read_for_ever())
            try:
                yield url
            finally:
                await self.leave()

    async def leave(self) -> None:
        """Let another process show the numbers of the database. The connections must still be open."""
        if self._reading is None or self._exporter is None:
            return
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._reading = None
        await self._exporter.leave()


async def _database(connections: Connections, digest: str) -> Check:
    # Among all that were applied: a newer release has been rolled out before its workers are.
    query = "SELECT EXISTS (SELECT FROM outbox.release WHERE digest = %s)"
    try:
        [(is_known,)] = await connections.call(query, [digest], timeout_s=ASK_WITHIN_S)
    except (DatabaseAwayError, AnswerLostError, psycopg.Error, OSError) as error:
        return Check("database", False, describe(error))
    if not is_known:
        return Check("database", False, "its schema is older than this process: run outbox migrate")
    return Check("database", True, "reachable, schema at head")
