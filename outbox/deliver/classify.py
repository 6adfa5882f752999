"""An answer of the Bot API, or its absence, becomes an outcome: the one table.

Sources: tdlib/telegram-bot-api Client.cpp (fail_query_with_error), the answers in tests/classify/telegram_errors.tsv.
Decided by `parameters`, then by code, then by text without regard to case: wording changes over the years.
"""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from outbox.redact import scrub

Meaning = Literal[
    "sent", "benign_success", "wait", "retry", "uncertain", "dead", "chat_suppressed", "bot_level", "migrated", "unsent"
]
Ending = Literal["sent", "wait", "retry", "uncertain", "dead", "unsent"]
Settle = Literal["ok", "fail", "flood", "unsent"]
FailureKind = Literal["unsent", "unreachable", "timeout", "connection_lost", "stopped"]

ERROR_TEXT_CHARS = 500
RETRY_AFTER_MAX_S = 366 * 86400.0  # beyond any value seen (14 hours); an interval in SQL must not overflow
BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. `complete` is False when its body broke off or was larger than what is read."""

    http_status: int
    body: bytes = field(repr=False)
    retry_after_header: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """No response. unsent: the worker held it back · unreachable: it tried, nothing was written ·
    timeout, connection_lost, stopped: the request had been written."""

    kind: FailureKind
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    outcome: Ending
    """What complete is told."""
    meaning: Meaning
    """What the answer is, in the words of telegram_errors.tsv; how far it reaches is decided elsewhere."""
    settle: Settle
    """What the slot's settlement is told."""
    error_class: str | None = None
    error_text: str | None = None
    """At most 500 characters, without bot tokens."""
    retry_after_s: float | None = None
    telegram_message_id: int | None = None
    http_status: int | None = None
    error_code: int | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    meaning: Meaning
    error_class: str
    codes: frozenset[int] | None = None
    """Empty means any."""
    text: re.Pattern[str] | None = None
    methods: frozenset[str] | None = None
    outcome: Ending | None = None
    """Only where the meaning alone does not say it."""

    def fits(self, method: str, code: int, text: str) -> bool:
        return (
            (self.codes is None or code in self.codes)
            and (self.methods is None or method in self.methods)
            and (self.text is None or self.text.search(text) is not None)
        )


def _rule(
    meaning: Meaning,
    error_class: str,
    *codes: int,
    text: str | None = None,
    methods: frozenset[str] | None = None,
    outcome: Ending | None = None,
) -> _Rule:
    pattern = re.compile(text, re.IGNORECASE) if text else None
    return _Rule(meaning, error_class, frozenset(codes) or None, pattern, methods, outcome)


# Several messages by one call: an error may have come after some of them were sent.
_MANY = frozenset({"sendmediagroup", "copymessages", "forwardmessages"})

# Doing these twice is the same as doing them once (TELEGRAM.md section 5), so not knowing is no reason to stop.
_REPEATABLE = re.compile(
    r"^(edit(?!story)|delete|pin|unpin|setmessagereaction|sendchataction|get|setmy|setchat|answer(callback|inline)query)",
    re.IGNORECASE,
)

