"""An answer of the Bot API, or its absence, becomes an outcome: the one table.

Sources: tdlib/telegram-bot-api Client.cpp (fail_query_with_error, on_message_send_failed, check_chat_access) and the
answers in tests/classify/telegram_errors.tsv. Decided by `parameters`, then by code, then by text without regard to
case: wording changes over the years, so a rule looks for what a sentence says and not for the sentence.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from outbox.deliver.answer import (
    Answer,
    Failure,
    FailureKind,
    Said,
    clean,
    first_message_id,
    migrate_to,
    read,
    retry_after_s,
    worth_keeping,
)
from outbox.deliver.rule import Ending, Meaning, Reach, Rule, methods_like, row

__all__ = ["Answer", "Failure", "Outcome", "classify"]

Settle = Literal["ok", "fail", "flood", "unsent", "refused", "unauthorised"]

STORY_WAIT_S: Final = 3600.0  # a story's flood names a day weeks ahead: asking every hour is often enough


@dataclass(frozen=True, slots=True)
class Outcome:
    outcome: Ending
    """What complete is told."""
    meaning: Meaning
    """What the answer is, in the words of telegram_errors.tsv."""
    reach: Reach
    """How far it reaches: this message, its chat, or all of the bot's."""
    settle: Settle
    """What the slot's settlement is told."""
    error_class: str | None = None
    error_text: str | None = None
    """At most 500 characters, without bot tokens."""
    retry_after_s: float | None = None
    """Of a flood, also where the outcome is uncertain because some of an album may have been sent before it."""
    migrate_to: str | None = None
    """The chat's new id, where the meaning is migrated."""
    telegram_message_id: int | None = None
    telegram_answer: dict[str, Any] | None = None
    """Ids and files of what was sent."""
    http_status: int | None = None
    error_code: int | None = None


# Several messages by one call. The server answers when all parts have ended, with the first failure: as
# "failed to send message #N ...", N counting the parts in the order they ended, or as it is for 401, 429 and 5xx.
_MANY: Final = methods_like(r"(sendMediaGroup|copyMessages|forwardMessages)$")
_COPIES: Final = methods_like(r"(copy|forward)Messages$")

# A copy names two chats, and the one it is taken from is refused in the same words: that says nothing of the lane's.
_NO_COPY: Final = methods_like(r"(?!(copy|forward)Messages?$)")
# From other methods the same words say that the bot may not do that one thing.
_SEND_OR_COPY: Final = methods_like(r"send|copy|forward")
_SEND: Final = methods_like(r"send")

# Doing these twice is the same as doing them once (TELEGRAM.md section 5), so not knowing is no reason to stop.
_REPEATABLE: Final = methods_like(
    r"(edit(?!Story)|delete|pin|unpin|setMessageReaction|sendChatAction|get|setMy|setChat|answer(Callback|Inline)Query)"
)

# These bring about a state, so that "it is not changed" says it is as wished. Of a new message it says: not sent.
_TO_A_STATE: Final = methods_like(
    rf"{_REPEATABLE.pattern}|edit|set|stop|(approve|decline)ChatJoinRequest|(re|un)?(close|open|hide)\w*ForumTopic"
)

# Pieces of sentences.
_CANNOT: Final = r"(can['’]?t|can ?not|may not|(is|are) not (allowed|able|permitted) to|(is|are) unable to)"
_MAY_NOT: Final = (
    r"((not enough|no|insufficient|lacks?( the)?|without( the)?|needs?|(do|does)(n['’]?t| not) have( the| enough)?)"
    r" (\w+ )?(rights?|permissions?|privileges?) to|not (allowed|permitted) to|forbidden to)"
)
_WRITE: Final = r"(send|write|post|publish)"
_FLOOD: Final = re.compile(r"too many requests|flood control|FLOOD_(\w+_)?WAIT|SLOWMODE_WAIT|SEND_FLOOD", re.IGNORECASE)

# 403 becomes 400 where its text is the core's own, in capitals; the text of an album's part keeps its 403.
_NO: Final = (400, 403)

