"""A message that a user wrote, as an update."""

import re
from typing import Any

from outbox.simulator.peers import SOMEBODY, chat_object, names_a_chat, user_object
from outbox.simulator.updates import BadUpdateError
from outbox.simulator.values import number

Json = dict[str, Any]

_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]+)?(?!\w)")


def check_incoming(given: Any) -> str:
    """The chat that the message is in. Raises BadUpdateError."""
    chat = str(given.get("chat_id", "")).lower() if isinstance(given, dict) else ""
    if not names_a_chat(chat):
        raise BadUpdateError('a message is a JSON object like {"chat_id": 42, "text": "/start"}; chat_id is missing.')
    return chat


def incoming_update(chat: str, message_id: int, now_unix: int, fields: Json) -> Json:
    """The update for a message with these fields besides id, date, chat and sender; those given win.

    The sender is the user of a private chat, somebody in a group, nobody in a channel. A command at the beginning of
    the text is marked as one, which clients rely on; other entities are the caller's.
    """
    of_chat = chat_object(chat)
    message: Json = {"message_id": message_id, "date": now_unix, "chat": of_chat}
    is_post = of_chat["type"] == "channel"
    if is_post:
        message["sender_chat"] = of_chat
    else:
        message["from"] = user_object(SOMEBODY if (number(chat) or 0) < 0 else int(chat))
    text = fields.get("text")
    command = _COMMAND.match(text) if isinstance(text, str) else None
    if command is not None:
        message["entities"] = [{"type": "bot_command", "offset": 0, "length": command.end()}]
    return {"channel_post" if is_post else "message": message | fields}
