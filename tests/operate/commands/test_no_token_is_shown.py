"""Whatever holds a bot token by mistake, no command prints it."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, insert
from tests.operate.commands.conftest import Outbox
from tests.operate.dead_letters import die, unlimited

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
TOKEN = f"1000001:{SECRET}"
URL = f"https://api.telegram.org/bot{TOKEN}/sendMessage"

COMMANDS = [
    ("show", "{dead}", "--payload"),
    ("show", "{waiting}", "--payload"),
    ("show", TOKEN),
    ("show", "shared"),
    ("explain", "{waiting}"),
    ("explain", TOKEN),
    ("dead", "list"),
    ("dead", "list", "--each"),
    ("dead", "show", "{dead}", "--payload"),
    ("dead", "retry", "--tag", TOKEN, "--no-wait"),
    ("dead", "batches"),
    ("dead", "batches", "1"),
    ("stats",),
    ("shape", "--by", "tag"),
    ("cancel", "--tag", TOKEN, "--dry-run"),
    ("suppress", "list"),
    ("bot", "list"),
]


@pytest.fixture
def ids(connection: Connection) -> dict[str, int]:
    """A dead letter and a message that waits, with a token wherever somebody may have put one."""
    unlimited(connection)
    payload = {"text": TOKEN, TOKEN: URL}
    dead = die(connection, 1, TOKEN, f"404 for {URL}", tag=TOKEN, correlation_id=TOKEN, payload=payload)
    die(connection, 2, "timeout", URL, tag=TOKEN, correlation_id="shared")
    insert(connection, 3, tag=TOKEN, correlation_id="shared", payload=payload)
    connection.execute(
        "UPDATE outbox.chat SET suppressed_until = outbox.clock() + interval '1 d', suppressed_reason = %s", [URL]
    )
    connection.execute(
        "UPDATE outbox.bucket SET paused_until = outbox.clock() + interval '1 h', paused_reason = %s,"
        " breaker = 'open', breaker_until = outbox.clock() + interval '1 h', breaker_reason = %s",
        [URL, TOKEN],
    )
    connection.execute("SELECT outbox.measure_queue(), outbox.start_batch('retry', p_tag => %s)", [TOKEN])
    return {"dead": dead, "waiting": insert(connection, 4, tag=TOKEN, correlation_id=TOKEN)}


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_no_command_prints_a_token_in_either_form(outbox: Outbox, ids: dict[str, int], form: tuple[str, ...]) -> None:
    hidden = 0
    for command in COMMANDS:
        done = outbox(*(part.format(**ids) for part in command), *form)
        assert done.code in (0, 1), done.err
        assert SECRET not in done.out + done.err, command
        hidden += "1000001:***" in done.out
    assert hidden > len(COMMANDS) / 2, "the places are really shown"


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_what_is_followed_prints_no_token(
    outbox: Outbox, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    from outbox.operate.commands import tail

    def leave(seconds: float) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(tail, "_wait", leave)
    monkeypatch.setattr("outbox.operate.steady.os.dup2", lambda *_: None)
    done = outbox("tail", "--from-start", *form)
    assert SECRET not in done.out + done.err
    assert "1000001:***" in done.out


def test_what_is_refused_prints_no_token(outbox: Outbox) -> None:
    for command in (("show", f"{TOKEN}x y"), ("send", "42", "--payload", TOKEN), ("dead", "list", "--since", TOKEN)):
        done = outbox(*command)
        assert done.code in (1, 2)
        assert SECRET not in done.out + done.err, command
