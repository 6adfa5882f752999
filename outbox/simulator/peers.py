"""Chats, users and bots as the Bot API describes them; everybody exists."""

import zlib
from typing import Any

from outbox.simulator.values import number

Json = dict[str, Any]

# A group's members and writers need an id; any will do.
SOMEBODY = 1001


def names_a_chat(chat: str) -> bool:
    return (chat.startswith("@") and len(chat) > 1) or number(chat) not in (None, 0)


def chat_object(chat: str) -> Json:
    """Private for a positive id, supergroup for -100…, group for other negative ids, channel for a @name."""
    if chat.startswith("@"):
        chat_id = -1_000_000_000_000 - zlib.crc32(chat.encode())
        return {"id": chat_id, "title": chat[1:], "username": chat[1:], "type": "channel"}
    chat_id = int(chat)
    if chat_id > 0:
        return {"id": chat_id, "first_name": f"User {chat_id}", "type": "private"}
    if chat.startswith("-100") and len(chat) > 10:
        return {"id": chat_id, "title": f"Supergroup {chat_id}", "type": "supergroup"}
    return {"id": chat_id, "title": f"Group {chat_id}", "type": "group", "all_members_are_administrators": True}


def full_chat(chat: str) -> Json:
    """The chat as getChat tells it."""
    accepted = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
    return {
        **chat_object(chat),
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": dict.fromkeys(accepted, True),
    }


def bot_object(bot: str) -> Json:
    return {"id": int(bot), "is_bot": True, "first_name": f"Bot {bot}", "username": f"simulated_{bot}_bot"}


def bot_itself(bot: str) -> Json:
    """The bot as getMe tells it."""
    return {
        **bot_object(bot),
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": False,
    }


def user_object(user_id: int) -> Json:
    return {"id": user_id, "is_bot": False, "first_name": f"User {user_id}"}
