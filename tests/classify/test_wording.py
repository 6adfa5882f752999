"""Sentences that nobody has seen yet: wording changes, and the rules must not hang on it."""

import json

import pytest

from outbox.deliver.answer import Answer
from outbox.deliver.classify import Outcome, classify


def _refused(text: str, code: int = 403, method: str = "sendMessage") -> Outcome:
    return classify(method, Answer(code, json.dumps({"ok": False, "error_code": code, "description": text}).encode()))


@pytest.mark.parametrize(
    ("text", "error_class"),
    [
        ("Forbidden: the bot was blocked by the user", "blocked"),
        ("Forbidden: bot is blocked by user", "blocked"),
        ("Forbidden: the user has blocked the bot", "blocked"),
        ("FORBIDDEN: USER BLOCKED BOT", "blocked"),
        ("Forbidden: USER_IS_BLOCKED", "blocked"),
        ("[Error]: Forbidden: user was deactivated", "deactivated"),
        ("Forbidden: account is deleted", "deactivated"),
        ("Forbidden: INPUT_USER_DEACTIVATED", "deactivated"),
        ("Forbidden: the bot was removed from the group", "kicked"),
        ("Forbidden: bot has been banned from the channel chat", "kicked"),
        ("Unauthorized: you were kicked from the supergroup", "kicked"),
        ("Forbidden: the bot isn't here, it is not a participant of the chat", "not_a_member"),
        ("Forbidden: bot is not a member of the supergroup chat", "not_a_member"),
        ("Bad Request: CHANNEL_PRIVATE", "not_a_member"),
        ("Forbidden: the group chat was deleted", "chat_deleted"),
        ("Forbidden: the bot can't initiate conversation with a user", "cannot_initiate"),
        ("Forbidden: bots can’t start a conversation", "cannot_initiate"),
        ("Forbidden: bot cannot initiate the conversation", "cannot_initiate"),
        ("Forbidden: the bot can't send messages to the user", "cannot_initiate"),
        ("Forbidden: bots can't send messages to bots", "cannot_initiate"),
        ("Forbidden: bots are not allowed to write to other bots", "cannot_initiate"),
        ("Bad Request: channel not found", "chat_not_found"),
        ("Bad Request: the chat was not found", "chat_not_found"),
        ("Bad Request: the group does not exist", "chat_not_found"),
        ("Bad Request: has no access to the chat", "chat_not_found"),
        ("Forbidden: not enough rights to send messages", "no_rights"),
        ("Bad Request: the bot does not have the rights to send a text message to the chat", "no_rights"),
        ("Bad Request: have not enough rights to post new messages in the channel", "no_rights"),
        ("Bad Request: bot has no permission to write in the chat", "no_rights"),
        ("Bad Request: the bot is not allowed to send messages here", "no_rights"),
        ("Bad Request: need administrator rights in the channel chat", "no_rights"),
        ("Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", "no_rights"),
    ],
)
@pytest.mark.parametrize("code", [400, 403])
def test_a_refusal_of_the_whole_chat_is_known_by_what_it_says(text: str, error_class: str, code: int) -> None:
    for said in (text, text.upper(), f"[Error]: {text.lower()}"):
        outcome = _refused(said, code)
        assert (outcome.meaning, outcome.reach, outcome.error_class) == ("chat_suppressed", "chat", error_class), said
        assert outcome.outcome == "dead"
        assert outcome.settle == ("ok" if error_class in ("blocked", "deactivated", "kicked") else "refused")


@pytest.mark.parametrize(
    "text",
    [
        "Bad Request: not enough rights to send polls to the chat",
        "Bad Request: the bot has no permission to send voice messages",
        "Bad Request: not enough rights to send stickers and GIFs to the chat",
        "Bad Request: the bot is not allowed to send photos",
        "Bad Request: CHAT_SEND_POLLS_FORBIDDEN",
        "Bad Request: the message thread was not found",
        "Bad Request: TOPIC_CLOSED",
        "Bad Request: topic is closed",
        "Bad Request: business connection is disabled",
        "Bad Request: BUSINESS_PEER_USAGE_MISSING",
        "Bad Request: ALLOW_PAYMENT_REQUIRED_7",
    ],
)
def test_a_refusal_of_one_kind_topic_or_connection_leaves_the_chat_alone(text: str) -> None:
    for said in (text, text.upper(), f"[Error]: {text}"):
        outcome = _refused(said, 400)
        assert (outcome.meaning, outcome.reach) == ("chat_suppressed", "message"), said
        assert (outcome.outcome, outcome.settle) == ("dead", "ok")


@pytest.mark.parametrize(
    "text",
    [
        "Bad Request: the moon is in the wrong phase",
        "Bad Request: message can't be sent to a chat without a name",
        "Bad Request: sticker set not found",
        "Bad Request: user is not a member of the chat",
        "Bad Request: not enough rights to restrict/unrestrict chat member",
        "Bad Request: not enough rights to invite users",
        "Bad Request: SOMETHING_NEW_INVALID",
        "Forbidden: something new",
        "",
    ],
)
def test_a_text_that_nobody_listed_is_dead_for_this_message_only(text: str) -> None:
    for code in (400, 403, 406, 410, 422, 451):
        outcome = _refused(text, code)
        assert (outcome.meaning, outcome.outcome, outcome.reach) == ("dead", "dead", "message")
        assert (outcome.error_text or "") == text


