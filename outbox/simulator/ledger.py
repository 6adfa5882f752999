"""What arrived, when, and how it was judged: the ground truth."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from outbox.simulator.files import Upload
from outbox.simulator.in_flight import InFlight

Verdict = Literal["accepted", "pending", "bot", "chat", "group", "error"]


@dataclass(slots=True)
class Call:
    """One API call, in order of arrival. Times are seconds of the simulator's monotonic clock."""

    n: int
    bot: str
    """The number in front of the bot token's colon; the rest is never kept."""
    chat: str | None
    method: str
    """As the client wrote it."""
    text: str | None
    arrived_s: float
    verdict: Verdict
    """accepted: executed; pending: not yet; bot, chat, group: the limit that refused it; error: not executed for
    another reason."""
    status: int | None
    """What the client was told; None: nothing (reset, hung)."""
    cost: int
    """Places it takes in the windows of bot and group; 0: it takes none."""
    message_id: int | None = None
    answered_s: float | None = None
    """When its answer was written; None: not yet or never."""
    uploaded_bytes: int = 0
    executed_s: float | None = None
    """When it was executed; None: not yet or never."""
    made: int = 0
    """Messages that it put into the chat."""
    limit: int | None = None
    """The bot's hidden limit at that moment, when a rule moved it."""
    broken_by: str | None = None
    """The fault that hit it, or what else was not as usual."""
    parameters: dict[str, Any] | None = None
    """As they came, when the simulator keeps them: texts and JSON values, files as Upload."""


class Ledger:
    """Calls in order of arrival. `offset_s` added to its monotonic times gives unix time, for the whole run alike."""

    def __init__(self, offset_s: float, keep: int) -> None:
        self.offset_s = offset_s
        self.in_flight = InFlight()
        self.watching: set[asyncio.Event] = set()
        """Set whenever a call has been executed."""
        self._keep = keep
        self.clear()

    def clear(self) -> None:
        self.calls: list[Call] = []
        self._next_n = 1
        self.clients: set[object] = set()
        self.in_flight.most = 0

    def record(self, call: Call) -> None:
        """Number the call and append it."""
        call.n = self._next_n
        self._next_n += 1
        self.calls.append(call)
        # Cut seldom: taking from a list's front moves all the rest.
        if len(self.calls) >= 2 * self._keep:
            del self.calls[: -self._keep]

    def tell(self) -> None:
        """A call has been executed."""
        for event in self.watching:
            event.set()

    def select(
        self, bot: str | None = None, chat: str | None = None, since: int = 0, limit: int | None = None
    ) -> Iterator[Call]:
        """Calls with n above `since`, oldest first, at most `limit`."""
        first_n = self.calls[0].n if self.calls else 1
        taken = 0
        for index in range(max(0, since + 1 - first_n), len(self.calls)):
            if limit is not None and taken >= limit:
                return
            call = self.calls[index]
            if (bot is None or call.bot == bot) and (chat is None or call.chat == chat):
                taken += 1
                yield call

    def between(self, after: float | None, before: float | None) -> Iterable[Call]:
        """Calls that arrived in [after, before), unix seconds; None: no bound."""
        if after is None and before is None:
            return self.calls
        low = float("-inf") if after is None else after - self.offset_s
        high = float("inf") if before is None else before - self.offset_s
        return (call for call in self.calls if low <= call.arrived_s < high)

    def as_json(self, call: Call) -> dict[str, Any]:
        """The call as /_sim/log shows it."""
        described: dict[str, Any] = {
            "n": call.n,
            "bot": call.bot,
            "chat": call.chat,
            "method": call.method,
            "text": call.text,
            "arrived_at": call.arrived_s + self.offset_s,
            "arrived_monotonic_s": call.arrived_s,
            "answered_at": None if call.answered_s is None else call.answered_s + self.offset_s,
            "executed_at": None if call.executed_s is None else call.executed_s + self.offset_s,
            "verdict": call.verdict,
            "status": call.status,
            "cost": call.cost,
            "message_id": call.message_id,
            "made": call.made,
            "limit": call.limit,
            "uploaded_bytes": call.uploaded_bytes,
            "broken_by": call.broken_by,
        }
        if call.parameters is not None:
            described["parameters"] = {
                name: value._asdict() if isinstance(value, Upload) else value for name, value in call.parameters.items()
            }
        return described
