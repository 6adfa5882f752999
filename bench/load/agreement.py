"""The checker's verdict as a figure; what it found goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from bench.figure import Figure
from tests.chaos.checker import Agreement

SHOWN: Final = 20


def agreement_figures(agreement: Agreement) -> Iterator[Figure]:
    """Return how often the simulator's log, history and attempts contradict each other."""
    for finding in agreement.findings[:SHOWN]:
        print(f"    {finding}", file=sys.stderr)
    if len(agreement.findings) > SHOWN:
        print(f"    and {len(agreement.findings) - SHOWN} more", file=sys.stderr, flush=True)
    yield Figure("contradictions between log, history and attempts", len(agreement.findings), "", at_most=0)
