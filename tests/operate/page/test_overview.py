"""The overview: what it counts, what it warns of, and what it says where there is nothing."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.operate.page.database import Rights
from outbox.operate.page.notices import MOST, notices
from outbox.operate.page.rate import by_step
from outbox.operate.sending_state import PAUSED
from tests.invariants import calls
from tests.invariants.calls import Connection
from tests.operate.dead_letters import die, unlimited

RIGHTS = Rights(as_reader=True, may_act=True, login="app")


def words(text: str) -> str:
    """What a page says, without its tags, on one line."""
    main = text.partition("<main")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def measure(db: Any) -> None:
    """As housekeeping does every 15 s."""
    db.execute("SELECT outbox.measure_queue(), outbox.measure_broadcasts(), outbox.note_duty('measure', NULL)")


def register(db: Any, name: str = "host:7", bots: str = "{default}") -> int:
    [(worker,)] = db.execute("SELECT outbox.register_worker(%s, %s, 'host', 7, '1.2')", [name, bots])
    return int(worker)


# --- nothing there ---


async def test_with_nothing_there_it_says_what_to_do_next(page: Any) -> None:
    said = words((await page.get("/")).text)
    assert "Nothing waits, and nothing was sent" in said
    assert "INSERT INTO outbox.message" in said
    assert "No worker runs" in said
    assert "outbox up" in said
    assert "no process keeps house" in said


async def test_without_any_bot_it_says_so(db: Any, page: Any) -> None:
    db.execute("DELETE FROM outbox.bucket")
    db.execute("DELETE FROM outbox.bot")
    answer = await page.get("/")
    assert answer.status == 200
    assert "There is no bot" in words(answer.text)


# --- what it counts ---


async def test_what_waits_is_counted_by_priority(db: Any, page: Any) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority, next_attempt_at)"
        ' SELECT i, \'{"text": "x"}\', i % 2 * 3,'
        "        CASE WHEN i > 8 THEN now() + interval '1 h' ELSE now() - interval '5 min' END"
        "   FROM generate_series(1, 10) i"
    )
    measure(db)
    register(db)
    said = words((await page.get("/")).text)
    assert "Due now 8 2 scheduled, counted" in said
    assert "Oldest due 5 min" in said
    assert "critical 4 1 0 5 min" in said
    assert "low 4 1 0 5 min" in said
    assert "high 0 0 0 —" in said
    assert "Counted " in said
    assert "no process keeps house" not in said
    assert "Nothing waits" not in said


async def test_what_was_sent_refused_and_died_lately_is_counted(db: Any, connection: Connection, page: Any) -> None:
    unlimited(connection)
    die(connection, 1)
    worker = calls.register(connection)
    for chat in range(2, 8):
        calls.insert(connection, chat)
    waits, *sent = calls.claim(connection, worker).lanes
    calls.finish(connection, worker, sent)
    calls.finish(connection, worker, [waits], "wait", retry_after_s=5, error_class="too_many_requests")
    calls.cancel(connection, waits.message_id)
    # Only whole steps of 10 s are counted of the calls.
    db.execute("UPDATE outbox.attempt SET answered_at = answered_at - interval '20 s'")
    measure(db)
    answer = await page.get("/")
    said = words(answer.text)
    assert "Sent 5 in 15 min" in said
    assert "429s 1 in 15 min" in said
    assert "Dead letters 1 in 15 min" in said
    assert "default sends no limit 1 5 1 1 0" in said
    assert "/dead-letters?bot=default" in answer.text


async def test_a_broadcast_is_followed_with_its_progress(db: Any, page: Any) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT i, '{\"text\": \"x\"}', 'news' FROM generate_series(1, 4) i"
    )
    db.execute("SELECT outbox.cancel((SELECT min(id) FROM outbox.message))")
    measure(db)
    said = words((await page.get("/broadcasts")).text)
    assert re.search(r"news default .* of 4 4 0 0 0 does not move", said), said
    assert "hx-get" in (await page.get("/")).text.partition('id="broadcasts"')[2]


async def test_without_a_broadcast_it_says_what_one_is(page: Any) -> None:
    assert "inserted with a tag" in words((await page.get("/broadcasts")).text)


# --- the plot ---


async def test_the_plot_gets_whole_steps_of_the_last_15_minutes(db: Any, page: Any) -> None:
    db.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, worker, started_at, answered_at, outcome)"
        " SELECT i, 1, 'default', i::text, 1, now(), now() - interval '1 min',"
        "        CASE WHEN i <= 200 THEN 'sent' ELSE 'wait' END FROM generate_series(1, 250) i"
    )
    answer = await page.get("/overview/rate")
    assert answer.headers["Content-Type"].startswith("application/json")
    series = json.loads(answer.text)
    assert set(series) == {"at", "sent", "allowed", "too_many_requests", "failed"}
    assert len(series["at"]) == 90
    assert {len(values) for values in series.values()} == {90}
    assert (max(series["sent"]), sum(series["sent"])) == (20, 20)
    assert sum(series["too_many_requests"]) == 5
    assert set(series["allowed"]) == {30}
    assert series["at"][1] - series["at"][0] == 10
    of_nobody = await page.get("/overview/rate", bot="nobody")
    assert json.loads(of_nobody.text)["at"] == []


def test_the_sum_of_bots_is_without_a_limit_when_one_of_them_is() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def step(bot: str, allowed: float | None) -> dict[str, Any]:
        return {"bot": bot, "at": at, "sent": 2, "too_many_requests": 1, "failed": 0, "allowed": allowed}

    [minute] = by_step(
        [step("a", 300.0) | {"at": at + timedelta(seconds=10 * i)} for i in range(6)], step=timedelta(minutes=1)
    )
    assert (minute["at"], minute["sent"], minute["allowed"]) == (at, 12, 1800)
    [both] = by_step([step("a", 300.0), step("b", 300.0)])
    assert (both["sent"], both["too_many_requests"], both["allowed"]) == (4, 2, 600)
    for rows in ([step("a", 300.0), step("b", None)], [step("b", None), step("a", 300.0)]):
        assert by_step(rows)[0]["allowed"] is None
    assert by_step([step("a", 300.0), step("b", None)], "a")[0]["allowed"] == 300


@pytest.mark.parametrize(
    "change",
    [
        "stopped = true",
        "unauthorised = true",
        "breaker = 'open', breaker_until = outbox.clock() + interval '1 min'",
        "paused_until = outbox.clock() + interval '1 min'",
    ],
)
async def test_the_limit_is_of_the_bots_that_may_send(db: Any, page: Any, change: str) -> None:
    db.execute("SELECT outbox.set_bot('alerts')")
    assert "of 60, last minute" in words((await page.get("/")).text)
    db.execute(f"UPDATE outbox.bucket SET {change} WHERE bot = 'alerts'")
    assert "of 30, last minute" in words((await page.get("/")).text)
    assert set(json.loads((await page.get("/overview/rate")).text)["allowed"]) == {30}
    assert set(json.loads((await page.get("/overview/rate", bot="alerts")).text)["allowed"]) == {0}


async def test_a_priority_leads_to_what_waits_with_it(db: Any, page: Any) -> None:
    db.execute("INSERT INTO outbox.message (chat_id, payload, priority, tag) VALUES (1, '{\"text\": \"x\"}', 0, 'now')")
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority, tag) VALUES (1, '{\"text\": \"x\"}', 3, 'later')"
    )
    link = "/messages?status=queued&amp;priority=critical"
    assert f'href="{link}"' in (await page.get("/")).text
    found = (await page.get(html.unescape(link))).text
    assert ">now<" in found
    assert ">later<" not in found


# --- workers ---


async def test_workers_stand_there_with_their_heartbeat_and_a_lost_one_for_a_while(db: Any, page: Any) -> None:
    register(db, "well:1")
    lost = register(db, "lost:2")
    register(db, "left:3")
    db.execute("UPDATE outbox.worker SET lease_until = outbox.clock() - interval '1 s' WHERE id = %s", [lost])
    db.execute("UPDATE outbox.worker SET ended_at = outbox.clock() WHERE name = 'left:3'")
    said = words((await page.get("/")).text)
    assert re.search(r"well:1 idle (now|\d s ago) default", said)
    assert "lost:2 lost" in said
    assert "left:3" not in said
    assert "No worker runs" not in said


# --- what stands in the way ---


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("SELECT outbox.pause('default')", "Bot default is paused by an operator, and 1 message waits"),
        ("UPDATE outbox.bucket SET unauthorised = true", "Telegram refuses the bot token of default"),
        (
            "UPDATE outbox.bucket SET breaker = 'open', breaker_until = outbox.clock() + interval '1 min'",
            "The breaker of bot default is open",
        ),
        ("UPDATE outbox.worker SET bots = '{other}'", "No worker serves bot default, and 1 message waits"),
    ],
)
async def test_what_stops_a_bot_is_said_first(db: Any, page: Any, change: str, told: str) -> None:
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (1, \'{"text": "x"}\')')
    measure(db)
    register(db)
    assert 'class="notice' not in (await page.get("/")).text
    db.execute(change)
    said = words((await page.get("/")).text)
    assert told in said
    assert said.index(told) < said.index("Due now")


async def test_a_running_batch_is_told(connection: Connection, page: Any) -> None:
    unlimited(connection)
    die(connection, 1)
    connection.execute("SELECT outbox.start_batch('retry', p_bot => 'default')")
    answer = await page.get("/")
    assert "Retrying dead letters: 0 of 1." in words(answer.text)
    assert 'href="/dead-letters/batches/1"' in answer.text


def test_what_reads_with_more_rights_than_it_needs_is_told_what_to_grant() -> None:
    [told] = notices([], [{"state": "busy"}], RIGHTS._replace(as_reader=False), None, measured=True)
    assert "may not become outbox_reader" in told.text
    assert 'GRANT outbox_reader TO "app";' in told.text


def test_many_bots_in_trouble_are_counted_and_not_listed() -> None:
    now = datetime.now(UTC)
    bots = [{"bot": f"b{i}", "waiting": 1, "state": (PAUSED, "bad", None)} for i in range(500)]
    worker = [{"state": "busy"}]
    told = notices(bots, worker, RIGHTS, None, measured=True)
    assert len(told) == MOST
    assert "495 more" in told[-1].text
    assert notices([], worker, RIGHTS, None, measured=True) == []
    [stale] = notices([], worker, RIGHTS, now - timedelta(minutes=5), measured=False)
    assert "Nobody counts" in stale.text
