"""What a method is and what it costs. Method names here are in lower case, as the server compares them."""

from typing import Any

from outbox.simulator.values import listed

# Edits share the budget of sends (tdlib/td#2592, #3034); chat actions, deletes, answers to callbacks do not.
# Drafts are chat actions (sendMessageTextDraftAction of Telegram's TL schema).
_FREE_SENDS = frozenset(
    {"sendchataction", "sendchatjoinrequestwebapp", "sendgift", "sendmessagedraft", "sendrichmessagedraft"}
)
_COPIES = frozenset({"copymessage", "copymessages", "forwardmessage", "forwardmessages"})
MULTIPLES = {"sendmediagroup": "media", "copymessages": "message_ids", "forwardmessages": "message_ids"}


def is_send(method: str) -> bool:
    """It puts a new message into a chat."""
    return method in _COPIES or (method.startswith("send") and method not in _FREE_SENDS)


def is_edit(method: str) -> bool:
    """It changes a message that is there."""
    return method.startswith("editmessage")


def returns_the_message(method: str) -> bool:
    """It answers with the message that it changed, or true for an inline one."""
    return is_edit(method) or method in ("stopmessagelivelocation", "setgamescore")


def cost(method: str, parameters: dict[str, Any]) -> int:
    """Places the call takes in the windows of bot and group: 0 for free methods, one per element of an album."""
    if not (is_send(method) or is_edit(method)):
        return 0
    name = MULTIPLES.get(method)
    return 1 if name is None else max(1, len(elements(parameters, name) or ()))


def elements(parameters: dict[str, Any], name: str) -> list[Any] | None:
    """The list in a parameter, which clients send as JSON or as a string of JSON; None: it is no list."""
    return listed(parameters.get(name))
