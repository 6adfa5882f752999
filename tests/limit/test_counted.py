"""Which calls count: every method that aiogram knows, beside the judge's list and the queue's."""

from __future__ import annotations

import inspect
import json
from typing import Any

import aiogram.methods
import pytest
from aiogram.methods import TelegramMethod

from outbox.limit.counted import Counted, counted
from outbox.simulator.methods import cost

METHODS = sorted(
    method.__api_method__
    for _, method in inspect.getmembers(aiogram.methods, inspect.isclass)
    if issubclass(method, TelegramMethod) and method is not TelegramMethod
)
# Edits of a message and new messages by other names: one slot too many does no harm.
BEYOND_THE_JUDGE = {
    "createForumTopic",
    "editEphemeralMessageCaption",
    "editEphemeralMessageMedia",
    "editEphemeralMessageReplyMarkup",
    "editEphemeralMessageText",
    "setGameScore",
    "stopMessageLiveLocation",
    "stopPoll",
}


def of(method: str, **parameters: Any) -> Counted | None:
    return counted(method, parameters.get)


def test_what_the_judge_counts_takes_a_slot_and_what_it_does_not_takes_none():
    assert len(METHODS) > 150
    ours = {method for method in METHODS if of(method, chat_id=1)}
    judges = {method for method in METHODS if cost(method.lower(), {})}
    assert ours - judges == BEYOND_THE_JUDGE
    assert judges <= ours


def test_parts_count_as_they_do_in_the_queue(db):
    keys = {"sendMediaGroup": "media", "copyMessages": "message_ids", "forwardMessages": "message_ids"}
    for parts in (None, [], [1], [1, 2, 3], list(range(200)), "[1, 2]"):
        for method, key in keys.items():
            [(of_queue,)] = db.execute(
                "SELECT outbox.message_cost(%s, jsonb_build_object(%s::text, %s::jsonb))",
                [method, key, json.dumps(parts)],
            )
            assert of(method, chat_id=1, **{key: parts}) == Counted("1", "1", of_queue), (method, parts)


def test_a_chat_is_the_same_however_it_is_written():
    assert of("sendMessage", chat_id="42") == of("sendMessage", chat_id=42) == Counted("42", "42", 1)
    assert of("sendMessage", chat_id="@News") == Counted("@news", "@news", 1)


def test_an_inline_message_names_no_chat():
    assert of("setGameScore", user_id=7, inline_message_id="AA") == Counted("inline AA", None, 1)


@pytest.mark.parametrize("chat_id", ["Anna", "", "@x", "1" * 30, 0])
def test_a_chat_id_that_the_database_refuses_takes_no_slot(chat_id):
    assert of("sendMessage", chat_id=chat_id) is None
