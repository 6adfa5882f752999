"""The one table, held against answers that Telegram really gave."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox.deliver.answer import Answer, Failure
from outbox.deliver.classify import STORY_WAIT_S, Outcome, classify

# Names that an answer may hold, for answers made up at random.
NAMES = ["ok", "result", "error_code", "description", "parameters", "retry_after", "migrate_to_chat_id", "message_id"]
NAMES += ["photo", "document", "paid_media", "file_id", "width", "height", "date"]

# What a chat did by itself is no sign of a fault at Telegram; every other refusal of a whole chat may be one.
NO_FAULT_OF_TELEGRAM = {"blocked", "deactivated", "kicked"}


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


def _settle(row: dict[str, str], outcome: Outcome) -> str:
    """What the slot is told, from the columns of the list."""
    if row["error_class"] == "bot_unauthorized":
        return "unauthorised"
    if row["meaning"] == "wait" or "Too Many Requests" in row["description"]:
        return "flood"
    if row["meaning"] == "chat_suppressed" and row["reach"] == "chat":
        return "ok" if row["error_class"] in NO_FAULT_OF_TELEGRAM else "refused"
    server_at_fault = outcome.http_status is None or outcome.http_status in (200, 500, 502, 503, 504, 505)
    return "fail" if outcome.outcome in ("retry", "uncertain") and server_at_fault else "ok"


def test_all_220_rows_are_there() -> None:
    assert len(ROWS) == 220


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['error_code']} {row['description'][:60]}" for row in ROWS])
def test_a_real_answer_means_what_the_list_says(row: dict[str, str]) -> None:
    outcome = classify(row["method"] or "sendMessage", _answer(row))
    assert outcome.meaning == row["meaning"], row["description"]
    assert (outcome.outcome, outcome.reach) == (row["outcome"], row["reach"])
    assert outcome.error_class == row["error_class"]
    assert outcome.settle == _settle(row, outcome)


WORDED = [row for row in ROWS if row["error_code"] and row["http_status"]]


@pytest.mark.parametrize("row", WORDED, ids=[f"{row['error_code']} {row['description'][:60]}" for row in WORDED])
def test_a_real_answer_means_the_same_in_capitals_and_with_an_old_prefix(row: dict[str, str]) -> None:
    changed = row | {"description": f"[Error]: {row['description'].upper()}"}
    outcome = classify(row["method"] or "sendMessage", _answer(changed))
    assert (outcome.meaning, outcome.reach) == (row["meaning"], row["reach"])


def test_the_list_says_that_only_the_bot_token_and_a_refused_flag_reach_the_bot() -> None:
    classes = {row["error_class"] for row in ROWS if row["reach"] == "bot"}
    assert classes == {"bot_unauthorized", "paid_broadcast_refused"}


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
    assert outcome.reach == "chat"


def test_a_flood_that_names_a_day_is_asked_again_every_hour() -> None:
    outcome = classify("postStory", _error(400, "Bad Request: STORY_SEND_FLOOD_WEEKLY_1764115200"))
    assert (outcome.outcome, outcome.retry_after_s) == ("wait", STORY_WAIT_S)


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
        (Answer(204, b""), "uncertain"),
        (Answer(202, b'{"ok":true,"result":{"message_id":1}}'), "sent"),
        (Answer(403, b"<html>Access denied by the proxy</html>"), "retry"),
        (Answer(407, b""), "retry"),
        (Answer(408, b"<html>Request Time-out</html>"), "retry"),
        (Answer(400, b'{"ok":false,"error_code":400,"descr', complete=False), "retry"),
        (Answer(403, b'{"ok":false}'), "dead"),
        (Answer(404, b"<html>404 Not Found</html>"), "retry"),
        (_error(404, "Not Found: sticker set"), "dead"),
        (_error(403, "Forbidden: bot was blocked by the user", status=200), "dead"),
        (_error(429, "Too Many Requests: retry after 5", status=502), "wait"),
        (Answer(418, b"teapot"), "retry"),
        (Answer(413, b"<html>413 Request Entity Too Large</html>"), "dead"),
        (_error(410, "Gone"), "dead"),
        (_error(500, "Internal Server Error: restart"), "retry"),
        (Answer(400, b'{"ok":false,"error_code":"x","description":7,"parameters":[1]}'), "dead"),
    ],
)
def test_other_answers_have_their_outcome(answer: Answer | Failure, outcome: str) -> None:
    assert classify("sendMessage", answer).outcome == outcome


@pytest.mark.parametrize("code", [402, 403, 405, 406, 409, 410, 418, 422, 451, 499])
@pytest.mark.parametrize("body", [b"", b"<html>Not Allowed</html>", b"[1]", b'{"error":"denied"}', b'{"ok":null}'])
def test_a_refusal_that_is_not_the_bot_apis_ends_no_message_and_is_a_failure(code: int, body: bytes) -> None:
    outcome = classify("sendMessage", Answer(code, body))
    assert (outcome.error_class, outcome.outcome, outcome.reach) == ("no_verdict", "retry", "message")
    assert outcome.settle == "fail"


def test_a_wrong_port_ends_no_message() -> None:
    body = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
    outcome = classify("sendMessage", Answer(400, body))
    assert (outcome.error_class, outcome.outcome, outcome.settle) == ("no_verdict", "retry", "fail")


@pytest.mark.parametrize(
    "unit", ["failed to a b #1 ", "failed to ", "<", "x'", " '", '"', "postgres://a:", "password=' ", "/bot1", "9", "a"]
)
def test_a_large_answer_holds_nobody_up(unit: str) -> None:
    text = unit * (1024 * 1024 // len(unit))
    for answer in (_error(400, text), Answer(400, text.encode()), Failure("timeout", text)):
        started_s = time.process_time()
        classify("sendMessage", answer)
        assert time.process_time() - started_s < 0.2


@pytest.mark.parametrize(
    "answer",
    [
        _error(401, "Unauthorized"),
        _error(404, "Not Found"),
        _error(400, "Logged out"),
        _error(421, "Misdirected Request"),
        Answer(401, b"<html>401</html>"),
    ],
)
def test_a_refused_bot_token_costs_no_dead_letters(answer: Answer) -> None:
    outcome = classify("sendMessage", answer)
    assert (outcome.outcome, outcome.reach, outcome.settle) == ("retry", "bot", "unauthorised")
    assert outcome.error_class == "bot_unauthorized"


def test_a_refused_paid_broadcast_waits_to_be_sent_without_the_flag() -> None:
    outcome = classify("sendMessage", _error(400, "Bad Request: FLOODSKIP_NOT_ALLOWED"))
    assert (outcome.outcome, outcome.reach, outcome.settle) == ("retry", "bot", "ok")
    assert outcome.error_class == "paid_broadcast_refused"


@pytest.mark.parametrize(
    ("named", "chat_id"),
    [(-1001557912345, "-1001557912345"), ("-1001557912345", "-1001557912345"), (" 42 ", "42")],
)
def test_a_chat_that_has_moved_names_its_new_id(named: Any, chat_id: str) -> None:
    outcome = classify("sendMessage", _error(400, "Bad Request: any words", migrate_to_chat_id=named))
    assert (outcome.meaning, outcome.outcome, outcome.reach) == ("migrated", "retry", "chat")
    assert (outcome.migrate_to, outcome.settle) == (chat_id, "ok")


@pytest.mark.parametrize("named", [True, None, 0, "0", "@name", "-", "12x", "", 1.5, [1], 2**63, "9" * 30])
def test_a_new_id_that_is_none_moves_nothing(named: Any) -> None:
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    outcome = classify("sendMessage", _error(400, text, migrate_to_chat_id=named))
    assert (outcome.outcome, outcome.migrate_to, outcome.error_class) == ("dead", None, "migrated_unnamed")


@pytest.mark.parametrize("text", ["Bad Request: failed to get HTTP URL content", "Bad Request: IMAGE_PROCESS_FAILED"])
def test_a_bad_picture_does_not_count_as_a_failure_of_telegram(text: str) -> None:
    assert classify("sendPhoto", _error(400, text)).settle == "ok"


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


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=20,
)


@settings(deadline=None, derandomize=True, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    status=st.sampled_from([200, 204, 302, 400, 401, 403, 404, 429, 500, 502, 599]),
    body=st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()),
    complete=st.booleans(),
    header=st.none() | st.text(max_size=10),
    method=st.sampled_from(["sendMessage", "sendMediaGroup", "editMessageText", "getMe", ""]),
)
def test_nothing_that_comes_over_the_wire_is_without_an_outcome(
    status: int, body: bytes, complete: bool, header: str | None, method: str
) -> None:
    outcome = classify(method, Answer(status, body, header, complete))
    assert outcome.outcome in ("sent", "wait", "retry", "uncertain", "dead")
    assert outcome.settle in ("ok", "fail", "flood", "refused", "unauthorised")
    assert (outcome.reach == "bot") <= (outcome.error_class in ("bot_unauthorized", "paid_broadcast_refused"))
    assert (outcome.migrate_to is not None) == (outcome.meaning == "migrated")
    told = json.dumps([outcome.telegram_answer, outcome.error_text, outcome.migrate_to], ensure_ascii=False)
    assert len(told.encode()) < 50_000
    assert "\x00" not in told
    assert "\\u0000" not in told.replace("\\\\", "")  # a backslash and the letters after it are text


def test_no_repr_shows_a_body() -> None:
    assert "secret" not in repr(Answer(200, b"secret"))
