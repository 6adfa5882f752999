"""python -m grafana.build: write the alert rules and the dashboards, from the checkout's root."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from grafana.build import delivery, history, queue_and_lanes, workers_and_database
from grafana.build.alerts import rules
from outbox.observe.thresholds import read_thresholds

FOLDER: Final = Path(__file__).resolve().parent.parent
HEADER: Final = "# Made by `make grafana` from outbox/observe/thresholds.toml and grafana/build/: change those.\n"


def read_values() -> dict[str, Any]:
    return read_thresholds()


def documents() -> dict[Path, str]:
    """Return what each file that is made must hold."""
    values = read_values()
    text = yaml.safe_dump(rules(values), sort_keys=False, width=110, allow_unicode=True)
    dashboards = FOLDER / "dashboards"
    return {
        FOLDER / "alerts" / "outbox.yml": HEADER + text,
        dashboards / "delivery.json": delivery.dashboard(values["general"]),
        dashboards / "queue_and_lanes.json": queue_and_lanes.dashboard(),
        dashboards / "workers_and_database.json": workers_and_database.dashboard(),
        dashboards / "history.json": history.dashboard(),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(FOLDER.parent))
