"""Panels: what is drawn, with a description and a unit each. A query's letter is its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.build.one_database import chosen
from outbox.observe.thresholds import read_thresholds

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
# Another variable: links between dashboards take their variables along.
POSTGRES: Final = DataSourceRef(type_val="grafana-postgresql-datasource", uid="${postgres}")
HEIGHT: Final = 8
DATABASE_LABEL: Final = read_thresholds()["general"]["database_label"]
LETTERS: Final = "ABCDEFGHIJ"

Curve = tuple[str, str]
"""PromQL, and the legend of what it gives."""


class SqlQuery(variants.Dataquery):
    """A query of Grafana's PostgreSQL datasource, which the SDK has no class for."""

    def __init__(self, ref_id: str, sql: str, form: str) -> None:
        self.ref_id = ref_id
        self.sql = sql
        self.form = form

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": self.sql,
        }


@dataclass(frozen=True)
class _Built(cog.Builder[variants.Dataquery]):
    query: SqlQuery

    def build(self) -> variants.Dataquery:
        return self.query


def lines(
    title: str,
    description: str,
    unit: str,
    *curves: Curve,
    width: int = 12,
    stacked: bool = False,
    most: float | None = None,
    exemplars: bool = False,
) -> timeseries.Panel:
    """Curves over time. `width` of 24 columns; `most`: where the axis ends."""
    panel = _time_panel(title, description, unit, width, stacked, most).datasource(PROMETHEUS)
    for letter, (expression, legend) in zip(LETTERS, curves, strict=False):
        query = (
            prometheus.Dataquery().expr(chosen(expression, DATABASE_LABEL)).legend_format(legend).ref_id(letter).range()
        )
        panel.with_target(query.datasource(PROMETHEUS).exemplar(exemplars))
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    steps: Sequence[tuple[float | None, str]],
    width: int = 4,
) -> stat.Panel:
    """One number as it is now. `steps`: from which value on it has which colour, the first one from None."""
    query = prometheus.Dataquery().expr(chosen(expression, DATABASE_LABEL)).ref_id("A").instant().datasource(PROMETHEUS)
    return _number(title, description, unit, steps, width).datasource(PROMETHEUS).with_target(query)


def sql_number(
    title: str, description: str, unit: str, sql: str, *, steps: Sequence[tuple[float | None, str]], width: int = 4
) -> stat.Panel:
    """The same out of the database."""
    panel = _number(title, description, unit, steps, width).datasource(POSTGRES)
    return panel.with_target(_Built(SqlQuery("A", sql, "table")))


def rows(title: str, description: str, unit: str, expression: str, *, width: int = 12) -> table.Panel:
    """A table of the labels and values of an expression as they are now."""
    query = (
        prometheus.Dataquery()
        .expr(chosen(expression, DATABASE_LABEL))
        .ref_id("A")
        .instant()
        .format(PromQueryFormat.TABLE)
    )
    return _table(title, description, unit, width).datasource(PROMETHEUS).with_target(query.datasource(PROMETHEUS))


def sql_rows(title: str, description: str, unit: str, sql: str, *, width: int = 12) -> table.Panel:
    """A table out of the database."""
    return _table(title, description, unit, width).datasource(POSTGRES).with_target(_Built(SqlQuery("A", sql, "table")))


def sql_lines(
    title: str, description: str, unit: str, sql: str, *, width: int = 12, stacked: bool = False
) -> timeseries.Panel:
    """Curves out of the database: a column "time", one of text for the legend, one with the value."""
    panel = _time_panel(title, description, unit, width, stacked, None).datasource(POSTGRES)
    return panel.with_target(_Built(SqlQuery("A", sql, "time_series")))


def row(title: str) -> dashboard.Row:
    """A heading."""
    return dashboard.Row(title)


def _time_panel(
    title: str, description: str, unit: str, width: int, stacked: bool, most: float | None
) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
    tooltip = VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = timeseries.Panel().title(title).description(description).unit(unit).min(0).span(width).height(HEIGHT)
    panel.legend(legend).tooltip(tooltip).line_width(1).fill_opacity(30 if stacked else 8)
    panel.show_points(VisibilityMode.NEVER).no_value("none")
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    if most is not None:
        panel.max(most)
    return panel


def _number(
    title: str, description: str, unit: str, steps: Sequence[tuple[float | None, str]], width: int
) -> stat.Panel:
    colours = [Threshold(value=value, color=colour) for value, colour in steps]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours)
    panel = stat.Panel().title(title).description(description).unit(unit).span(width).height(4).no_value("none")
    return panel.thresholds(thresholds).reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))


def _table(title: str, description: str, unit: str, width: int) -> table.Panel:
    return table.Panel().title(title).description(description).unit(unit).span(width).height(HEIGHT).no_value("none")


def quantile(q: float, histogram: str, by: str = "") -> str:
    """PromQL: a quantile of a histogram over the panel's step."""
    labels = f"le, {by}" if by else "le"
    return f'histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{{bot=~"$bot"}}[$__rate_interval])))'


def rate(counter: str, by: str, **matches: str) -> str:
    """PromQL: events a second of a counter, summed by labels."""
    selector = ",".join(f'{label}=~"{value}"' for label, value in matches.items())
    return f"sum by ({by}) (rate({counter}{{{selector}}}[$__rate_interval]))"


Panel = Any
