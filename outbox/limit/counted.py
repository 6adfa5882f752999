"""Which calls of the Bot API Telegram counts against its limits, for which chat, and as how many messages.

Knows no library. tdlib/td and tdlib/telegram-bot-api are the sources, and what their author said in their issues.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Parameters = Callable[[str], Any]
"""Gives the value of a parameter of a call; None: it has none."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A call that counts."""

    lane: str
    """Calls with the same one go one after another: the chat, or the inline message that is edited."""
    chat_id: str | None
    """Whose slot it takes; None: it names no chat that a slot could be taken for, and takes none."""
    cost: int
    """The number of messages it makes."""


@dataclass(frozen=True, slots=True)
class _Rule:
    methods: str
    """Matches the whole name in lower case."""
    counts: bool
    why: str


# The first that fits decides. What fits none (get…, set…, delete…, pin…, answer…) sends no message of the bot's.
_RULES: Final = (
    # A draft is a chat action too, sendMessageTextDraftAction, and not a message. Both have a flood of their own.
    _Rule("sendchataction|send(rich)?messagedraft", False, "td DialogActionManager: messages.setTyping"),
    _Rule("sendgift", False, "a payment"),
    _Rule("sendchatjoinrequestwebapp", False, "answers a join request with a web app"),
    _Rule("send.*", True, "a new message"),
    _Rule("(copy|forward)messages?", True, "new messages"),
    _Rule("createforumtopic", True, "td#2592: creating a forum topic is sending a message"),
    _Rule("edit(ephemeral)?message.*", True, "td#2592, td#3034: edits and sends share their limits"),
    _Rule("stop(poll|messagelivelocation)|setgamescore", True, "edits of a message by other names"),
)

# Telegram documents no figure for many messages by one call; its server's books count each (TELEGRAM.md section 8). The
# same in SQL: outbox.message_cost.
_PARTS: Final = {
    "sendmediagroup": ("media", 10),
    "copymessages": ("message_ids", 100),
    "forwardmessages": ("message_ids", 100),
}

# What outbox.acquire takes. Telegram refuses any other, so that a call with one may as well be refused at once.
_CHAT_ID: Final = re.compile(r"-?[1-9][0-9]{0,18}|@[a-z][a-z0-9_]{2,63}", re.ASCII)


def counted(method: str, parameters: Parameters) -> Counted | None:
    """Return what a call counts as; None: it takes no place in any limit. Never raises."""
    name = method.lower()
    rule = next((rule for rule in _RULES if re.fullmatch(rule.methods, name)), None)
    if rule is None or not rule.counts:
        return None
    chat_id = parameters("chat_id")
    if chat_id is None:
        inline_message_id = parameters("inline_message_id")
        return None if inline_message_id is None else Counted(f"inline {inline_message_id}", None, 1)
    lane = str(chat_id).strip().lower()
    return Counted(lane, lane, _cost(name, parameters)) if _CHAT_ID.fullmatch(lane) else None


def _cost(name: str, parameters: Parameters) -> int:
    if name not in _PARTS:
        return 1
    key, most = _PARTS[name]
    parts = parameters(key)
    if isinstance(parts, str):  # JSON of the caller's own
        return most
    return min(max(len(parts), 1), most) if isinstance(parts, Sequence) else 1
