"""grafana/ as it is committed, and what its files are about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from outbox.observe.names import all_names

ROOT: Final = Path(__file__).resolve().parents[2]
DASHBOARDS: Final = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
# Of Prometheus and of prometheus-client.
OTHERS: Final = frozenset({"up", "process_cpu_seconds_total", "process_resident_memory_bytes"})


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
    found = set(OTHERS)
    for metric in all_names():
        parts = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        found |= {metric.name + part for part in parts}
    return found
