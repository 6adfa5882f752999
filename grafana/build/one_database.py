"""One Prometheus may watch several outbox databases: a label of the scrape keeps them apart in panels and alerts."""

from __future__ import annotations

import re
from typing import Final

_SELECTOR: Final = re.compile(r"\b(?:(?:outbox|process)_[a-z_]+|up(?=\{))(\{)?")
_AGGREGATION: Final = re.compile(r"\b(sum|max|min|group)(?: by \(([a-z_, ]*)\) )?\(")


def chosen(expression: str, label: str) -> str:
    """Return PromQL that asks only for the database chosen in the dashboard's variable of that name."""
    matcher = f'{label}="${label}"'

    def fill(found: re.Match[str]) -> str:
        return f"{found[0]}{matcher}," if found[1] else f"{found[0]}{{{matcher}}}"

    return _SELECTOR.sub(fill, expression).replace(",}", "}")


def each(expression: str, label: str) -> str:
    """Return PromQL whose aggregations keep the databases apart."""

    def fill(found: re.Match[str]) -> str:
        labels = f"{label}, {found[2]}" if found[2] else label
        return f"{found[1]} by ({labels}) ("

    return _AGGREGATION.sub(fill, expression)
