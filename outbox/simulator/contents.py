"""What a sent message holds besides text, by the method that sent it."""

import zlib
from typing import Any

from outbox.simulator.files import FIELDS, media, uploaded
from outbox.simulator.values import flag, listed, number, real, table

Json = dict[str, Any]


def content(method: str, bot: str, message_id: int, parameters: Json) -> Json:
    """The fields of the message that `method` (in lower case) makes; none for a plain text."""
    if method in FIELDS:
        kind = FIELDS[method]
        return {kind: media(kind, bot, uploaded(parameters, parameters.get(kind)))}
    make = _CONTENTS.get(method)
    return {} if make is None else make(bot, message_id, parameters)


def element_content(bot: str, element: Json, parameters: Json) -> Json:
    """The file of an InputMedia: an element of an album, or the new content of an edit."""
    kind = str(element.get("type", "photo"))
    return {kind: media(kind, bot, uploaded(parameters, str(element.get("media", ""))))}


def poll_object(poll_id: str, parameters: Json, is_closed: bool = False) -> Json:
    """A poll as it was asked for, without a vote yet."""
    options = [one if isinstance(one, dict) else {"text": str(one)} for one in listed(parameters.get("options")) or ()]
    return {
        "id": poll_id,
        "question": str(parameters.get("question", "")),
        "options": [
            {"persistent_id": str(place), "text": str(option.get("text", "")), "voter_count": 0}
            for place, option in enumerate(options)
        ],
        "total_voter_count": 0,
        "is_closed": is_closed or flag(parameters.get("is_closed")),
        "is_anonymous": flag(parameters.get("is_anonymous"), default=True),
        "type": str(parameters.get("type") or "regular"),
        "allows_multiple_answers": flag(parameters.get("allows_multiple_answers")),
        "allows_revoting": flag(parameters.get("allows_revoting"), default=True),
        "members_only": flag(parameters.get("members_only")),
    }


def _poll(bot: str, message_id: int, parameters: Json) -> Json:
    question = f"{bot}/{parameters.get('chat_id')}/{message_id}"
    return {"poll": poll_object(str(zlib.crc32(question.encode())), parameters)}


def _dice(bot: str, message_id: int, parameters: Json) -> Json:
    return {"dice": {"emoji": parameters.get("emoji") or "🎲", "value": 1 + message_id % 6}}


def _location(bot: str, message_id: int, parameters: Json) -> Json:
    return {"location": {"latitude": real(parameters.get("latitude")), "longitude": real(parameters.get("longitude"))}}


def _venue(bot: str, message_id: int, parameters: Json) -> Json:
    location = _location(bot, message_id, parameters)
    return location | {"venue": location | _texts(parameters, "title", "address")}


def _contact(bot: str, message_id: int, parameters: Json) -> Json:
    return {"contact": _texts(parameters, "phone_number", "first_name")}


def _game(bot: str, message_id: int, parameters: Json) -> Json:
    name = str(parameters.get("game_short_name", ""))
    return {"game": {"title": name, "description": name, "photo": media("photo", bot, name)}}


def _invoice(bot: str, message_id: int, parameters: Json) -> Json:
    prices = [table(price) or {} for price in listed(parameters.get("prices")) or ()]
    return {
        "invoice": _texts(parameters, "title", "description", "start_parameter", "currency")
        | {"total_amount": sum(number(price.get("amount")) or 0 for price in prices)}
    }


def _paid_media(bot: str, message_id: int, parameters: Json) -> Json:
    elements = [table(one) or {} for one in listed(parameters.get("media")) or ()]
    return {
        "paid_media": {
            "star_count": number(parameters.get("star_count")) or 1,
            "paid_media": [
                {"type": str(one.get("type", "photo"))} | element_content(bot, one, parameters) for one in elements
            ],
        }
    }


def _checklist(bot: str, message_id: int, parameters: Json) -> Json:
    asked = table(parameters.get("checklist")) or {}
    tasks = [table(task) or {} for task in listed(asked.get("tasks")) or ()]
    return {
        "checklist": _texts(asked, "title")
        | {"tasks": [{"id": number(task.get("id")) or 1, "text": str(task.get("text", ""))} for task in tasks]}
    }


def _rich_message(bot: str, message_id: int, parameters: Json) -> Json:
    # Its blocks come from HTML or Markdown, which nobody here parses.
    return {"rich_message": {"blocks": []}}


def _texts(source: Json, *names: str) -> Json:
    return {name: str(source.get(name, "")) for name in names}


_CONTENTS = {
    "sendpoll": _poll,
    "senddice": _dice,
    "sendlocation": _location,
    "editmessagelivelocation": _location,
    "sendvenue": _venue,
    "sendcontact": _contact,
    "sendgame": _game,
    "sendinvoice": _invoice,
    "sendpaidmedia": _paid_media,
    "sendchecklist": _checklist,
    "editmessagechecklist": _checklist,
    "sendrichmessage": _rich_message,
}
