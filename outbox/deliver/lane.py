"""What travels from claim to complete: a claimed lane with its one message, then the result of the call."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Lane:
    """One chat, claimed for one message. `payload` is JSON text as the database gave it; no repr shows it."""

    incarnation: int
    bot: str
    chat_id: str
    message_id: int
    attempt: int
    method: str
    payload: str = field(repr=False)
    priority: int
    on_uncertain: str
    correlation_id: str | None
    slot: int | None
    """Number of the ring's token; None: the bot has no limit, or the method is free."""
    slot_at_s: float | None
    """When the slot is, in seconds since 1970 on the database's clock."""
    created_at_s: float
    due_at_s: float
    """From when on it could have gone, were there no limits."""
    claimed_s: float
    """When claim answered, on pace's clock."""
    due_s: float = 0.0
    """The slot on pace's clock: never send before it."""
    stale_s: float | None = None
    """From here on, on pace's clock, sending would be a burst. None: never stale."""


@dataclass(slots=True)
class Result:
    """What became of one claimed lane; complete carries it to the database."""

    incarnation: int
    bot: str
    chat_id: str
    message_id: int
    attempt: int
    outcome: str
    ended_s: float
    """When the outcome was known, on pace's clock: its age is computed at each call."""
    duration_s: float | None = None
    http_status: int | None = None
    error_code: int | None = None
    error_class: str | None = None
    error_text: str | None = None
    retry_after_s: float | None = None
    telegram_message_id: int | None = None
    meaning: str | None = None
    """What the answer is, in the words of classify; None: no call was made."""
    reach: str | None = None
    """message | chat | bot"""
    migrate_to: str | None = None
    telegram_answer: dict[str, Any] | None = None
    """Ids and files of what was sent."""
    correlation_id: str | None = None
    flushes_failed: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one call ended; the next claims carry it until the bucket could be locked."""

    bot: str
    chat_id: str
    slot: int | None
    """None: no token was used. The answer counts all the same: for floods, breaker and brake."""
    result: str
    """ok | fail | flood | unsent | refused | unauthorised"""
    answered_s: float
    """On pace's clock."""
    round_trip_s: float | None
    retry_after_s: float | None = None
    """Of a flood, as Telegram said it."""
