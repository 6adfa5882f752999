"""What explain says, with links and times from now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from outbox.operate.page.reasons import reason


def told(text: str) -> str:
    return str(reason(text, lambda path: f"/below{path}"))


def plain(text: str) -> str:
    """Without markup."""
    return re.sub("<[^>]+>", "", told(text))


def test_a_time_is_told_from_now_too() -> None:
    at = datetime.now(UTC) + timedelta(minutes=14, seconds=30)
    text = f"Telegram told its chat to wait (429) until {at:%Y-%m-%d %H:%M:%S} UTC"
    assert plain(text) == f"{text} (in 14 min)"


def test_a_paused_bot_leads_to_the_page_that_resumes_it() -> None:
    text = told("bot alerts is paused by an operator: SELECT outbox.resume('alerts')")
    assert '. <a href="/below/bots/alerts">Resume it on its page</a>' in text
    assert "SELECT" not in text


def test_a_message_in_flight_leads_to_it() -> None:
    assert '<a href="/below/messages/17">message 17</a>' in told("message 17 of its chat is in flight since now")


@pytest.mark.parametrize(
    "text", ["no such time: 2026-02-31 12:00:00 UTC", "<script>alert(1)</script>", "message 17 is not in flight", ""]
)
def test_anything_else_stands_there_as_it_is(text: str) -> None:
    assert plain(text) == text.replace("<", "&lt;").replace(">", "&gt;")
