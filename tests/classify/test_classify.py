"""The one table, held against answers that Telegram really gave."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from outbox.deliver.classify import Answer, Failure, Outcome, classify

OUTCOME_OF = {
    "benign_success": {"sent"},
    "wait": {"wait"},
    "retry": {"retry"},
    "uncertain": {"uncertain"},
    "dead": {"dead"},
    "chat_suppressed": {"dead"},
    "migrated": {"dead"},
    "bot_level": {"dead", "retry"},
}
SETTLE_OF = {"sent": "ok", "dead": "ok", "wait": "flood", "retry": "fail", "uncertain": "fail", "unsent": "unsent"}


def _rows() -> list[dict[str, str]]:
    with (Path(__file__).parent / "telegram_errors.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = _rows()


def _answer(row: dict[str, str]) -> Answer | Failure:
    description = row["description"]
    if row["http_status"] == "0":
        kind = "timeout" if "after the request was written" in description else "unreachable"
        return Failure(kind, description)  # type: ignore[arg-type]
    status = int(row["http_status"] or row["error_code"])
    if description.startswith("(200 OK but"):
        return Answer(200, b'{"ok":true,"result":{"message_id":12', complete=True)
    if description.startswith("(empty body"):
        return Answer(status, b"")
    if description.startswith("<html>"):
        return Answer(status, description.replace("\\r\\n", "\r\n").replace("\\n", "\n").encode())
    body: dict[str, Any] = {"ok": False, "error_code": int(row["error_code"]), "description": description}
    if row["parameters"]:
        body["parameters"] = json.loads(row["parameters"])
    return Answer(status, json.dumps(body).encode())


def _error(code: int, description: str, status: int | None = None, **parameters: Any) -> Answer:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return Answer(status or code, json.dumps(body).encode())


def _sent(result: Any) -> Outcome:
    return classify("sendMessage", Answer(200, json.dumps({"ok": True, "result": result}).encode()))


def test_all_220_rows_are_there() -> None:
    assert len(ROWS) == 220


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['error_code']} {row['description'][:60]}" for row in ROWS])
def test_a_real_answer_means_what_the_list_says(row: dict[str, str]) -> None:
    outcome = classify("sendMessage", _answer(row))
    assert outcome.meaning == row["meaning"], row["description"]
    assert outcome.outcome in OUTCOME_OF[row["meaning"]]
    assert outcome.settle == SETTLE_OF[outcome.outcome]


def test_the_message_id_comes_from_the_message_or_the_first_of_an_album() -> None:
    assert _sent({"message_id": 7, "chat": {"id": 42}}).telegram_message_id == 7
    assert _sent([{"message_id": 8}, {"message_id": 9}]).telegram_message_id == 8
    assert _sent(True).telegram_message_id is None
    assert _sent({"message_id": "7"}).telegram_message_id is None
    assert _sent(True).outcome == "sent"


@pytest.mark.parametrize(
    ("answer", "expected_s"),
    [
        (_error(429, "Too Many Requests: retry after 35", retry_after=35), 35),
        (_error(429, "Too Many Requests: retry after 10072", retry_after=10072), 10072),
        (_error(429, "Too Many Requests: retry after 8"), 8),
        (Answer(429, b"", retry_after_header="17"), 17),
        (Answer(429, b'{"ok":fal', retry_after_header="3", complete=False), 3),
        (_error(429, "Too Many Requests", retry_after=float("inf")), None),
        (_error(429, "Too Many Requests", retry_after=True), None),
        (_error(429, "Too Many Requests", retry_after=-4), None),
        (Answer(429, b"<html>slow down</html>"), None),
    ],
)
def test_a_flood_waits_as_long_as_it_says(answer: Answer, expected_s: float | None) -> None:
    outcome = classify("sendMessage", answer)
    assert (outcome.outcome, outcome.retry_after_s, outcome.settle) == ("wait", expected_s, "flood")


def test_a_flood_inside_a_bad_request_of_an_album_is_not_a_plain_flood() -> None:
    text = 'Bad Request: failed to send message #1 with the error message "Too Many Requests: retry after 8"'
    assert classify("sendMediaGroup", _error(400, text)).outcome == "uncertain"


def test_an_album_that_fails_at_its_third_part_is_uncertain() -> None:
    text = 'Bad Request: failed to send message #3 with the error message "WEBPAGE_MEDIA_EMPTY"'
    assert classify("sendMediaGroup", _error(400, text)).outcome == "uncertain"
    assert classify("sendmediagroup", _error(400, text)).outcome == "uncertain"


@pytest.mark.parametrize("method", ["editMessageText", "deleteMessage", "setMessageReaction", "pinChatMessage"])
def test_what_may_be_repeated_is_never_uncertain(method: str) -> None:
    for answer in (Failure("timeout", "no answer in time"), Answer(502, b""), Answer(200, b"")):
        assert classify(method, answer).outcome == "retry"


@pytest.mark.parametrize(
    "method", ["sendMessage", "forwardMessage", "copyMessages", "sendInvoice", "stopPoll", "postStory"]
)
def test_what_must_not_be_repeated_stays_uncertain(method: str) -> None:
    assert classify(method, Failure("connection_lost", "reset")).outcome == "uncertain"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Failure("unreachable", "ClientConnectorError: Connection refused"), "retry"),
        (Failure("unsent", "held back"), "unsent"),
        (Failure("stopped", "the worker stopped"), "uncertain"),
        (Answer(503, b"<html>Service Unavailable</html>"), "retry"),
        (Answer(520, b"<html>unknown error</html>"), "uncertain"),
        (Answer(302, b""), "retry"),
        (Answer(200, b'{"ok":true,"result":{"message_id":1}}', complete=False), "uncertain"),
        (Answer(200, b"<html>Welcome to nginx!</html>"), "uncertain"),
        (Answer(200, b"[" * 100_000), "uncertain"),
        (Answer(200, b'{"ok":"yes"}'), "uncertain"),
        (_error(403, "Forbidden: bot was blocked by the user", status=200), "dead"),
        (_error(429, "Too Many Requests: retry after 5", status=502), "wait"),
        (Answer(418, b"teapot"), "dead"),
        (_error(500, "Internal Server Error: restart"), "retry"),
        (Answer(400, b'{"ok":false,"error_code":"x","description":7,"parameters":[1]}'), "dead"),
    ],
)
def test_other_answers_have_their_outcome(answer: Answer | Failure, outcome: str) -> None:
    assert classify("sendMessage", answer).outcome == outcome


@pytest.mark.parametrize("answer", [_error(401, "Unauthorized"), _error(404, "Not Found")])
def test_a_refused_bot_token_costs_no_dead_letters(answer: Answer) -> None:
    outcome = classify("sendMessage", answer)
    assert (outcome.outcome, outcome.error_class) == ("retry", "bot_unauthorized")


def test_case_does_not_matter() -> None:
    assert classify("sendMessage", _error(403, "FORBIDDEN: BOT WAS BLOCKED BY THE USER")).error_class == "blocked"


def test_error_text_is_short_and_fit_for_the_database() -> None:
    text = classify("sendMessage", _error(400, "a\x00b\ud800" + "x" * 1000)).error_text
    assert text is not None
    assert len(text) == 500
    assert "\x00" not in text
    text.encode()


def test_error_text_of_an_html_body_is_its_words() -> None:
    body = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body></html>"
    assert classify("sendMessage", Answer(502, body)).error_text == "502 Bad Gateway 502 Bad Gateway"


def test_error_text_holds_no_bot_token() -> None:
    token = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
    for text in (f"no route for /bot{token}/sendMessage", f"Bad Request: {token} is odd"):
        assert token not in (classify("sendMessage", _error(400, text)).error_text or "")


def test_no_repr_shows_a_body() -> None:
    assert "secret" not in repr(Answer(200, b"secret"))
