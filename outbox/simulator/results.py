"""Results of methods that put no message into a chat. What is not named here is answered with true."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outbox.simulator.contents import poll_object
from outbox.simulator.files import file_object, media, uploaded
from outbox.simulator.peers import SOMEBODY, bot_itself, bot_object, chat_object, full_chat, user_object
from outbox.simulator.values import flag, number

Json = dict[str, Any]

_RIGHTS = (
    "can_manage_chat",
    "can_delete_messages",
    "can_manage_video_chats",
    "can_restrict_members",
    "can_promote_members",
    "can_change_info",
    "can_invite_users",
    "can_post_stories",
    "can_edit_stories",
    "can_delete_stories",
    "can_send_welcome_messages",
)
_A_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: method in lower case, the bot's number, the chat as it was named, and when (unix seconds)."""

    method: str
    bot: str
    chat: str | None
    parameters: Json
    now_unix: int

    def text(self, name: str, default: str) -> str:
        return str(self.parameters.get(name) or default)

    def user_id(self) -> int:
        return number(self.parameters.get("user_id")) or SOMEBODY


def result_of(asked: Asked) -> Any:
    """The `result` of a call that is allowed to happen."""
    found = _RESULTS.get(asked.method, True)
    return found(asked) if callable(found) else found


def _member(asked: Asked) -> Json:
    user_id = asked.user_id()
    if str(user_id) != asked.bot:
        return {"status": "member", "user": user_object(user_id)}
    # A bot that looks for its own rights finds them all.
    return {"status": "administrator", "user": bot_object(asked.bot), "can_be_edited": False} | _rights(asked)


def _rights(asked: Asked) -> Json:
    return {"is_anonymous": False} | dict.fromkeys(_RIGHTS, True)


def _invite_link(asked: Asked) -> Json:
    return {
        "invite_link": asked.text("invite_link", "https://t.me/+simulated"),
        "creator": bot_object(asked.bot),
        "creates_join_request": flag(asked.parameters.get("creates_join_request")),
        "is_primary": False,
        "is_revoked": asked.method == "revokechatinvitelink",
    }


def _topic(asked: Asked) -> Json:
    # core.telegram.org/bots/api#createforumtopic: the first of the colours.
    colour = number(asked.parameters.get("icon_color")) or 0x6FB9F0
    return {"message_thread_id": 2, "name": asked.text("name", "Topic"), "icon_color": colour}


def _file(asked: Asked) -> Json:
    return file_object(str(asked.parameters.get("file_id", "")))


def _sticker_file(asked: Asked) -> Json:
    sticker = media("sticker", asked.bot, uploaded(asked.parameters, asked.parameters.get("sticker", "")))
    return file_object(sticker["file_id"])


def _story(asked: Asked) -> Json:
    return {"chat": chat_object(str(SOMEBODY)), "id": number(asked.parameters.get("story_id")) or 1}


def _closed_poll(asked: Asked) -> Json:
    # Nobody remembers what was asked.
    forgotten = {"question": "?", "options": ["?", "?"]}
    return poll_object(asked.text("message_id", "1"), forgotten, is_closed=True)


def _business_connection(asked: Asked) -> Json:
    return {
        "id": asked.text("business_connection_id", "1"),
        "user": user_object(SOMEBODY),
        "user_chat_id": SOMEBODY,
        "date": asked.now_unix,
        "is_enabled": True,
    }


_STARS = {"amount": 0}
_NO_GIFTS: Json = {"total_count": 0, "gifts": []}
_RESULTS: dict[str, Any | Callable[[Asked], Any]] = {
    "answerguestquery": {"inline_message_id": "1"},
    "answerwebappquery": {"inline_message_id": "1"},
    "createchatinvitelink": _invite_link,
    "createchatsubscriptioninvitelink": _invite_link,
    "createforumtopic": _topic,
    "createinvoicelink": "https://t.me/$simulated",
    "editchatinvitelink": _invite_link,
    "editchatsubscriptioninvitelink": _invite_link,
    "editstory": _story,
    "exportchatinvitelink": "https://t.me/+simulated",
    "getavailablegifts": {"gifts": []},
    "getbusinessaccountgifts": _NO_GIFTS,
    "getbusinessaccountstarbalance": _STARS,
    "getbusinessconnection": _business_connection,
    "getchat": lambda asked: full_chat(asked.chat or ""),
    "getchatadministrators": [],
    "getchatgifts": _NO_GIFTS,
    "getchatmember": _member,
    "getchatmembercount": 2,
    "getchatmenubutton": {"type": "commands"},
    "getcustomemojistickers": [],
    "getfile": _file,
    "getforumtopiciconstickers": [],
    "getgamehighscores": [],
    "getmanagedbotaccesssettings": {"is_access_restricted": False},
    "getmanagedbottoken": lambda asked: f"{asked.user_id()}:simulated",
    "getme": lambda asked: bot_itself(asked.bot),
    "getmycommands": [],
    "getmydefaultadministratorrights": _rights,
    "getmydescription": {"description": ""},
    "getmyname": lambda asked: {"name": f"Bot {asked.bot}"},
    "getmyshortdescription": {"short_description": ""},
    "getmystarbalance": _STARS,
    "getstartransactions": {"transactions": []},
    "getstickerset": lambda asked: {
        "name": asked.text("name", "set"),
        "title": asked.text("name", "set"),
        "sticker_type": "regular",
        "stickers": [],
    },
    "getuserchatboosts": {"boosts": []},
    "getusergifts": _NO_GIFTS,
    "getuserpersonalchatmessages": [],
    "getuserprofileaudios": {"total_count": 0, "audios": []},
    "getuserprofilephotos": {"total_count": 0, "photos": []},
    "poststory": _story,
    "replacemanagedbottoken": lambda asked: f"{asked.user_id()}:simulated",
    "repoststory": _story,
    "revokechatinvitelink": _invite_link,
    "savepreparedinlinemessage": lambda asked: {"id": "1", "expiration_date": asked.now_unix + _A_DAY_S},
    "savepreparedkeyboardbutton": {"id": "1"},
    "stoppoll": _closed_poll,
    "uploadstickerfile": _sticker_file,
}
