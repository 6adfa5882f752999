"""Refusals: what Telegram finds wrong in a call whatever the traffic, in its words."""

from typing import Any

from outbox.simulator.files import FIELDS, is_foreign, is_too_big
from outbox.simulator.methods import MULTIPLES, elements, is_send, returns_the_message
from outbox.simulator.peers import names_a_chat
from outbox.simulator.values import number

Json = dict[str, Any]

# Lengths are Telegram's documented ones (Bot API, sendMessage and sendPhoto), in characters.
MOST_TEXT = 4096
MOST_CAPTION = 1024
MOST_ALBUM = 10
MOST_IDS = 100
_NEED_A_CHAT = frozenset({"deletemessage", "getchat", "sendchataction"})


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
    elif method in FIELDS and not parameters.get(FIELDS[method]):
        raise RefusedError(400, f"Bad Request: there is no {FIELDS[method].replace('_', ' ')} in the request")
    elif method == "setwebhook" and str(parameters.get("url", "")).lower().startswith("http://"):
        raise RefusedError(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
    elif method in MULTIPLES:
        _refuse_bad_list(method, elements(parameters, MULTIPLES[method]))
    caption = parameters.get("caption")
    if isinstance(caption, str) and len(caption) > MOST_CAPTION:
        raise RefusedError(400, "Bad Request: message caption is too long")

    changes = returns_the_message(method)
    if changes and "inline_message_id" in parameters:
        return
    if changes or is_send(method) or method in _NEED_A_CHAT:
        if chat is None:
            raise RefusedError(400, "Bad Request: chat_id is empty")
        if not names_a_chat(chat):
            raise RefusedError(400, "Bad Request: chat not found")
    if (changes or method == "deletemessage") and number(parameters.get("message_id")) is None:
        raise RefusedError(400, "Bad Request: message identifier is not specified")


def refuse_bad_file(method: str, bot: str, parameters: Json) -> None:
    """Raise RefusedError for a file_id that this simulator gave to another bot, and for a download that is too big."""
    if method == "getfile":
        if is_foreign(bot, parameters.get("file_id")) or not parameters.get("file_id"):
            raise RefusedError(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if is_too_big(parameters["file_id"]):
            raise RefusedError(400, "Bad Request: file is too big")
    if method in FIELDS and is_foreign(bot, parameters.get(FIELDS[method])):
        raise RefusedError(400, "Bad Request: wrong file identifier/HTTP URL specified")
    if method == "sendmediagroup":
        for position, element in enumerate(elements(parameters, "media") or (), start=1):
            if isinstance(element, dict) and is_foreign(bot, element.get("media")):
                text = "Wrong file identifier/HTTP URL specified"
                raise RefusedError(
                    400, f'Bad Request: failed to send message #{position} with the error message "{text}"'
                )


def _refuse_bad_list(method: str, listed: list[Any] | None) -> None:
    if method == "sendmediagroup":
        if not listed:
            raise RefusedError(400, "Bad Request: can't parse media JSON object")
        if len(listed) > MOST_ALBUM:
            raise RefusedError(400, "Bad Request: too many messages to send as an album")
        return
    if not listed:
        raise RefusedError(400, "Bad Request: message identifiers are not specified")
    numbers = [number(one) for one in listed]
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
