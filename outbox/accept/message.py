"""What one message may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, TypedDict


class Priority(IntEnum):
    """Who goes first, within a chat and within a bot. Every tenth slot is kept for the worse ones."""

    critical = 0
    high = 1
    normal = 2
    low = 3


class Columns(TypedDict, total=False):
    """What may be set beside chat_id and payload; Message says what each of them means."""

    bot: str | None
    method: str | None
    priority: Priority | int | None
    next_attempt_at: datetime | None
    expires_at: datetime | None
    max_attempts: int | None
    correlation_id: str | None
    idempotency_key: str | None
    collapse_key: str | None
    on_uncertain: Literal["retry", "hold"] | None
    tag: str | None
    target_id: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one chat. None leaves a column out, so that the database's default holds."""

    chat_id: int | str
    """The chat's number, such as 42 or -1001234567890, or its @name in any case (Bot API, `chat_id`)."""

    payload: Mapping[str, Any] = field(repr=False)
    """The method's parameters without chat_id, as the Bot API names them; at most 256 kB as jsonb."""

    _: KW_ONLY

    bot: str | None = None
    """Which bot sends it: a row of outbox.bot. Default: 'default'."""

    method: str | None = None
    """The Bot API's method. Default: sendMessage."""

    priority: Priority | int | None = None
    """0 critical, 1 high, 2 normal, 3 low. Default: normal."""

    next_attempt_at: datetime | None = None
    """Not sent before this time, which needs a time zone. Default: now, the start of the transaction."""

    expires_at: datetime | None = None
    """Not sent from this time on, which needs a time zone; it ends as `expired`. Default: never."""

    max_attempts: int | None = None
    """Calls that may fail before it is a dead letter; waiting for a 429 is none. Default: the bot's (10)."""

    correlation_id: str | None = None
    """Your name for it in history, logs and traces, at most 200 characters. Default: a random UUID."""

    idempotency_key: str | None = None
    """A second message of the bot with this key is not stored, for 7 days unless the bot says otherwise."""

    collapse_key: str | None = None
    """Of those that wait in the chat under this key only the newest payload is sent."""

    on_uncertain: Literal["retry", "hold"] | None = None
    """When nobody knows whether Telegram sent it: retry (may come twice, the default) or hold (a person decides)."""

    tag: str | None = None
    """A free label to count, find and stop messages by, at most 200 characters."""

    target_id: int | None = None
    """The id of an earlier message of the same bot and chat that this one edits, deletes, pins or answers.

    It goes after that one, whose Telegram message id is put into the payload: as reply_parameters.message_id of a
    send… method, in message_ids of deleteMessages, copyMessages and forwardMessages, else as message_id. It ends
    unsent when that one does: dead (`target_died`, `target_missing`) or discarded (`target_not_sent`).
    """
