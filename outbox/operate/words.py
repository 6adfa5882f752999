"""The words for where a message stands and how urgent it is, in the order in which people are shown them."""

from __future__ import annotations

from typing import Final

from outbox.accept.message import Priority

PRIORITIES: Final = tuple(one.name for one in Priority)
"""By their number, the most urgent first."""

WAITING: Final = ("queued", "sending")
DEAD: Final = ("dead", "uncertain")
ENDED: Final = ("sent", *DEAD, "expired", "cancelled", "superseded", "discarded")
STATUSES: Final = (*WAITING, *ENDED)


def priority_name(number: int) -> str:
    """Return a priority as number and word, such as '2 normal'."""
    return f"{number} {PRIORITIES[number]}" if 0 <= number < len(PRIORITIES) else str(number)
