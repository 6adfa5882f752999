"""A bot token that got into a message, an error or an answer is shown on no page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox.operate.page import filters
from outbox.operate.page.database import PageDatabase
from outbox.operate.page.render import _environment
from outbox.redact import scrub_nested

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
TOKEN = f"1234567890:{SECRET}"
PART = SECRET[:12]


@pytest.fixture
def leaked(db: Any) -> tuple[int, int]:
    """The token wherever a stranger or a broken proxy may leave it. Returns a message that waits, and a dead letter."""
    payload = json.dumps({"text": f"see https://api.telegram.org/bot{TOKEN}/getMe", TOKEN: {"deep": [TOKEN]}})
    ids = [
        int(number)
        for [number] in db.execute(
            "INSERT INTO outbox.message (chat_id, payload, tag, correlation_id)"
            " SELECT 42, %s, %s, %s || n FROM generate_series(1, 2) n RETURNING id",
            [payload, f"tag {TOKEN}", f"{TOKEN} "],
        )
    ]
    # Long ahead of it, so that a text which is cut is cut within the token.
    error = f"{'x' * 140} {TOKEN} POST https://api.telegram.org/bot{TOKEN}/sendMessage"
    db.execute(
        "WITH gone AS (DELETE FROM outbox.message WHERE id = %s RETURNING *)"
        " INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, tag, correlation_id,"
        " on_uncertain, created_at, scheduled_for, died_at, attempts, calls, error_class, error_text)"
        " SELECT id, bot, chat_id, method, payload, priority, 'dead', tag, correlation_id, on_uncertain,"
        " created_at, now(), now(), 1, 1, 'bad_request', %s FROM gone",
        [ids[1], error],
    )
    db.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, worker, started_at, answered_at, outcome,"
        " error_class, error_text) VALUES (%s, 1, 'default', '42', 1, now(), now(), 'retry', 'timeout', %s)",
        [ids[0], error],
    )
    db.execute("SELECT outbox.register_worker(%s, '{default}', 'host', 7, '1.2')", [f"host {TOKEN}"])
    db.execute("UPDATE outbox.bucket SET paused_until = outbox.clock() + interval '1 h', paused_reason = %s", [error])
    db.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_reason, suppressed_at)"
        " VALUES ('43', 'default', outbox.clock() + interval '1 h', %s, outbox.clock())",
        [error],
    )
    db.execute("SELECT outbox.start_batch('retry', p_tag => %s, p_per_s => 1)", [f"tag {TOKEN}"])
    db.execute("SELECT outbox.note_action('retry', jsonb_build_object('tag', %s::text), 1)", [f"tag {TOKEN}"])
    db.execute("SELECT outbox.measure_queue(), outbox.measure_broadcasts(), outbox.note_duty('measure', NULL)")
    return ids[0], ids[1]


async def test_no_page_shows_a_bot_token(leaked: tuple[int, int], open_page: Any) -> None:
    page = await open_page(payload_readers="*")
    waits, dead = leaked
    told = 0
    for path in (
        "/",
        "/broadcasts",
        "/messages",
        "/messages?status=dead",
        "/messages?text=telegram",
        f"/messages/{waits}",
        f"/messages/{dead}",
        "/dead-letters",
        "/dead-letters?text=telegram",
        "/dead-letters/confirm?verb=retry&text=telegram",
        f"/dead-letters/confirm?verb=discard&id={dead}",
        "/dead-letters/batches",
        "/dead-letters/batches/1",
        "/chats",
        "/chats?state=suppressed",
        "/chats?chat=43",
        "/bots",
        "/bots/default",
        "/audit",
    ):
        answer = await page.get(path)
        assert answer.status == 200, (path, answer.text)
        assert PART not in answer.text, path
        told += "1234567890:***" in answer.text
    for path, fields in (
        (f"/messages/{waits}/payload", {}),
        (f"/messages/{dead}/payload", {}),
        ("/messages", {"text": "telegram"}),
    ):
        answer = await page.post(path, **fields)
        assert answer.status == 200, (path, answer.text)
        assert "1234567890:***" in answer.text, path
        assert PART not in answer.text, path
    assert told > 8, "the bot's number is no secret: it tells which token to revoke"


@pytest.mark.parametrize(
    "path",
    [
        "/messages?tag={}",
        "/messages?since={}",
        "/messages/{}",
        "/dead-letters?text={}",
        "/chats?chat={}",
        "/bots/{}",
        "/audit?who={}",
        "/?bot={}",
        "/{}",
    ],
)
async def test_a_token_in_the_address_is_not_shown_again(page: Any, path: str) -> None:
    answer = await page.get(path.format(TOKEN))
    assert answer.status in {200, 400, 404}
    assert PART not in answer.text


async def test_what_is_read_has_no_token_before_any_page_cuts_it(db: Any) -> None:
    database = PageDatabase(db.url)
    await database.open()
    try:
        query = "SELECT %s::text AS tag, jsonb_build_object('text', %s::text) AS payload"
        clean = {"tag": "1234567890:***", "payload": {"text": "1234567890:***"}}
        assert await database.read(query, (TOKEN, TOKEN)) == [clean]
        assert await database.act("ann", query, (TOKEN, TOKEN)) == [clean]
    finally:
        await database.close()


def test_what_is_shown_or_cut_is_scrubbed_first() -> None:
    assert str(filters.shown(f"a {TOKEN} b")) == '<bdi class="shown">a 1234567890:*** b</bdi>'
    cut = _environment().from_string("{{ text|truncate(40, true)|shown }}").render(text=f"{'x' * 20} {TOKEN}")
    assert PART[:4] not in cut


def test_rows_lose_tokens_at_any_depth_and_nothing_else() -> None:
    assert scrub_nested({TOKEN: [{"a": (TOKEN, 1, None, "12:30")}]}) == {
        "1234567890:***": [{"a": ("1234567890:***", 1, None, "12:30")}]
    }
