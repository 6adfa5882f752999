"""Every metric with its kind, labels and help: what /metrics of a worker that is the exporter can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from outbox.observe.gauges import KNOWN
from outbox.observe.metrics import WorkerMetrics
from outbox.observe.worker_state import WorkerState

BUILD: Final = "1, with the version of outbox and the name of this process."


class Named(NamedTuple):
    """One metric. `source`: worker, each shows its own; database, shown by the exporter."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str
    source: str


class _NoConnections:
    def statistics(self) -> dict[str, int]:
        return {}


class _NoWorker:
    results_waiting = 0
    results_spooled = 0
    oldest_result_s = 0.0
    spool_is_full = False


def all_names() -> Iterator[Named]:
    """Yield them, a worker's first."""
    for one in WorkerMetrics(CollectorRegistry()).series:
        yield Named(_full(one.name, one.kind), one.kind, one.labels, one.text, "worker")
    state: Collector = WorkerState(_NoConnections(), _NoWorker())  # type: ignore[arg-type]
    for metric in state.collect():
        labels = tuple(metric.samples[0].labels) if metric.samples else ()
        yield Named(_full(metric.name, metric.type), metric.type, labels, metric.documentation, "worker")
    yield Named("outbox_build_info", "gauge", ("version", "worker"), BUILD, "worker")
    for name, known in KNOWN.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        yield Named(f"outbox_{name}", kind, known.labels, known.text, "database")


def _full(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name
