"""What happened in a worker, as values. Whoever wants to know (metrics, logs, a test) listens; nothing here does I/O.

Durations and ages are in seconds. No event carries a payload or a bot token.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    name: str
    bots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    name: str
    given_back: int
    unflushed: int
    """Results that could not be brought to the database before the grace period ended."""
    spooled: int = 0
    """How many of them are on the disk, for the next start."""


@dataclass(frozen=True, slots=True)
class ClaimDone:
    """One call of outbox.claim: how long it took, how many lanes it gave of those wanted, settlements it applied."""

    duration_s: float
    lanes: int
    wanted: int
    settlements: int
    ask_again_s: float | None


@dataclass(frozen=True, slots=True)
class Claimed:
    bot: str
    chat_id: str
    message_id: int
    attempt: int
    priority: int
    correlation_id: str | None
    slot_in_s: float
    """How far ahead the slot was when claim answered; 0 when there was none to wait for."""


@dataclass(frozen=True, slots=True)
class Answered:
    bot: str
    chat_id: str
    message_id: int
    attempt: int
    priority: int
    method: str
    correlation_id: str | None
    duration_s: float
    """From the start of the request to its outcome."""
    late_s: float
    """How long after the slot the request was started."""
    http_status: int | None
    error_class: str | None
    error_text: str | None
    retry_after_s: float | None
    """Of a flood, as Telegram said it."""


@dataclass(frozen=True, slots=True)
class Sent(Answered):
    telegram_message_id: int | None
    since_created_s: float
    """From the insert to the answer, on the database's clock."""
    since_due_s: float
    """The same from the time it was scheduled for, where that was later."""


@dataclass(frozen=True, slots=True)
class Waited(Answered):
    """A 429: the chat waits."""


@dataclass(frozen=True, slots=True)
class Retried(Answered):
    """Not executed; comes again, after the backoff or once what stood in its way is gone."""


@dataclass(frozen=True, slots=True)
class Uncertain(Answered):
    """Perhaps executed; the message's on_uncertain decides."""


@dataclass(frozen=True, slots=True)
class Died(Answered):
    """A person must look."""


@dataclass(frozen=True, slots=True)
class Faulted:
    """A lane that ended by a fault of ours: its outcome is uncertain, of class worker_fault."""

    bot: str
    chat_id: str
    message_id: int
    attempt: int
    fault: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A claimed lane that was not sent.

    stale, stopping, lease (the worker may not send now), no_token: it comes again · not_allowed: it is discarded.
    """

    bot: str
    chat_id: str
    message_id: int
    attempt: int
    correlation_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Flushed:
    duration_s: float
    results: int
    applied: int
    oldest_s: float
    """Age of the oldest result when its flush ended."""


@dataclass(frozen=True, slots=True)
class DatabaseFailed:
    """A call that did not work and is tried again."""

    call: str
    error: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class LeaseTaken:
    incarnation: int
    reason: str
    """start | lost"""


@dataclass(frozen=True, slots=True)
class Reaped:
    lanes: int


@dataclass(frozen=True, slots=True)
class MoodChanged:
    """idle: inserts ring the bell. busy: the worker polls."""

    idle: bool


@dataclass(frozen=True, slots=True)
class BellTested:
    """Whether a NOTIFY sent through the pool reaches the listening connection."""

    works: bool


@dataclass(frozen=True, slots=True)
class TokenChecked:
    """getMe's verdict on a bot token. None: the API could not be asked."""

    bot: str
    accepted: bool | None
    http_status: int | None
    error_text: str | None


@dataclass(frozen=True, slots=True)
class BotIsAnother:
    """A bot that is not served: its token is of another Telegram bot than the database remembers, by their ids."""

    bot: str
    remembered: str
    present: str


@dataclass(frozen=True, slots=True)
class TokensRead:
    """The file of bot tokens changed: which bots came, got a new token, or went."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokensNotRead:
    """The file of bot tokens changed and is no good: the tokens from before stay in use."""

    error: str


@dataclass(frozen=True, slots=True)
class Spooled:
    """Results are on the disk because the database is away or slow."""

    results: int
    bytes: int
    """Size of the file with them."""


@dataclass(frozen=True, slots=True)
class SpoolFull:
    """Further results stay in memory, and nothing is claimed until the database takes them."""

    results: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SpoolRead:
    """A file that an earlier process left behind."""

    results: int
    skipped: int
    """Lines that are no result: the last one of a process that died while it wrote."""


@dataclass(frozen=True, slots=True)
class SpoolLeft:
    """Files of other databases, which only a worker of theirs can bring."""

    folder: str
    files: int


@dataclass(frozen=True, slots=True)
class SpoolFailed:
    """The disk did not do it: results stay in memory."""

    path: str
    error: str


Event = (
    Started
    | Stopped
    | ClaimDone
    | Claimed
    | Sent
    | Waited
    | Retried
    | Uncertain
    | Died
    | Faulted
    | GivenBack
    | Flushed
    | DatabaseFailed
    | LeaseTaken
    | Reaped
    | MoodChanged
    | BellTested
    | TokenChecked
    | BotIsAnother
    | TokensRead
    | TokensNotRead
    | Spooled
    | SpoolFull
    | SpoolRead
    | SpoolLeft
    | SpoolFailed
)
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of a worker nobody listens to."""


def shielded(emit: Emit) -> Emit:
    """The same listener, unable to raise: a fault in a metric must not stop a message."""

    def emit_shielded(event: Event) -> None:
        with contextlib.suppress(Exception):
            emit(event)

    return emit_shielded