@pytest.mark.parametrize(
    "written",
    [
        "bot was blocked by the user",
        "logged out",
        "Too Many Requests: retry after 9",
        "FLOODSKIP",
        "x' restart 'y",
        'a"b',
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "Bad Request: inline keyboard button URL '{}' is invalid: Wrong HTTP URL",
        "Bad Request: entity URL '{}' is invalid: can't use it",
        'Bad Request: can\'t parse entities: Unsupported start tag "{}" at byte offset 0',
    ],
)
def test_what_somebody_wrote_and_the_answer_quotes_decides_nothing(text: str, written: str) -> None:
    outcome = _refused(text.format(written), 400)
    assert (outcome.outcome, outcome.reach, outcome.settle) == ("dead", "message", "ok")
    assert outcome.error_class == "bad_request"
    assert outcome.error_text == text.format(written)


@pytest.mark.parametrize("code", [500, 501, 507, 520, 522, 599])
def test_an_unknown_trouble_of_the_server_is_uncertain(code: int) -> None:
    assert _refused("Internal Server Error: something new", code).outcome == "uncertain"


@pytest.mark.parametrize(
    ("text", "code", "retry_after_s"),
    [
        ("Internal Server Error: Too Many Requests", 500, None),
        ("Bad Request: FLOOD_WAIT_17", 400, 17),
        ("Bad Request: SLOWMODE_WAIT_30", 400, 30),
        ("too many requests: retry in 4.5 seconds", 429, 4.5),
        ("TOO MANY REQUESTS: RETRY AFTER 9", 429, 9),
        ("Slow down, please", 429, None),
    ],
)
def test_a_flood_is_known_under_any_code(text: str, code: int, retry_after_s: float | None) -> None:
    outcome = _refused(text, code)
    assert (outcome.outcome, outcome.reach, outcome.settle) == ("wait", "chat", "flood")
    assert outcome.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    "text",
    ["Bad Request: message was not modified", "Bad Request: the message to delete was not found", "X_NOT_MODIFIED"],
)
def test_what_is_as_wished_already_is_a_success(text: str) -> None:
    outcome = _refused(text, 400, "editMessageText")
    assert (outcome.meaning, outcome.outcome, outcome.settle) == ("benign_success", "sent", "ok")


@pytest.mark.parametrize("method", ["sendMessage", "sendPhoto", "copyMessage", "forwardMessages", "postStory"])
@pytest.mark.parametrize("text", ["Bad Request: reply markup is not changed", "Bad Request: MESSAGE_NOT_MODIFIED"])
def test_a_new_message_is_never_there_already(method: str, text: str) -> None:
    outcome = _refused(text, 400, method)
    assert (outcome.meaning, outcome.outcome, outcome.error_class) == ("dead", "dead", "bad_request")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("declineChatJoinRequest", "Bad Request: HIDE_REQUESTER_MISSING"),
        ("reopenForumTopic", "Bad Request: TOPIC_NOT_MODIFIED"),
        ("hideGeneralForumTopic", "Bad Request: TOPIC_NOT_MODIFIED"),
        ("stopMessageLiveLocation", "Bad Request: message is not modified"),
        ("editStory", "Bad Request: STORY_NOT_MODIFIED"),
        ("deletemessage", "Bad Request: message to delete not found"),
    ],
)
def test_a_state_that_is_there_already_is_a_success(method: str, text: str) -> None:
    assert _refused(text, 400, method).meaning == "benign_success"


@pytest.mark.parametrize("method", ["copyMessage", "copyMessages", "forwardMessage", "forwardmessages"])
@pytest.mark.parametrize(
    "text",
    [
        "Bad Request: chat not found",
        "Forbidden: bot is not a member of the channel chat",
        "Forbidden: bot was kicked from the supergroup chat",
        "Bad Request: CHANNEL_INVALID",
    ],
)
def test_what_may_be_said_of_the_chat_copied_from_does_not_reach_the_chat_copied_to(method: str, text: str) -> None:
    outcome = _refused(text, 403 if text.startswith("F") else 400, method)
    assert (outcome.meaning, outcome.outcome, outcome.reach) == ("chat_suppressed", "dead", "message")
    assert outcome.settle == "ok"


def test_a_copy_to_somebody_who_blocked_the_bot_still_reaches_the_chat() -> None:
    assert _refused("Forbidden: bot was blocked by the user", 403, "copyMessage").reach == "chat"
    assert _refused("Bad Request: CHAT_WRITE_FORBIDDEN", 400, "forwardMessage").reach == "chat"


@pytest.mark.parametrize("method", ["closeForumTopic", "deleteForumTopic", "setChatTitle", "pinChatMessage"])
def test_a_missing_right_to_administer_does_not_silence_the_chat(method: str) -> None:
    assert _refused("Bad Request: CHAT_ADMIN_REQUIRED", 400, method).reach == "message"
    assert _refused("Bad Request: CHAT_WRITE_FORBIDDEN", 400, method).reach == "message"
