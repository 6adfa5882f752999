"""outbox suppress: chats that refuse, and lifting that."""

from __future__ import annotations

import json

import pytest

from outbox.operate.commands import suppress as command
from tests.invariants.calls import Connection, claim, insert, register
from tests.operate.commands.conftest import Outbox
from tests.operate.test_lift_suppression import suppress


def listed(outbox: Outbox, *arguments: str) -> list[str]:
    return [row["chat_id"] for row in json.loads(outbox("suppress", "list", "--json", *arguments).out)]


def test_the_suppressed_are_listed_and_one_can_be_lifted(outbox: Outbox, connection: Connection) -> None:
    for chat_id in ("-1001", "5"):
        suppress(connection, chat_id)
    insert(connection, "-1001")
    assert listed(outbox) == ["-1001", "5"]
    done = outbox("suppress", "list", "-1001")
    assert done.code == 0, done.err
    row = done.out.splitlines()[1]
    assert row.startswith("-1001  default  ")
    assert "blocked" in row
    done = outbox("suppress", "lift", "-1001")
    assert done.code == 0, done.err
    assert done.out.startswith("chat -1001 of bot default may be sent to again; it was suppressed: ")
    assert listed(outbox) == ["5"]
    assert outbox("suppress", "lift", "-1001").out == "chat -1001 of bot default was not suppressed\n"
    assert outbox("suppress", "list", "-1001").code == 1


def test_long_lists_go_on_after_the_last_chat(outbox: Outbox, connection: Connection) -> None:
    for chat_id in ("1", "2", "3"):
        suppress(connection, chat_id)
    done = outbox("suppress", "list", "--limit", "2")
    assert "there may be more: outbox suppress list --after 2" in done.err
    assert listed(outbox, "--limit", "2") == ["1", "2"]
    assert listed(outbox, "--limit", "2", "--after", "2") == ["3"]


def test_no_chat_suppressed_is_said(outbox: Outbox) -> None:
    assert outbox("suppress", "list").out == "no chat is suppressed\n"


def test_while_a_message_is_on_its_way_its_answer_decides(
    outbox: Outbox, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(connection, 1)
    assert len(claim(connection, register(connection)).lanes) == 1
    suppress(connection, "1")
    monkeypatch.setattr(command, "ASK_FOR_S", 0.0)
    done = outbox("suppress", "lift", "1")
    assert (done.code, done.out) == (1, "")
    assert "a message is on its way to chat 1" in done.err


@pytest.mark.parametrize("arguments", [("list", "--bot", "nobody"), ("lift", "1", "--bot", "nobody")])
def test_a_bot_that_does_not_exist_is_named(outbox: Outbox, arguments: tuple[str, ...]) -> None:
    done = outbox("suppress", *arguments)
    assert done.code == 1
    assert "bot 'nobody' does not exist" in done.err
