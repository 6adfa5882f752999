"""The choice of a bot in the filters of several pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from outbox.operate.page.database import Row

BOTS: Final = ("SELECT bot FROM outbox.bot ORDER BY bot LIMIT 500", ())


def bot_names(bots: Sequence[Row], asked: str) -> list[str]:
    """Return the names to choose from; what was asked for stays chosen, also where it is no bot's name."""
    names = [row["bot"] for row in bots]
    # An option has text alone: what cannot be seen could not be marked there.
    return names if not asked or asked in names or not asked.isprintable() else [*names, asked]
