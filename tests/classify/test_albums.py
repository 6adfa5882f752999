"""Several messages by one call: its failure says little about each of them, and none may be sent twice on hold."""

import json
from typing import Any

import pytest

from outbox.deliver.answer import Answer, Failure
from outbox.deliver.classify import Outcome, classify

MANY = ["sendMediaGroup", "copyMessages", "forwardMessages", "sendmediagroup"]


def _refused(method: str, code: int, text: str, **parameters: Any) -> Outcome:
    body = {"ok": False, "error_code": code, "description": text, "parameters": parameters}
    return classify(method, Answer(code, json.dumps(body).encode()))


def _part(number: int, text: str) -> str:
    return f'Bad Request: failed to send message #{number} with the error message "{text}"'


@pytest.mark.parametrize("method", MANY)
def test_a_flood_of_an_album_is_uncertain_and_waits_as_long_as_it_says(method: str) -> None:
    outcome = _refused(method, 429, "Too Many Requests: retry after 35", retry_after=35)
    assert (outcome.meaning, outcome.outcome, outcome.reach) == ("uncertain", "uncertain", "chat")
    assert (outcome.settle, outcome.retry_after_s) == ("flood", 35)


@pytest.mark.parametrize("method", MANY)
@pytest.mark.parametrize("number", [1, 2, 10, 37])
def test_a_flood_inside_a_bad_request_is_uncertain_and_waits_too(method: str, number: int) -> None:
    outcome = _refused(method, 400, _part(number, "Too Many Requests: retry after 8"))
    assert (outcome.outcome, outcome.error_class) == ("uncertain", "partly_sent")
    assert (outcome.settle, outcome.retry_after_s) == ("flood", 8)


@pytest.mark.parametrize("method", MANY)
@pytest.mark.parametrize("number", [2, 3, 10, 100])
def test_a_failure_after_the_first_part_is_uncertain_whatever_it_says(method: str, number: int) -> None:
    for text in ("WEBPAGE_MEDIA_EMPTY", "USER_IS_BLOCKED", "chat not found", "something new"):
        for said in (_part(number, text), _part(number, text).upper()):
            outcome = _refused(method, 400, said)
            assert (outcome.outcome, outcome.reach, outcome.settle) == ("uncertain", "message", "ok")


@pytest.mark.parametrize("code", [500, 502, 503, 504, 520])
@pytest.mark.parametrize("method", MANY)
def test_any_trouble_of_the_server_is_uncertain(method: str, code: int) -> None:
    for text in ("Internal Server Error: restart", "requested data is inaccessible", ""):
        assert _refused(method, code, text).outcome == "uncertain"


@pytest.mark.parametrize("method", MANY)
def test_a_refusal_that_broke_off_is_uncertain(method: str) -> None:
    assert classify(method, Answer(400, b'{"ok":false,"err', complete=False)).outcome == "uncertain"
    assert classify(method, Failure("timeout", "no answer")).outcome == "uncertain"


def test_an_album_whose_first_part_failed_was_not_sent_but_copies_go_one_by_one() -> None:
    text = _part(1, "WEBPAGE_MEDIA_EMPTY")
    assert _refused("sendMediaGroup", 400, text).outcome == "dead"
    assert _refused("copyMessages", 400, text).outcome == "uncertain"
    assert _refused("forwardMessages", 400, text).outcome == "uncertain"


@pytest.mark.parametrize("method", MANY)
def test_a_chat_that_refuses_the_first_part_refuses_them_all(method: str) -> None:
    text = 'Forbidden: failed to send message #1 with the error message "USER_IS_BLOCKED"'
    outcome = _refused(method, 403, text)
    assert (outcome.outcome, outcome.reach, outcome.error_class) == ("dead", "chat", "blocked")


@pytest.mark.parametrize("method", MANY)
def test_a_refusal_before_anything_was_sent_is_an_ordinary_one(method: str) -> None:
    assert _refused(method, 400, "Bad Request: message identifiers are not specified").outcome == "dead"
    assert _refused(method, 401, "Unauthorized").outcome == "retry"
    moved = _refused(method, 400, "Bad Request: upgraded", migrate_to_chat_id=-1001)
    assert (moved.outcome, moved.migrate_to) == ("retry", "-1001")


def test_the_flood_of_one_message_is_just_a_wait() -> None:
    for method in ("sendMessage", "copyMessage", "forwardMessage", "sendPaidMedia"):
        assert _refused(method, 429, "Too Many Requests: retry after 35", retry_after=35).outcome == "wait"
