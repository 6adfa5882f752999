"""The slots of a bot's replies, and a memory of those given lately: what they used of a limit counts for its window."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from outbox.limit.local_limits import ARRIVAL_BOUND_S, Limits, is_group

RETRY_AFTER_MAX_S = 365 * 86400.0  # what outbox.settle takes

Result = Literal["ok", "fail", "flood", "unsent"]


@dataclass(slots=True)
class Slot:
    """One reply's turn: send now, then settle. `local`: given without the database."""

    chat_id: str
    cost: int
    local: bool
    result: Result | None = None
    retry_after_s: float | None = None
    _due_s: float = 0.0
    _ticket: int | None = None
    _tokens: list[int] = field(default_factory=list)
    _settled: bool = False
    _sent_by_s: float = field(init=False)
    """When it arrived at Telegram at the latest; -inf: never."""
    _counted: bool = field(init=False)
    """Whether the database knows of it."""

    def __post_init__(self) -> None:
        self._sent_by_s = self._due_s + ARRIVAL_BOUND_S
        self._counted = not self.local

    def flooded(self, retry_after_s: float | None) -> None:
        """Note that Telegram answered 429 with this retry_after: the chat waits that long."""
        self.result, self.retry_after_s = "flood", retry_after_s

    def failed(self) -> None:
        """Note that no answer came, or a 5xx."""
        self.result = "fail"

    def unsent(self) -> None:
        """Note that nothing was sent: the slot goes back."""
        self.result = "unsent"

    def _answer(self, result: Result, retry_after_s: float | None, answered_s: float) -> None:
        if retry_after_s is not None and not 0 <= retry_after_s <= RETRY_AFTER_MAX_S:
            raise ValueError(f"a retry_after of {retry_after_s} s is none. Give the seconds that Telegram told to wait")
        self._settled = True
        self._sent_by_s = -math.inf if result == "unsent" else max(answered_s, self._due_s)


class Given:
    """The slots that this process was given, with the database and without, for as long as they may count."""

    def __init__(self) -> None:
        # Apart: a group's window is long, and what goes to others is most.
        self._to_others: deque[Slot] = deque()
        self._to_groups: deque[Slot] = deque()

    def add(self, slot: Slot, limits: Limits, now_s: float) -> None:
        """Remember a slot from when it is given: it may be sent just after the database went or came back."""
        for slots, window_s in self._windows(limits):
            while slots and slots[0]._sent_by_s <= now_s - window_s:
                slots.popleft()
        (self._to_groups if is_group(slot.chat_id) else self._to_others).append(slot)

    def counting(self, limits: Limits, now_s: float) -> Iterator[Slot]:
        """Yield those that still count for a limit of the bot, of their chat or of their group; groups come last."""
        for slots, window_s in self._windows(limits):
            yield from (slot for slot in slots if slot._sent_by_s > now_s - window_s)

    def _windows(self, limits: Limits) -> tuple[tuple[deque[Slot], float], tuple[deque[Slot], float]]:
        short_s = max(limits.rate_window_s, limits.chat_interval_s)
        return (self._to_others, short_s), (self._to_groups, max(short_s, limits.group_window_s))