# The first rule that fits decides. Codes are the body's error_code, else the HTTP status.
_RULES: tuple[_Rule, ...] = (
    # Albums hide the failure of one part in a 400: what is known of the others is that nothing is known.
    _rule("uncertain", "partly_sent", 400, text=r"failed to send message #\d+ .*too many requests"),
    _rule("uncertain", "partly_sent", 400, text=r"failed to send message #([2-9]|\d\d+) ", methods=_MANY),
    # Floods.
    _rule("wait", "flood", 429, 420),
    _rule("wait", "flood", text=r"too many requests: retry after|FLOOD_(\w+_)?WAIT_|SLOWMODE_WAIT|SEND_FLOOD"),
    # Already as wished: what a repeated edit, delete or pin gets when the first one had worked.
    _rule(
        "benign_success",
        "already_done",
        400,
        text=r"not modified|NOT_MODIFIED|HIDE_REQUESTER_MISSING|message to (unpin|delete) not found",
    ),
    # The bot as a whole. A kick once came as "Unauthorized", so the text goes first.
    _rule("chat_suppressed", "kicked", text=r"bot was kicked"),
    _rule("dead", "method_not_found", 404, text=r"method not found"),
    _rule("bot_level", "bot_unauthorized", 401, 404, 421, outcome="retry"),
    _rule("bot_level", "bot_unauthorized", 400, text=r"logged out", outcome="retry"),
    _rule("bot_level", "bot_conflict", 409, outcome="retry"),
    _rule("bot_level", "http_version", 505, outcome="retry"),
    _rule("bot_level", "paid_broadcast_refused", 400, text=r"FLOODSKIP_NOT_ALLOWED"),
    _rule("bot_level", "bot_refused", 400, text=r"BOT_VERIFIER_FORBIDDEN|bot has already been closed"),
    _rule("bot_level", "bot_refused", 500, text=r"failed to save certificate"),
    # The server's own trouble. A 500 is not always temporary.
    _rule("dead", "server_refused", 500, text=r"requested data is inaccessible|unexpected \w+ error"),
    _rule("retry", "restarting", 500, text=r"\brestart"),
    _rule("retry", "unavailable", 503),
    _rule("uncertain", "bad_gateway", 502),
    _rule("uncertain", "gateway_timeout", 504),
    # The chat.
    _rule("chat_suppressed", "blocked", 403, text=r"blocked by the user"),
    _rule("chat_suppressed", "deactivated", 403, text=r"user is deactivated"),
    _rule("chat_suppressed", "not_a_member", 403, text=r"not a member of"),
    _rule("chat_suppressed", "cannot_initiate", 403, text=r"can't (initiate conversation|send messages to)"),
    _rule(
        "chat_suppressed", "chat_not_found", 400, text=r"\bchat not found|PEER_ID_INVALID|have no access to the user"
    ),
    _rule("chat_suppressed", "thread_not_found", 400, text=r"message thread not found"),
    _rule(
        "chat_suppressed",
        "no_rights",
        400,
        text=r"(not enough|have no) rights to send|have no write access"
        r"|CHAT_(WRITE|GUEST_SEND|SEND_\w+)_FORBIDDEN|CHAT_(ADMIN_REQUIRED|RESTRICTED)",
    ),
    _rule(
        "chat_suppressed",
        "chat_refused",
        400,
        text=r"CHANNEL_(INVALID|PUBLIC_GROUP_NA)|ALLOW_PAYMENT_REQUIRED|USER_BOT_TO_BOT_DISABLED",
    ),
    _rule("chat_suppressed", "business_connection", 400, text=r"business connection not found|BUSINESS_\w+_INVALID"),
    # Files and pictures: some refusals were seen although the message had appeared.
    _rule(
        "uncertain",
        "media_doubtful",
        400,
        text=r"IMAGE_PROCESS_FAILED|group send failed|invalid remote file identifier",
    ),
    _rule(
        "retry",
        "media_unavailable",
        400,
        text=r"FILE_REFERENCE_EXPIRED|failed to get HTTP URL content|temporarily unavailable",
    ),
    # The message itself.
    _rule("dead", "too_large", 413, 414, 431),
    _rule("dead", "forbidden", 403),
    _rule("dead", "bad_request", 400),
)

_OUTCOME_OF: dict[Meaning, Ending] = {
    "sent": "sent",
    "benign_success": "sent",
    "wait": "wait",
    "retry": "retry",
    "uncertain": "uncertain",
    "dead": "dead",
    "chat_suppressed": "dead",
    "bot_level": "dead",
    "migrated": "dead",
    "unsent": "unsent",
}

_FAILURES: dict[FailureKind, tuple[Meaning, str]] = {
    "unsent": ("unsent", "unsent"),
    "unreachable": ("retry", "unreachable"),
    "timeout": ("uncertain", "timeout"),
    "connection_lost": ("uncertain", "connection_lost"),
    "stopped": ("uncertain", "worker_stopped"),
}


