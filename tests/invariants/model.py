"""What the model knows: messages, cancels, flights, and what must come of each outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.invariants.calls import Lane, Result, result
from tests.invariants.pacing import Use
from tests.invariants.wishes import Wish

RATE = {"a": 2, "b": 5}
CHAT_INTERVAL_S = 1.0
GROUP_LIMIT, GROUP_WINDOW_S = 2, 8.0
MAX_ATTEMPTS = 3
ROUND_TRIP_S = 0.02
HORIZON = timedelta(seconds=0.1)
OUTCOMES = ("sent", "sent", "wait", "retry", "uncertain", "dead", "unsent")
GROUP, SUPERGROUP = "-100", "-1001"  # what the one becomes; nobody writes to the other by itself

Key = tuple[str, str]
"""A lane: bot and chat."""

Place = tuple[int, datetime]
"""Where a message stands in its lane: priority and next_attempt_at; among equals the smaller id is first."""


@dataclass
class Message:
    """What the model knows of a message that was committed."""

    id: int
    wish: Wish
    place: Place
    expires_at: datetime | None
    target_id: int | None
    chat_id: str
    status: str = "queued"
    attempts: int = 0
    is_asked: bool = False  # a cancel by id or correlation id was committed
    was_sent: bool = False  # a late answer said so while another attempt was in flight
    telegram_message_id: int | None = None

    @property
    def key(self) -> Key:
        return self.wish.bot, self.chat_id

    def is_due(self, now: datetime) -> bool:
        return self.place[1] <= now

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def ends(self, outcome: str, telegram_message_id: int | None = None) -> None:
        """Follow what complete() makes of its owner's outcome."""
        self.attempts += outcome not in ("wait", "unsent", "migrated")
        most = self.wish.max_attempts or MAX_ATTEMPTS
        if outcome == "sent" or self.was_sent:
            self.status, self.telegram_message_id = "sent", telegram_message_id
        elif outcome == "dead":
            self.status = "dead"
        elif outcome == "uncertain" and self.wish.on_uncertain == "hold":
            self.status = "uncertain"
        elif outcome in ("retry", "uncertain") and self.attempts >= most:
            self.status = "dead"
        else:
            self.status = "queued"


@dataclass(frozen=True)
class Stop:
    """A tag that was cancelled: what bears it, up to an id."""

    tag: str
    bot: str | None
    up_to_id: int

    def covers(self, message: Message) -> bool:
        wish = message.wish
        return wish.tag == self.tag and message.id <= self.up_to_id and self.bot in (None, wish.bot)


@dataclass(frozen=True)
class Telling:
    """What a worker says of a flight; told again, it keeps the time of its answer."""

    flight: Flight
    outcome: str
    answered_at: datetime
    retry_after_s: float | None = None
    telegram_message_id: int | None = None

    def result(self, now: datetime) -> Result:
        outcome, columns = self.outcome, {}
        if outcome == "migrated":
            outcome, columns = "retry", {"meaning": "migrated", "reach": "chat", "migrate_to": SUPERGROUP}
        return result(
            self.flight.lane,
            outcome,
            age_s=(now - self.answered_at).total_seconds(),
            retry_after_s=self.retry_after_s,
            telegram_message_id=self.telegram_message_id,
            **columns,
        )


@dataclass
class Flight:
    """A lane that a worker has, or had."""

    lane: Lane
    worker: int
    use: Use
    told: Telling | None = None
