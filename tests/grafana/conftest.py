"""grafana/ as it is committed, and what its files are about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from outbox.observe.gauges import KNOWN
from outbox.observe.metrics import WorkerMetrics

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARDS: Final = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
# prometheus-client's own, and those that a worker's state says at a scrape.
ALWAYS: Final = frozenset(
    {
        "up",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "outbox_build_info",
        "outbox_pool_connections",
        "outbox_pool_waiting",
        "outbox_pool_wait_seconds_total",
        "outbox_reconnects_total",
        "outbox_reconnects_failed_total",
        "outbox_results_waiting",
        "outbox_spool_results",
        "outbox_oldest_result_seconds",
        "outbox_spool_is_full",
    }
)


def panels(path: Path) -> Iterator[dict[str, Any]]:
    """Every panel of a dashboard but the headings."""
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        yield from (one for one in (panel, *panel.get("panels", ())) if one["type"] != "row")


def expressions(path: Path) -> list[str]:
    """The PromQL of a dashboard."""
    return [target["expr"] for panel in panels(path) for target in panel["targets"] if "expr" in target]


def names(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(re.findall(r"\b(?:outbox|process|python)_[a-z_]+\b|\bup\b(?=\{|$)", expression))


def known_names() -> set[str]:
    """Every name that /metrics can show."""
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    found = set(ALWAYS) | {f"outbox_{name}" for name in KNOWN}
    for metric in registry.collect():
        match metric.type:
            case "counter":
                found.add(f"{metric.name}_total")
            case "histogram":
                found |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
            case _:
                found.add(metric.name)
    return found
