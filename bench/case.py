"""What a scenario is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figure import Figure
from bench.server import Server


@dataclass(frozen=True)
class Size:
    """How large to run: `scale` multiplies messages and inserts, `seconds` is the length of one load."""

    scale: float = 1.0
    seconds: float = 180.0

    def of(self, count: int, at_least: int = 1) -> int:
        """Return the scaled count."""
        return max(at_least, round(count * self.scale))


Case = Callable[[Server, Size], Iterator[Figure]]