def classify(method: str, answer: Answer | Failure) -> Outcome:
    """Say what became of a call of `method`."""
    if isinstance(answer, Failure):
        meaning, error_class = _FAILURES[answer.kind]
        return _conclude(method, meaning, error_class, _clean(answer.text))

    status = answer.http_status
    body = _parse(answer)
    if status == 200 and (body is None or body.get("ok") not in (True, False)):
        return _conclude(
            method, "uncertain", "truncated_answer", "200 without a whole Bot API answer in it", http_status=status
        )
    body = body or {}
    if body.get("ok") is True and status == 200:
        return Outcome("sent", "sent", "ok", telegram_message_id=_message_id(body.get("result")), http_status=status)

    raw_code = body.get("error_code")
    error_code = raw_code if isinstance(raw_code, int) and 0 < raw_code < 1000 else None
    code = error_code or status
    description = body.get("description")
    text = _clean(description if isinstance(description, str) else _first_words(answer.body))
    raw_parameters = body.get("parameters")
    parameters: dict[str, Any] = raw_parameters if isinstance(raw_parameters, dict) else {}

    if "migrate_to_chat_id" in parameters:
        return _conclude(method, "migrated", "migrated", text, status, error_code)
    for rule in _RULES:
        if rule.fits(method.lower(), code, text):
            retry_after_s = _retry_after_s(parameters, answer, text) if rule.meaning == "wait" else None
            return _conclude(
                method, rule.meaning, rule.error_class, text, status, error_code, retry_after_s, rule.outcome
            )
    if code >= 500:
        return _conclude(method, "uncertain", "server_error", text, status, error_code)
    if code >= 400:
        return _conclude(method, "dead", "refused", text, status, error_code)
    # A redirect or something that is no Bot API at all: nobody sent anything.
    return _conclude(method, "retry", "not_a_bot_api", text, status, error_code)


def _conclude(
    method: str,
    meaning: Meaning,
    error_class: str,
    text: str,
    http_status: int | None = None,
    error_code: int | None = None,
    retry_after_s: float | None = None,
    outcome: Ending | None = None,
) -> Outcome:
    ending = outcome or _OUTCOME_OF[meaning]
    if ending == "uncertain" and _REPEATABLE.match(method):
        ending = "retry"
    settle: Settle
    if ending in ("wait", "unsent"):
        settle = "flood" if ending == "wait" else "unsent"
    else:
        settle = "fail" if ending in ("retry", "uncertain") else "ok"
    return Outcome(
        outcome=ending,
        meaning=meaning,
        settle=settle,
        error_class=error_class,
        error_text=text or None,
        retry_after_s=retry_after_s,
        http_status=http_status,
        error_code=error_code,
    )


def _parse(answer: Answer) -> dict[str, Any] | None:
    """The JSON object in the body, None when there is none."""
    if not answer.complete:
        return None
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _message_id(result: Any) -> int | None:
    if isinstance(result, list) and result:
        result = result[0]
    found = result.get("message_id") if isinstance(result, dict) else None
    return found if type(found) is int and 0 <= found <= BIGINT_MAX else None


def _retry_after_s(parameters: dict[str, Any], answer: Answer, text: str) -> float | None:
    """Seconds to wait, from the first place that names them; None: the backoff decides."""
    in_text = re.search(r"retry (?:after|in) (\d+(?:\.\d+)?)|WAIT_(\d+)", text, re.IGNORECASE)
    named = in_text.group(1) or in_text.group(2) if in_text else None
    for candidate in (parameters.get("retry_after"), answer.retry_after_header, named):
        try:
            seconds = float(candidate)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(seconds) and seconds >= 0 and not isinstance(candidate, bool):
            return min(seconds, RETRY_AFTER_MAX_S)
    return None


def _first_words(body: bytes) -> str:
    """What a body that is not the Bot API's says: the words of its HTML."""
    text = re.sub(r"<[^>]*>", " ", body[:4096].decode("utf-8", "replace"))
    return " ".join(text.split())


def _clean(text: str) -> str:
    """Short, without bot tokens, and fit for PostgreSQL, which knows neither NUL nor half a surrogate pair."""
    text = scrub(text).replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")[:ERROR_TEXT_CHARS]
