"""What a worker holds at the moment of a scrape: connections of its pool, results the database does not know of yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from outbox.deliver.connections import Connections
    from outbox.deliver.worker import Worker


class WorkerState(Collector):
    """Asks the worker, or only its connections where this process delivers nothing, at each scrape."""

    def __init__(self, connections: Connections, worker: Worker | None) -> None:
        self._connections = connections
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        pool = self._connections.statistics()
        size, free = pool.get("pool_size", 0), pool.get("pool_available", 0)
        connections = GaugeMetricFamily("outbox_pool_connections", "Connections of the pool.", labels=["state"])
        connections.add_metric(["free"], free)
        connections.add_metric(["used"], max(0, size - free))
        yield connections
        yield GaugeMetricFamily(
            "outbox_pool_waiting", "Calls that wait for a connection.", value=pool.get("requests_waiting", 0)
        )
        yield CounterMetricFamily(
            "outbox_pool_wait_seconds", "Time that calls waited.", value=pool.get("requests_wait_ms", 0) / 1000
        )
        yield CounterMetricFamily(
            "outbox_reconnects",
            "Connections of the pool made so far, the first ones too.",
            # psycopg_pool counts tries.
            value=pool.get("connections_num", 0) - pool.get("connections_errors", 0),
        )
        yield CounterMetricFamily(
            "outbox_reconnects_failed", "Tries to connect that failed.", value=pool.get("connections_errors", 0)
        )
        if self._worker is not None:
            yield GaugeMetricFamily(
                "outbox_results_waiting",
                "Results that the database does not know of yet.",
                value=self._worker.results_waiting,
            )
            yield GaugeMetricFamily(
                "outbox_spool_results", "How many of them are on the disk.", value=self._worker.results_spooled
            )
            yield GaugeMetricFamily(
                "outbox_oldest_result_seconds",
                "Age of the oldest result that the database does not know of.",
                value=self._worker.oldest_result_s,
            )
            yield GaugeMetricFamily(
                "outbox_spool_is_full",
                "1: the disk takes no more results, and nothing is claimed.",
                value=self._worker.spool_is_full,
            )

    def describe(self) -> Iterable[Metric]:
        return []