# The first rule that fits decides.
_RULES: Final[tuple[Rule, ...]] = (
    # An album hides the failure of a part: what is known of the others is that nothing is known.
    row("uncertain", "chat", "partly_sent", *_NO, text=rf"failed to \w+ \w+ #\d+.*({_FLOOD.pattern})"),
    row("uncertain", "message", "partly_sent", *_NO, text=r"failed to \w+ \w+ #([2-9]|\d\d+)\b", methods=_MANY),
    # Floods. How far they reach is not in the answer: the chat at first, and SQL sees when it is the bot.
    row("wait", "chat", "flood", 429, 420),
    row("wait", "chat", "flood", text=_FLOOD.pattern),
    # Already as wished: what a repeated edit, delete or pin gets when the first one had worked.
    row(
        "benign_success",
        "message",
        "already_done",
        400,
        text=r"\bnot (been )?(modified|changed)\b|NOT_MODIFIED|HIDE_REQUESTER_MISSING"
        r"|message to (unpin|delete) (was |is )?not found",
        methods=_TO_A_STATE,
    ),
    # The person or the chat. A kick once came as "Unauthorized", so these go before the bot.
    row(
        "chat_suppressed",
        "chat",
        "blocked",
        *_NO,
        401,
        text=r"\bbot (was|is|has been|got) blocked|\bblocked (the |this |your )?bot\b"
        r"|\bblocked by (the |this |a )?(user|recipient)|USER_IS_BLOCKED|YOU_BLOCKED_USER",
    ),
    row(
        "chat_suppressed",
        "chat",
        "deactivated",
        *_NO,
        text=r"\b(user|account|recipient) (is|was|has been) (deactivated|deleted)|INPUT_USER_DEACTIVATED",
    ),
    row(
        "chat_suppressed",
        "chat",
        "kicked",
        *_NO,
        401,
        text=r"\b(bot|you) (was|were|is|are|has been|have been|got) (kicked|banned|removed|expelled) from",
        far=_NO_COPY,
    ),
    row(
        "chat_suppressed",
        "chat",
        "not_a_member",
        *_NO,
        401,
        text=r"(?<!user is )(?<!user was )\bnot a (member|participant) (of|in)\b|CHANNEL_PRIVATE",
        far=_NO_COPY,
    ),
    row(
        "chat_suppressed",
        "chat",
        "chat_deleted",
        *_NO,
        text=r"\b(group|supergroup|channel|chat) (is|was|has been) (deleted|deactivated)",
    ),
    # The bot as a whole: only a refusal of its bot token. A bare 404 is about the URL, which holds the bot token.
    row("dead", "message", "method_not_found", 404, text=r"\bmethod (was |is )?not found|\bunknown method"),
    row("dead", "message", "not_found", 404, text=r"not found: (?!absolute)"),
    row("bot_level", "bot", "bot_unauthorized", 401, 404, 421, outcome="retry"),
    row("bot_level", "bot", "bot_unauthorized", 400, text=r"\blogged out\b", outcome="retry"),
    # Every call with the flag fails, so the message waits and claim leaves the flag out.
    row("bot_level", "bot", "paid_broadcast_refused", *_NO, text=r"FLOODSKIP|\bpaid[ _]broadcast", outcome="retry"),
    row("bot_level", "message", "bot_conflict", 409, outcome="retry"),
    row("bot_level", "message", "http_version", 505, outcome="retry"),
    row("bot_level", "message", "bot_refused", 400, text=r"BOT_VERIFIER_FORBIDDEN|bot has already been closed"),
    row("bot_level", "message", "bot_refused", 500, text=r"failed to save certificate"),
    # The server's own trouble. A 500 is not always temporary.
    row("dead", "message", "server_refused", 500, text=r"requested data is inaccessible|unexpected \w+ error"),
    row("retry", "message", "restarting", 500, text=r"\brestart"),
    row("retry", "message", "unavailable", 503),
    row("retry", "message", "request_not_read", 408, 425),
    row("uncertain", "message", "bad_gateway", 502),
    row("uncertain", "message", "gateway_timeout", 504),
    # May the bot write here at all? Seen as Telegram's own fault, for hours and in every chat: evidence, not proof.
    row(
        "chat_suppressed",
        "chat",
        "cannot_initiate",
        *_NO,
        text=rf"{_CANNOT} (initiate|start|begin|open) (a |the )?(new )?(conversation|chat|dialog)"
        rf"|\bbots? {_CANNOT} {_WRITE}( \w+)? to (the |a |this |other )?(bots?|users?)\b",
        far=_SEND_OR_COPY,
    ),
    row(
        "chat_suppressed",
        "chat",
        "chat_not_found",
        *_NO,
        text=r"\b(chat|channel|group)( was| is)? not found|\b(chat|channel|group) (does not|doesn['’]?t) exist"
        r"|PEER_ID_INVALID|CHAT_ID_INVALID|\bno access to the (user|chat)",
        far=_NO_COPY,
    ),
    row(
        "chat_suppressed",
        "chat",
        "no_rights",
        *_NO,
        text=rf"{_MAY_NOT} {_WRITE} (an? |any |new |plain |text )*messages?\b|{_MAY_NOT} {_WRITE} (anything )?(to|in)\b"
        r"|\bno write access|\bneeds? admin\w* (rights?|permissions?)"
        r"|CHAT_(WRITE|GUEST_SEND|SEND_PLAIN)_FORBIDDEN|CHAT_(ADMIN_REQUIRED|RESTRICTED)",
        far=_SEND_OR_COPY,
    ),
    row(
        "chat_suppressed",
        "chat",
        "chat_refused",
        *_NO,
        text=r"CHANNEL_(INVALID|PUBLIC_GROUP_NA)|USER_BOT_TO_BOT_DISABLED|PRIVACY_PREMIUM_REQUIRED",
        far=_SEND,
    ),
    # An album is made ready as a whole: nothing of it was sent when its first part failed. Copies go one by one.
    row("uncertain", "message", "partly_sent", *_NO, text=r"failed to \w+ \w+ #1\b", methods=_COPIES),
    # Refused here, but for one kind of media, one topic, one connection, one price: other messages pass.
    row("chat_suppressed", "message", "kind_refused", *_NO, text=rf"{_MAY_NOT} {_WRITE} \w|CHAT_SEND_\w+_FORBIDDEN"),
    row(
        "chat_suppressed",
        "message",
        "thread_not_found",
        *_NO,
        text=r"\b(thread|topic)( was| is)? (not found|closed|deleted)|TOPIC_(CLOSED|DELETED)",
    ),
    row(
        "chat_suppressed",
        "message",
        "business_connection",
        *_NO,
        text=r"business connection( was| is)? (not found|disabled|invalid)|BUSINESS_\w+_(INVALID|MISSING)",
    ),
    row("chat_suppressed", "message", "payment_required", *_NO, text=r"ALLOW_PAYMENT_REQUIRED"),
    # Files and pictures: some refusals were seen although the message had appeared.
    row(
        "uncertain",
        "message",
        "media_doubtful",
        400,
        text=r"IMAGE_PROCESS_FAILED|group send failed|invalid remote file identifier",
    ),
    row(
        "retry",
        "message",
        "media_unavailable",
        400,
        text=r"FILE_REFERENCE_\w*EXPIRED|failed to get HTTP URL content|WEBPAGE_CURL_FAILED|temporarily unavailable",
    ),
    # The chat has another id, and the answer does not say which.
    row("dead", "message", "migrated_unnamed", 400, text=r"\b(upgraded|migrated) to a supergroup"),
    # The message itself.
    row("dead", "message", "too_large", 413, 414, 431),
    row("dead", "message", "forbidden", 403),
    row("dead", "message", "bad_request", 400),
)

