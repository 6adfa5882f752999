"""What the model knows: wishes, messages, flights, and what must come of each outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st

from tests.invariants.calls import Lane, Result, result
from tests.invariants.pacing import Use

BOTS = ("a", "b")
RATE = {"a": 2, "b": 5}
CHAT_INTERVAL_S = 1.0
GROUP_LIMIT, GROUP_WINDOW_S = 2, 8.0
MAX_ATTEMPTS = 3
ROUND_TRIP_S = 0.02
HORIZON = timedelta(seconds=0.1)
CHATS = ("1", "2", "3", "-100", "@channel")
OUTCOMES = ("sent", "sent", "wait", "retry", "uncertain", "dead", "unsent")


@dataclass(frozen=True)
class Wish:
    """What a producer asks for."""

    bot: str
    chat_id: str
    priority: int
    delay_s: float
    expires_s: float | None
    on_uncertain: str
    max_attempts: int | None


WISHES = st.builds(
    Wish,
    bot=st.sampled_from(BOTS),
    chat_id=st.sampled_from(CHATS),
    priority=st.integers(0, 3),
    delay_s=st.sampled_from([0, 0, 0, 0, 0.05, 0.7, 4]),
    expires_s=st.sampled_from([None, None, None, None, 0.5, 6]),
    on_uncertain=st.sampled_from(["retry", "hold"]),
    max_attempts=st.sampled_from([None, None, 1, 2]),
)


@dataclass
class Message:
    """What the model knows of a message that was committed."""

    id: int
    wish: Wish
    next_attempt_at: datetime
    expires_at: datetime | None
    status: str = "queued"
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.wish.bot, self.wish.chat_id

    def ends(self, outcome: str) -> None:
        """Follow what complete() makes of its owner's outcome."""
        self.attempts += outcome not in ("wait", "unsent")
        most = self.wish.max_attempts or MAX_ATTEMPTS
        if outcome in ("sent", "dead"):
            self.status = outcome
        elif outcome == "uncertain" and self.wish.on_uncertain == "hold":
            self.status = "uncertain"
        elif outcome in ("retry", "uncertain") and self.attempts >= most:
            self.status = "dead"
        else:
            self.status = "queued"


@dataclass(frozen=True)
class Telling:
    """What a worker says of a flight; told again, it keeps the time of its answer."""

    flight: Flight
    outcome: str
    answered_at: datetime
    retry_after_s: float | None = None

    def result(self, now: datetime) -> Result:
        age_s = (now - self.answered_at).total_seconds()
        return result(self.flight.lane, self.outcome, age_s=age_s, retry_after_s=self.retry_after_s)


@dataclass
class Flight:
    """A lane that a worker has, or had."""

    lane: Lane
    worker: int
    use: Use
    told: Telling | None = None
