"""Counters, gauges and histograms that cost a message next to nothing: prometheus_client sees them at a scrape only.

Its own take a lock and some Python for each observation. What it costs: `python -m bench overhead`.
They are written by one thread, the event loop's, and read by another. What is written often keeps the cell.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

Labels = tuple[str, ...]


class Cell:
    """The value of a counter or gauge for some labels: count in `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class _Numbers:
    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._cells: dict[Labels, Cell] = {} if labels else {(): Cell()}

    def cell(self, *labels: str) -> Cell:
        """The one of these labels, in the order in which they were named; shown from now on."""
        return self._cells.get(labels) or self._cells.setdefault(labels, Cell())

    def add(self, *labels: str, by: float = 1.0) -> None:
        self.cell(*labels).value += by

    def total(self) -> float:
        """Return the sum over all labels."""
        return sum(cell.value for cell in list(self._cells.values()))

    def _show(self, family: CounterMetricFamily | GaugeMetricFamily) -> Metric:
        for labels, cell in list(self._cells.items()):
            family.add_metric(labels, cell.value)
        return family


class Counter(_Numbers):
    """Counts by labels. One without labels is shown from the start."""

    kind: Final = "counter"

    def collect(self) -> Metric:
        return self._show(CounterMetricFamily(self.name, self.text, labels=self.labels))


class Gauge(_Numbers):
    """A number by labels."""

    kind: Final = "gauge"

    def set(self, *labels: str, to: float) -> None:
        self.cell(*labels).value = to

    def collect(self) -> Metric:
        return self._show(GaugeMetricFamily(self.name, self.text, labels=self.labels))


class Cells:
    """The buckets of a histogram for some labels."""

    __slots__ = ("bounds", "counts", "exemplar_at", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self.exemplar_at = float("-inf")
        """When the last one came, on the clock of who brings them."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: list[float]) -> None:
        counts, bounds = self.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.sum += sum(values)

    def bring_exemplar(self, value: float, exemplar: dict[str, str], wall_s: float) -> None:
        """Put one beside the bucket of `value`; `wall_s` is in seconds since 1970."""
        self.exemplars[bisect_left(self.bounds, value)] = Exemplar(exemplar, value, wall_s)


class Histogram:
    """Counts by bucket and labels. `buckets` are upper bounds, ascending; beyond the last one is +Inf."""

    kind: Final = "histogram"

    def __init__(self, name: str, text: str, buckets: tuple[float, ...], labels: Labels = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._bounds = buckets
        self._cells: dict[Labels, Cells] = {} if labels else {(): Cells(buckets)}

    def cells(self, *labels: str) -> Cells:
        """Those of these labels, in the order in which they were named; shown from now on."""
        return self._cells.get(labels) or self._cells.setdefault(labels, Cells(self._bounds))

    def observe(self, value: float, *labels: str) -> None:
        self.cells(*labels).observe(value)

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, cells in list(self._cells.items()):
            total = cells.sum
            buckets = list(zip(bounds, accumulate(cells.counts[:]), cells.exemplars[:], strict=True))
            family.add_metric(labels, buckets, sum_value=total)  # type: ignore[arg-type]
        return family


Series = Counter | Gauge | Histogram


def collect(series: list[Series]) -> Iterator[Metric]:
    """Yield what a registry shows of them."""
    for one in series:
        yield one.collect()