_OUTCOME_OF: Final[dict[Meaning, Ending]] = {
    "sent": "sent",
    "benign_success": "sent",
    "wait": "wait",
    "retry": "retry",
    "uncertain": "uncertain",
    "dead": "dead",
    "chat_suppressed": "dead",
    "bot_level": "dead",
    "migrated": "retry",
    "unsent": "unsent",
}

_FAILURES: Final[dict[FailureKind, tuple[Meaning, str]]] = {
    "unsent": ("unsent", "unsent"),
    "unreachable": ("retry", "unreachable"),
    "timeout": ("uncertain", "timeout"),
    "connection_lost": ("uncertain", "connection_lost"),
    "stopped": ("uncertain", "worker_stopped"),
}

# The code alone says it, also without the Bot API's body around it.
_SAID_BY_CODE: Final = frozenset({401, 404, 408, 413, 414, 421, 425, 429, 431})

# Telegram is well and says something about a file: no reason for the breaker to keep other messages back.
_NO_SIGN_OF_TROUBLE: Final = frozenset({"media_doubtful", "media_unavailable", "partly_sent"})
# What the person did cannot be Telegram's mistake, so the brake on permanent errors does not count it.
_THE_PERSON_DID_IT: Final = frozenset({"blocked", "deactivated", "kicked"})


