"""Whatever strangers write is shown as text, on every page of the sections."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.invariants.calls import Connection, insert
from tests.operate.dead_letters import die, unlimited

TURNED = "\u202egnp.exe"
MARKUP = "<script>alert(1)</script>"
SMILES = "\U0001f600" * 4096
HOSTILE = {
    "markup": MARKUP + "'\"><img src=x onerror=alert(2)>",
    "turned around": f"pay {TURNED}",
    "smiles": SMILES,
    "null-like": "\\u0000 %00 \x07 \x1b[2J",
    "template": "{{ 7*7 }} {% raw %}",
    "token": "123456789:AAF-abcdefghijklmnopqrstuvwxyz_01234",
}
NEVER = ("<script>alert", "<img src=x", "AAF-abcdefghijklmnopqrstuvwxyz_01234")
UNSEEN = ("\u202e", "\x07", "\x1b")  # but in a field, where it stands as it was typed, apart from the rest


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_text_is_shown_as_text_on_every_page(connection: Connection, open_page: Any, text: str) -> None:
    page = await open_page(payload_readers="*")
    unlimited(connection)
    short = text[:200]
    dead = die(connection, "@evil", error_class="bad_request", error_text=text, tag=short, correlation_id=short)
    waiting = insert(connection, 42, {"text": text, short: 1}, tag=short, correlation_id=short)
    connection.execute("UPDATE outbox.message SET last_error = %s", [text])
    connection.execute(
        "UPDATE outbox.chat SET suppressed_until = outbox.clock() + interval '1 h', suppressed_reason = %s"
        " WHERE chat_id = '@evil'",
        [text],
    )
    connection.execute(
        "UPDATE outbox.bucket SET paused_until = outbox.clock() + interval '1 h', paused_reason = %s,"
        " breaker = 'open', breaker_until = outbox.clock() + interval '1 h', breaker_reason = %s",
        [text, text],
    )
    connection.execute("SELECT set_config('outbox.operator', %s, false)", [short])
    connection.execute("SELECT outbox.start_batch('retry', p_tag => %s, p_per_s => 1)", [short])
    connection.execute("UPDATE outbox.batch SET last_error = %s", [text])
    answers = {
        f"{path} {query}": await page.get(path, **query)
        for path, query in [
            ("/messages", {}),
            ("/messages", {"tag": short}),
            ("/messages", {"text": short}),
            ("/messages", {"find": f"{short[:100]}?"}),
            ("/messages", {"status": "lost", "tag": short}),
            (f"/messages/{dead}", {}),
            (f"/messages/{waiting}", {}),
            ("/dead-letters", {}),
            ("/dead-letters", {"tag": short}),
            ("/dead-letters/confirm", {"verb": "retry", "tag": short}),
            ("/dead-letters/batches", {}),
            ("/dead-letters/batches/1", {}),
            ("/chats", {}),
            ("/chats", {"chat": "@evil"}),
            ("/chats", {"chat": short, "bot": short}),
            ("/bots", {}),
            ("/bots/default", {}),
            (f"/bots/{short.replace('/', '')[:40]}", {}),
            ("/audit", {}),
            ("/audit", {"who": short}),
        ]
    }
    answers["payload"] = await page.post(f"/messages/{waiting}/payload")
    answers["search"] = await page.post("/messages", text=short, tag=short)
    for place, answer in answers.items():
        assert answer.status in (200, 400, 404), (place, answer.text)
        assert [mark for mark in NEVER if mark in answer.text] == [], place
        shown = re.sub(r' value="[^"]*"', "", answer.text)
        assert [mark for mark in UNSEEN if mark in shown] == [], place
