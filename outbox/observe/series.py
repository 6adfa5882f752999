"""Counters, gauges and histograms that cost a message next to nothing: prometheus_client sees them at a scrape only.

Its own take a lock and some Python for each observation: 60 µs a message on two cores of 2026, these 8 µs
(`python -m bench overhead`). They are written from one thread, the event loop's, and read from another.
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


class Counter:
    """Counts by labels. One without labels is shown from the start."""

    kind: Final = "counter"

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count; `labels` in the order in which they were named."""
        values = self._values
        values[labels] = values.get(labels, 0.0) + by

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        return family


class Gauge:
    """A number by labels."""

    kind: Final = "gauge"

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Move it."""
        values = self._values
        values[labels] = values.get(labels, 0.0) + by

    def set(self, *labels: str, to: float) -> None:
        self._values[labels] = to

    def collect(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in list(self._values.items()):
            family.add_metric(labels, value)
        return family


class _Cells:
    __slots__ = ("counts", "exemplar_at", "exemplars", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = [None] * buckets
        self.exemplar_at = float("-inf")


class Histogram:
    """Counts by bucket and labels. `buckets` are upper bounds, ascending; beyond the last one is +Inf."""

    kind: Final = "histogram"

    def __init__(self, name: str, text: str, buckets: tuple[float, ...], labels: Labels = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._bounds = buckets
        self._cells: dict[Labels, _Cells] = {} if labels else {(): _Cells(len(buckets) + 1)}

    def observe(self, value: float, *labels: str) -> None:
        cells = self._cells.get(labels) or self._begin(labels)
        cells.counts[bisect_left(self._bounds, value)] += 1
        cells.sum += value

    def wants_exemplar(self, now_s: float, every_s: float, *labels: str) -> bool:
        """Whether the last exemplar of these labels is at least so old; if so, one is about to be brought."""
        cells = self._cells.get(labels) or self._begin(labels)
        if now_s - cells.exemplar_at < every_s:
            return False
        cells.exemplar_at = now_s
        return True

    def bring_exemplar(self, value: float, exemplar: dict[str, str], wall_s: float, *labels: str) -> None:
        """Put one beside the bucket of `value`; `wall_s` is in seconds since 1970."""
        cells = self._cells[labels]
        cells.exemplars[bisect_left(self._bounds, value)] = Exemplar(exemplar, value, wall_s)

    def _begin(self, labels: Labels) -> _Cells:
        cells = self._cells[labels] = _Cells(len(self._bounds) + 1)
        return cells

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, cells in list(self._cells.items()):
            sum_before = cells.sum
            buckets = list(zip(bounds, accumulate(cells.counts[:]), cells.exemplars[:], strict=True))
            family.add_metric(labels, buckets, sum_value=sum_before)  # type: ignore[arg-type]
        return family


Series = Counter | Gauge | Histogram


def collect(series: list[Series]) -> Iterator[Metric]:
    """Yield what a registry shows of them."""
    for one in series:
        yield one.collect()
