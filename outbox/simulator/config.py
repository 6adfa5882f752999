"""What one simulator is asked to be."""

from dataclasses import dataclass

# core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this: "more than one message per second" in a
# chat, "20 messages per minute" in a group, "about 30 messages per second" for bulk.
RATE = 30
CHAT_INTERVAL_S = 1.0
GROUP_LIMIT = 20
GROUP_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """Limits and delays of a simulator; a limit of 0 is no limit.

    Raises ValueError for a negative number or a jitter whose ends are swapped.
    """

    rate: int = RATE
    """Messages of one bot per rate_window_s."""
    rate_window_s: float = 1.0
    chat_interval_s: float = CHAT_INTERVAL_S
    """One message of one bot to one chat in any window of this length."""
    group_limit: int = GROUP_LIMIT
    """Messages of one bot to one group (negative id or @name) per group_window_s."""
    group_window_s: float = GROUP_WINDOW_S
    latency_s: float = 0.0
    """Way of every request before its verdict."""
    jitter_s: tuple[float, float] = (0.0, 0.0)
    """Least and most that is added to latency_s, uniformly."""
    answer_s: float = 0.0
    """Way of every answer after its verdict."""
    seed: int = 1
    """Of the jitter and of faults that hit a share of the calls."""
    keep: int = 1_000_000
    """Calls the ledger remembers; the oldest go first."""
    keep_parameters: bool = False
    """It remembers their parameters too, whatever their size."""

    connection_age_s: float = 0.0
    """A connection is closed so long after its first call, busy or not; 0: never."""
    connection_idle_s: float = 0.0
    """A call on a connection that was idle for so long is reset, not executed; 0: never."""

    def __post_init__(self) -> None:
        for name in ("rate", "rate_window_s", "chat_interval_s", "group_limit", "group_window_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}. Use 0 for no limit, or more.")
        for name in ("connection_age_s", "connection_idle_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}. Use 0 for never, or more.")
        for name in ("latency_s", "answer_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}. A delay cannot be negative.")
        least_s, most_s = self.jitter_s
        if not 0 <= least_s <= most_s:
            raise ValueError(f"jitter_s is {least_s}-{most_s}. Give the smaller end first, 0 or more.")
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}. The ledger needs room for at least one call.")
