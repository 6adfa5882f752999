"""Messages of the real shape: what Telegram would answer to a call that is allowed to happen."""

import zlib
from typing import Any

from outbox.simulator.contents import content, element_content
from outbox.simulator.methods import elements, is_send, returns_the_message
from outbox.simulator.peers import bot_object, chat_object
from outbox.simulator.results import Asked, result_of
from outbox.simulator.values import number, table

Json = dict[str, Any]


class Replies:
    """Makes results; remembers only the last message_id of each chat, so that ids grow as real ones do."""

    def __init__(self) -> None:
        self._last_ids: dict[tuple[str, str], int] = {}

    def result(self, method: str, bot: str, chat: str | None, parameters: Json, now_unix: int) -> Any:
        """The `result` of an accepted call; messages carry `now_unix` (seconds) as their date."""
        if is_send(method) and chat is not None:
            return self._sent(method, bot, chat, parameters, now_unix)
        if returns_the_message(method):
            if chat is None:
                return True
            message = _message(bot, chat, number(parameters.get("message_id")) or 0, now_unix, parameters)
            if method == "editmessagemedia":
                message |= element_content(bot, table(parameters.get("media")) or {}, parameters)
            return message | content(method, bot, message["message_id"], parameters) | {"edit_date": now_unix}
        return result_of(Asked(method, bot, chat, parameters, now_unix))

    def _sent(self, method: str, bot: str, chat: str, parameters: Json, now_unix: int) -> Any:
        if method == "copymessage":
            return {"message_id": self.next_id(bot, chat)}
        if method in ("copymessages", "forwardmessages"):
            return [{"message_id": self.next_id(bot, chat)} for _ in elements(parameters, "message_ids") or ()]
        if method == "sendmediagroup":
            return self._album(bot, chat, parameters, now_unix)
        message = _message(bot, chat, self.next_id(bot, chat), now_unix, parameters)
        if method == "forwardmessage":
            message["forward_origin"] = {"type": "hidden_user", "sender_user_name": "Someone", "date": now_unix}
            message["text"] = "forwarded"
        return message | content(method, bot, message["message_id"], parameters)

    def _album(self, bot: str, chat: str, parameters: Json, now_unix: int) -> list[Json]:
        messages = []
        group_id = ""
        for element in elements(parameters, "media") or ():
            described: Json = element if isinstance(element, dict) else {}
            message = _message(bot, chat, self.next_id(bot, chat), now_unix, described)
            group_id = group_id or str(zlib.crc32(f"{bot}/{chat}/{message['message_id']}".encode()))
            message["media_group_id"] = group_id
            messages.append(message | element_content(bot, described, parameters))
        return messages

    def next_id(self, bot: str, chat: str) -> int:
        """The message_id of the next message in that chat."""
        # Private chats number their messages per bot; in a group or channel all bots share one sequence.
        key = ("", chat) if chat.startswith(("-", "@")) else (bot, chat)
        self._last_ids[key] = last = self._last_ids.get(key, 0) + 1
        return last


def _message(bot: str, chat: str, message_id: int, now_unix: int, parameters: Json) -> Json:
    of_chat = chat_object(chat)
    message: Json = {"message_id": message_id}
    if of_chat["type"] == "channel":
        message["sender_chat"] = of_chat
    message["from"] = bot_object(bot)
    message["chat"] = of_chat
    message["date"] = now_unix
    for name in ("text", "caption"):
        if isinstance(parameters.get(name), str):
            message[name] = parameters[name]
    thread = number(parameters.get("message_thread_id"))
    if thread is not None:
        message["message_thread_id"] = thread
    markup = table(parameters.get("reply_markup"))
    if markup is not None and "inline_keyboard" in markup:
        message["reply_markup"] = markup
    return message
