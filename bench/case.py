"""What a scenario is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figure import Figure
from bench.server import Server


@dataclass(frozen=True)
class Size:
    """How large to run, and from which seed: `scale` multiplies messages, inserts and the length of a load."""

    scale: float = 1.0
    seed: int = 1

    def of(self, count: int, at_least: int = 1) -> int:
        """Return the scaled count."""
        return max(at_least, round(count * self.scale))

    def span_s(self, seconds: float, at_least: float = 0.0) -> float:
        """Return the scaled length."""
        return max(at_least, seconds * self.scale)


Case = Callable[[Server, Size], Iterator[Figure]]
