"""One measured number, and the mark it should reach."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`at_least` and `at_most` are marks in the figure's own unit; without one the figure is only reported."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the value lies beyond its mark. A value that could not be taken (nan) misses any mark."""
        return (self.at_least is not None and not self.value >= self.at_least) or (
            self.at_most is not None and not self.value <= self.at_most
        )

    @property
    def mark(self) -> str:
        """The mark as a reader writes it; empty without one."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def as_json(self, bench: str) -> str:
        """Return the line of `--json`; `mark` is only there when the figure has one."""
        value = round(self.value, 4) if math.isfinite(self.value) else None
        line = {"bench": bench, "figure": self.name, "value": value, "unit": self.unit}
        return json.dumps(line | ({"mark": self.mark} if self.mark else {}))

    def as_row(self, scenario: str) -> str:
        """Return the line of the table."""
        value = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:,.4g}"
        verdict = "" if not self.mark else "MISSED" if self.missed else "ok"
        return f"{scenario:<18} {self.name:<60} {value:>9} {self.unit:<10} {self.mark:<10} {verdict}".rstrip()


HEADING = f"{'scenario':<18} {'figure':<60} {'value':>9} {'unit':<10} {'mark':<10} verdict"


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed (nearest rank). Raises ValueError without values."""
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
