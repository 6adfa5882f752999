"""What a chat can be: blocked, gone, forbidden, or moved to another id; in Telegram's exact words."""

from outbox.simulator.answers import refusal
from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.ledger import Call
from outbox.simulator.match import Match
from outbox.simulator.peers import chat_object
from outbox.simulator.stroke import Effect, Scene, Stroke

# tdlib/telegram-bot-api Client.cpp and tdlib/td MessageContent.cpp; {kind} is filled in from the chat or the method.
_STATES: dict[str, tuple[int, str]] = {
    "blocked": (403, "Forbidden: bot was blocked by the user"),
    "deactivated": (403, "Forbidden: user is deactivated"),
    "kicked": (403, "Forbidden: bot was kicked from the {chat} chat"),
    "not_a_member": (403, "Forbidden: bot is not a member of the {chat} chat"),
    "cannot_initiate": (403, "Forbidden: bot can't initiate conversation with a user"),
    "not_found": (400, "Bad Request: chat not found"),
    "no_rights": (400, "Bad Request: not enough rights to send {content} to the chat"),
    "thread_not_found": (400, "Bad Request: message thread not found"),
}
_CONTENTS = {
    "sendphoto": "photos",
    "sendvideo": "videos",
    "sendanimation": "animations",
    "sendvideonote": "video notes",
    "sendvoice": "voice notes",
    "sendcontact": "contacts",
    "senddice": "dice",
    "sendgame": "games",
    "sendvenue": "venues",
    "sendinvoice": "invoice messages",
    "sendpaidmedia": "paid media",
}
# The new id of an upgraded group: -100 and at least ten digits, more than 32 bits hold.
_LONGEST_32_BIT = -(2**31)


class ChatState(Effect):
    """Every call that names the chat is refused for what the chat is."""

    def __init__(self, state: str) -> None:
        self._status, self._description = _STATES[state]

    def concerns(self, call: Call) -> bool:
        return call.chat is not None

    def strike(self, call: Call, scene: Scene) -> Stroke:
        description = self._description.format(
            chat=_kind(call.chat or ""), content=_CONTENTS.get(call.method.lower(), "text messages")
        )
        return Stroke(answer=refusal(self._status, description))


class Migrate(Effect):
    """From the first hit on, the old id answers only with the new one, which is a chat like any other."""

    def __init__(self, to: int) -> None:
        self.to = str(to)
        self.old: str | None = None
        self._answer = refusal(
            400, "Bad Request: group chat was upgraded to a supergroup chat", {"migrate_to_chat_id": to}
        )

    def holds(self, call: Call, now_s: float) -> bool:
        return self.old is not None

    def strike(self, call: Call, scene: Scene) -> Stroke:
        self.old = call.chat
        return Stroke(answer=self._answer)

    def check(self, match: Match) -> None:
        if match.chats is None or len(match.chats) != 1:
            raise BadRuleError("a migration is of one chat. Give match chat.")
        if self.to in match.chats:
            raise BadRuleError(f"to is {self.to}, the chat itself. Give the new id.")


def parse_chat(fields: Fields) -> Effect:
    return ChatState(fields.choice("state", _STATES))


def parse_migrate(fields: Fields) -> Effect:
    given = fields.identifier("to")
    try:
        to = int(given or "")
    except ValueError:
        to = 0
    if not (str(to).startswith("-100") and to < _LONGEST_32_BIT):
        raise BadRuleError(f'to is {given!r}. Give the id of a supergroup, like "-1001557912345".')
    return Migrate(to)


def _kind(chat: str) -> str:
    try:
        kind = str(chat_object(chat)["type"])
    except ValueError:
        kind = "group"
    return "group" if kind == "private" else kind
