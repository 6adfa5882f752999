"""What all dashboards share: where their data is from, which bots, how they lead to one another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableRefresh,
    VariableSort,
)

from grafana.build.panels import DATABASE_LABEL, POSTGRES, PROMETHEUS, Panel

TAG: Final = "outbox"


def make(
    uid: str,
    title: str,
    description: str,
    panels: Sequence[Panel],
    *,
    source: str = "prometheus",
    since: str = "now-3h",
) -> str:
    """Return a dashboard as JSON: its panels in order, row by row."""
    sql = source != "prometheus"
    bots = (
        dashboard.QueryVariable("bot")
        .label("Bot")
        .datasource(POSTGRES if sql else PROMETHEUS)
        .query(
            "SELECT bot FROM outbox.bot ORDER BY bot"
            if sql
            else f'label_values(outbox_slots_total{{{DATABASE_LABEL}="${DATABASE_LABEL}"}}, bot)'
        )
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
    )
    if not sql:
        bots = bots.all_value(".*")  # in SQL all of them are listed
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .refresh("1m" if sql else "30s")
        .time(since, "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("postgres" if sql else "datasource").label("Data from").type(source)
        )
    )
    if not sql:
        built = built.with_variable(
            dashboard.QueryVariable(DATABASE_LABEL)
            .label("Database")
            .datasource(PROMETHEUS)
            .query(f"label_values(outbox_build_info, {DATABASE_LABEL})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
        )
    built = built.with_variable(bots).link(
        dashboard.DashboardLink("outbox")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
    )
    for panel in panels:
        built = built.with_row(panel) if type(panel).__name__ == "Row" else built.with_panel(panel)
    document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True, indent=2).encode(built.build()))
    # Sources are variables, so an import asks nothing and a provisioned file works as it is.
    document["__inputs"] = []
    document["__requires"] = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"},
        {"type": "datasource", "id": source, "name": source, "version": "1.0.0"},
    ]
    document["id"] = None
    for variable in document["templating"]["list"]:
        for key in (
            "auto",
            "auto_count",
            "auto_min",
        ):  # the SDK writes them for every kind, Grafana knows intervals only
            variable.pop(key, None)
    _number_panels(document["panels"])
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _number_panels(panels: list[dict[str, Any]]) -> None:
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
