"""A bot's policy: its options by their names in outbox.bot, what they mean, and the call that changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple


class Option(NamedTuple):
    """One value of the policy. What is too much or too little the database knows."""

    name: str
    label: str
    hint: str
    kind: Literal["int", "float8", "boolean"] = "float8"  # as SQL names it


GROUPS: Final[tuple[tuple[str, tuple[Option, ...]], ...]] = (
    (
        "Limits",
        (
            Option("rate", "Messages of the bot", "per window; Telegram's limit is 30 in 1 s. 0: no limit", "int"),
            Option("rate_window_s", "Window of the bot, s", "length of that window in seconds"),
            Option(
                "chat_interval_s", "Interval of a chat, s", "between two messages to one chat; Telegram's is about 1"
            ),
            Option(
                "group_limit", "Messages to a group", "per window; Telegram's limit is 20 in 60 s. 0: no limit", "int"
            ),
            Option("group_window_s", "Window of a group, s", "length of that window in seconds"),
        ),
    ),
    (
        "Failed attempts",
        (
            Option("max_attempts", "Attempts", "then a message becomes a dead letter", "int"),
            Option("backoff_initial_s", "First wait, s", "the longest after the first failed attempt"),
            Option("backoff_factor", "Growth", "each wait may be this many times as long as the one before"),
            Option("backoff_max_s", "Longest wait, s", "a 429 is obeyed whatever it says"),
        ),
    ),
    (
        "Breaker",
        (
            Option("breaker_answers", "Answers", "it opens on no fewer in 30 s", "int"),
            Option("breaker_failure_share", "Share of failures", "of these answers, 0.001 to 1"),
            Option("breaker_open_s", "Open for, s", "at first; each time twice as long"),
            Option("breaker_open_max_s", "Open at most, s", "at a time"),
            Option("breaker_probes", "Probes", "let out when half-open; all must pass", "int"),
        ),
    ),
    (
        "Kept and sent",
        (
            Option("idempotency_s", "Idempotency keys, s", "how long one is remembered; 604800 is 7 days"),
            Option("keep_payload", "Keep what was sent", "whether history keeps what messages held", "boolean"),
            Option(
                "allow_paid_broadcast", "Paid broadcast", "no: allow_paid_broadcast is left out of messages", "boolean"
            ),
        ),
    ),
)
OPTIONS: Final = tuple(option for _, options in GROUPS for option in options)


def policy_of(bot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy of a row of outbox.bot; None where there is no limit."""
    return {
        option.name: bot["paid_broadcast_refused_at"] is None
        if option.name == "allow_paid_broadcast"
        else bot[option.name]
        for option in OPTIONS
    }


def set_bot_call(bot: str, changes: Mapping[str, float | bool]) -> tuple[str, dict[str, Any]]:
    """Return the call of outbox.set_bot, of the options that change alone: the audit shows them."""
    options = [option for option in OPTIONS if option.name in changes]
    arguments = "".join(f", p_{option.name} => %({option.name})s::{option.kind}" for option in options)
    call = f"SELECT outbox.set_bot(%(bot)s::text{arguments})"
    return call, {"bot": bot} | {option.name: changes[option.name] for option in options}
