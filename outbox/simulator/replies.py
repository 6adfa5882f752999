"""Results and refusals of the real shape: what Telegram would answer to a call that is allowed to happen."""

import json
import re
import zlib
from typing import Any, TypeGuard

from outbox.simulator.methods import MULTIPLES, elements, is_edit, is_send

Json = dict[str, Any]

# Lengths are Telegram's documented ones (Bot API, sendMessage and sendPhoto), in characters.
MOST_TEXT = 4096
MOST_CAPTION = 1024
MOST_ALBUM = 10
MOST_IDS = 100

# As _media makes them; the last letter names a smaller size of a photo.
_FILE_ID = re.compile(r"AgACAgIAAxk[0-9a-f]{8}(?P<bot>[0-9]+)[smx]?")
_PHOTO_SIZES = (("s", 90, 51), ("m", 320, 180), ("x", 800, 450), ("y", 1280, 720))
_FILES = {
    "sendphoto": "photo",
    "senddocument": "document",
    "sendvideo": "video",
    "sendaudio": "audio",
    "sendanimation": "animation",
    "sendvoice": "voice",
    "sendvideonote": "video_note",
    "sendsticker": "sticker",
}


class RefusedError(Exception):
    """The call is wrong in itself: status and description as Telegram gives them."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


def refuse_bad_call(method: str, chat: str | None, parameters: Json) -> None:
    """Raise RefusedError for what Telegram finds wrong in itself; the content is judged before the chat."""
    if method in ("sendmessage", "editmessagetext"):
        text = parameters.get("text")
        if not isinstance(text, str) or not text.strip():
            raise RefusedError(400, "Bad Request: message text is empty")
        if len(text) > MOST_TEXT:
            raise RefusedError(400, "Bad Request: message is too long")
    elif method in _FILES and not parameters.get(_FILES[method]):
        raise RefusedError(400, f"Bad Request: there is no {_FILES[method].replace('_', ' ')} in the request")
    elif method in MULTIPLES:
        _refuse_bad_list(method, elements(parameters, MULTIPLES[method]))
    caption = parameters.get("caption")
    if isinstance(caption, str) and len(caption) > MOST_CAPTION:
        raise RefusedError(400, "Bad Request: message caption is too long")

    if is_edit(method) and "inline_message_id" in parameters:
        return
    if is_edit(method) or is_send(method) or method in ("deletemessage", "sendchataction"):
        if chat is None:
            raise RefusedError(400, "Bad Request: chat_id is empty")
        if not _names_a_chat(chat):
            raise RefusedError(400, "Bad Request: chat not found")
    if (is_edit(method) or method == "deletemessage") and _number(parameters.get("message_id")) is None:
        raise RefusedError(400, "Bad Request: message identifier is not specified")


def refuse_foreign_file(method: str, bot: str, parameters: Json) -> None:
    """Raise RefusedError for a file_id that this simulator gave to another bot: file ids are per bot."""
    if method in _FILES and _is_foreign(bot, parameters.get(_FILES[method])):
        raise RefusedError(400, "Bad Request: wrong file identifier/HTTP URL specified")
    if method == "sendmediagroup":
        for position, element in enumerate(elements(parameters, "media") or (), start=1):
            if isinstance(element, dict) and _is_foreign(bot, element.get("media")):
                text = "Wrong file identifier/HTTP URL specified"
                raise RefusedError(
                    400, f'Bad Request: failed to send message #{position} with the error message "{text}"'
                )


def _is_foreign(bot: str, file_id: Any) -> bool:
    made_here = _FILE_ID.fullmatch(file_id) if isinstance(file_id, str) else None
    return made_here is not None and made_here["bot"] != bot


def _refuse_bad_list(method: str, listed: list[Any] | None) -> None:
    if method == "sendmediagroup":
        if not listed:
            raise RefusedError(400, "Bad Request: can't parse media JSON object")
        if len(listed) > MOST_ALBUM:
            raise RefusedError(400, "Bad Request: too many messages to send as an album")
        return
    if not listed:
        raise RefusedError(400, "Bad Request: message identifiers are not specified")
    numbers = [_number(one) for one in listed]
    known = [one for one in numbers if one is not None]
    if len(known) < len(numbers) or any(known[i] >= known[i + 1] for i in range(len(known) - 1)):
        raise RefusedError(400, "Bad Request: message identifiers must be in a strictly increasing order")
    if len(listed) > MOST_IDS:
        raise RefusedError(400, "Bad Request: too many message identifiers specified")


def error_body(code: int, description: str, parameters: Json | None = None) -> Json:
    body: Json = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return body


class Replies:
    """Makes results; remembers only the last message_id of each chat, so that ids grow as real ones do."""

    def __init__(self) -> None:
        self._last_ids: dict[tuple[str, str], int] = {}

    def result(self, method: str, bot: str, chat: str | None, parameters: Json, now_unix: int) -> Any:
        """The `result` of an accepted call; messages carry `now_unix` (seconds) as their date."""
        if is_send(method) and chat is not None:
            return self._sent(method, bot, chat, parameters, now_unix)
        if is_edit(method):
            if chat is None:
                return True
            message = _message(bot, chat, _number(parameters.get("message_id")) or 0, now_unix, parameters)
            message["edit_date"] = now_unix
            return message
        return _answer(method, bot, chat, parameters)

    def _sent(self, method: str, bot: str, chat: str, parameters: Json, now_unix: int) -> Any:
        if method == "copymessage":
            return {"message_id": self._next_id(bot, chat)}
        if method in ("copymessages", "forwardmessages"):
            return [{"message_id": self._next_id(bot, chat)} for _ in elements(parameters, "message_ids") or ()]
        if method == "sendmediagroup":
            return self._album(bot, chat, parameters, now_unix)
        message = _message(bot, chat, self._next_id(bot, chat), now_unix, parameters)
        if method == "forwardmessage":
            message["forward_origin"] = {"type": "hidden_user", "sender_user_name": "Someone", "date": now_unix}
            message["text"] = "forwarded"
        elif method in _FILES:
            kind = _FILES[method]
            message[kind] = _media(kind, bot, parameters[kind])
        elif method == "senddice":
            message["dice"] = {"emoji": parameters.get("emoji", "🎲"), "value": 1 + message["message_id"] % 6}
        elif method == "sendlocation":
            message["location"] = {
                "latitude": float(parameters.get("latitude", 0)),
                "longitude": float(parameters.get("longitude", 0)),
            }
        return message

    def _album(self, bot: str, chat: str, parameters: Json, now_unix: int) -> list[Json]:
        messages = []
        group_id = ""
        for element in elements(parameters, "media") or ():
            described: Json = element if isinstance(element, dict) else {}
            message = _message(bot, chat, self._next_id(bot, chat), now_unix, described)
            group_id = group_id or str(zlib.crc32(f"{bot}/{chat}/{message['message_id']}".encode()))
            message["media_group_id"] = group_id
            kind = str(described.get("type", "photo"))
            source = str(described.get("media", ""))
            message[kind] = _media(kind, bot, parameters.get(source.removeprefix("attach://"), source))
            messages.append(message)
        return messages

    def _next_id(self, bot: str, chat: str) -> int:
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
    thread = _number(parameters.get("message_thread_id"))
    if thread is not None:
        message["message_thread_id"] = thread
    markup = _object(parameters.get("reply_markup"))
    if markup is not None and "inline_keyboard" in markup:
        message["reply_markup"] = markup
    return message


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


def bot_object(bot: str) -> Json:
    return {"id": int(bot), "is_bot": True, "first_name": f"Bot {bot}", "username": f"simulated_{bot}_bot"}


def _media(kind: str, bot: str, source: Any) -> Any:
    """A file of that kind; a file_id that the client sent comes back, so that senders can reuse what they keep."""
    size_bytes = getattr(source, "size_bytes", 50_000)
    name = str(getattr(source, "name", source))
    fingerprint = f"{zlib.crc32(f'{bot}/{kind}/{name}/{size_bytes}'.encode()):08x}"
    is_file_id = isinstance(source, str) and "://" not in source and bool(source)
    file_id = name if is_file_id else f"AgACAgIAAxk{fingerprint}{bot}"
    if kind != "photo":
        return {"file_id": file_id, "file_unique_id": f"AgAD{fingerprint}", "file_size": size_bytes}
    largest = _PHOTO_SIZES[-1][0]
    return [
        {
            "file_id": file_id if letter == largest else f"{file_id}{letter}",
            "file_unique_id": f"AQAD{fingerprint}{letter}",
            "width": width,
            "height": height,
            "file_size": max(1, size_bytes * width // _PHOTO_SIZES[-1][1]),
        }
        for letter, width, height in _PHOTO_SIZES
    ]


def _answer(method: str, bot: str, chat: str | None, parameters: Json) -> Any:
    if method == "getme":
        return {
            **bot_object(bot),
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }
    if method in ("getupdates", "getmycommands", "getchatadministrators"):
        return []
    if method == "getwebhookinfo":
        return {"url": "", "has_custom_certificate": False, "pending_update_count": 0}
    if method == "getchat" and chat is not None and _names_a_chat(chat):
        return chat_object(chat)
    if method == "getfile":
        file_id = str(parameters.get("file_id", ""))
        return {"file_id": file_id, "file_unique_id": f"AgAD{zlib.crc32(file_id.encode()):08x}", "file_size": 50_000}
    return True


def _names_a_chat(chat: str) -> bool:
    return (chat.startswith("@") and len(chat) > 1) or _number(chat) not in (None, 0)


def _number(value: Any) -> int | None:
    if _is_int(value):
        return value
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(value)
    return None


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(value: Any) -> Json | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None