def classify(method: str, answer: Answer | Failure) -> Outcome:
    """Say what became of a call of `method`."""
    if isinstance(answer, Failure):
        meaning, error_class = _FAILURES[answer.kind]
        return _conclude(method, meaning, "message", error_class, clean(answer.text))

    said = read(answer)
    told: dict[str, Any] = {"text": said.text, "http_status": answer.http_status, "error_code": said.error_code}
    if 200 <= answer.http_status < 300 and said.ok is not False:
        if said.ok:
            return Outcome(
                "sent",
                "sent",
                "message",
                "ok",
                telegram_message_id=first_message_id(said.result),
                telegram_answer=worth_keeping(said.result),
                http_status=answer.http_status,
            )
        told["text"] = f"{answer.http_status} without a whole Bot API answer in it"
        return _conclude(method, "uncertain", "message", "truncated_answer", **told)
    if (new_chat_id := migrate_to(said)) is not None:
        return _conclude(method, "migrated", "chat", "migrated", migrate_to=new_chat_id, **told)
    if _is_no_verdict(said, answer):
        # Not Telegram's verdict but a proxy's, or one that broke off before its reason: ask again to hear it.
        perhaps_partly = _MANY.match(method) and not answer.complete
        return _conclude(method, "uncertain" if perhaps_partly else "retry", "message", "no_verdict", **told)
    for rule in _RULES:
        if rule.fits(method, said):
            return _apply(method, rule, said, answer, told)
    if said.code >= 500:
        return _conclude(method, "uncertain", "message", "server_error", **told)
    if said.code >= 400:
        return _conclude(method, "dead", "message", "refused", **told)
    # A redirect or something that is no Bot API at all: nobody sent anything.
    return _conclude(method, "retry", "message", "not_a_bot_api", **told)


def _is_no_verdict(said: Said, answer: Answer) -> bool:
    """Whether a refusal is not the Bot API's: a wrong address or a proxy would otherwise end every message."""
    if said.ok is not None or not 400 <= said.code < 500 or said.code in _SAID_BY_CODE:
        return False
    # A local server answers what it cannot parse with a bare 400.
    return said.code != 400 or not answer.complete or bool(answer.body)


def _apply(method: str, rule: Rule, said: Said, answer: Answer, told: dict[str, Any]) -> Outcome:
    meaning, outcome = rule.meaning, rule.outcome
    is_flood = meaning == "wait" or (meaning == "uncertain" and _FLOOD.search(said.words) is not None)
    if _MANY.match(method) and (meaning == "wait" or said.code >= 500):
        # The server passes a part's 429 or 5xx on as it is, after other parts were sent, and its own front door says
        # "retry after 60" in the same words: nothing tells them apart. As `wait` a message on hold would be sent again,
        # and with `retry` history would not say that it may have come twice. It still waits as long as it was told to.
        meaning, outcome = "uncertain", "uncertain"
    wait_s = retry_after_s(said, answer.retry_after_header) if is_flood else None
    if wait_s is None and is_flood and "SEND_FLOOD" in said.words.upper():
        wait_s = STORY_WAIT_S
    reach = rule.reach if rule.far is None or rule.far.match(method) else "message"
    return _conclude(
        method, meaning, reach, rule.error_class, outcome=outcome, wait_s=wait_s, is_flood=is_flood, **told
    )


def _conclude(
    method: str,
    meaning: Meaning,
    reach: Reach,
    error_class: str,
    text: str,
    http_status: int | None = None,
    error_code: int | None = None,
    *,
    outcome: Ending | None = None,
    wait_s: float | None = None,
    is_flood: bool = False,
    migrate_to: str | None = None,
) -> Outcome:
    ending = outcome or _OUTCOME_OF[meaning]
    if ending == "uncertain" and _REPEATABLE.match(method):
        ending = "retry"
    return Outcome(
        outcome=ending,
        meaning=meaning,
        reach=reach,
        settle="flood" if is_flood else _settle(ending, meaning, reach, error_class, http_status),
        error_class=error_class,
        error_text=text or None,
        retry_after_s=wait_s,
        migrate_to=migrate_to,
        http_status=http_status,
        error_code=error_code,
    )


def _settle(ending: Ending, meaning: Meaning, reach: Reach, error_class: str, http_status: int | None) -> Settle:
    if ending == "unsent":
        return "unsent"
    if error_class == "bot_unauthorized":
        return "unauthorised"
    if meaning == "chat_suppressed" and reach == "chat" and error_class not in _THE_PERSON_DID_IT:
        return "refused"
    if meaning in ("retry", "uncertain") and error_class not in _NO_SIGN_OF_TROUBLE:
        return "fail"
    return "fail" if ending == "retry" and (http_status or 0) >= 500 else "ok"
