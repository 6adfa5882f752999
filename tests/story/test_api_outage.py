"""Telegram is gone, refuses everybody, or has moved a chat: whole lives, real workers beside a strict simulator."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from outbox.deliver import events
from outbox.simulator.config import Config
from outbox.simulator.server import Running, serve
from tests.deliver.conftest import working

DEADLINE_S = 40.0


@pytest.fixture
async def simulator() -> Any:
    async with serve(Config()) as running:
        yield running


@pytest.fixture
def quick(db: Any) -> Any:
    """A database whose breaker opens for a second or two, not for a minute."""
    db.execute("UPDATE outbox.bot SET breaker_open_s = 1, breaker_open_max_s = 2, backoff_max_s = 1, max_attempts = 30")
    return db


def fill(db: Any, chats: int, first: int = 1) -> None:
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload)"
        ' SELECT n, \'{"text": "hi"}\' FROM generate_series(%s::int, %s) n',
        [first, first + chats - 1],
    )


def count(db: Any, query: str) -> int:
    [(number,)] = db.execute(f"SELECT count(*) FROM outbox.{query}")
    return int(number)


async def until(db: Any, query: str, expected: int) -> None:
    """Wait until so many rows are there: what other processes could see, not what a worker says."""
    async with asyncio.timeout(DEADLINE_S):
        while await asyncio.to_thread(count, db, query) != expected:
            await asyncio.sleep(0.1)


def sends(simulator: Running) -> list[Any]:
    return [call for call in simulator.ledger.calls if call.method == "sendMessage"]


def turns(db: Any) -> list[str]:
    return [breaker for (breaker,) in db.execute("SELECT breaker FROM outbox.breaker_change ORDER BY id")]


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_outage_of_the_api_opens_the_breaker_for_all_workers_and_loses_nothing(
    quick: Any, simulator: Running, workers: int
) -> None:
    fill(quick, 150)
    simulator.faults.add([{"match": {"from_s": 0.5, "until_s": 8}, "effect": "outage", "kind": "reset"}])
    async with AsyncExitStack() as stack:
        for number in range(workers):
            await stack.enter_async_context(working(quick.url, simulator.url, name=f"w{number}"))
        await until(quick, "finished WHERE status = 'sent'", 150)
    assert turns(quick)[:2] == ["open", "half_open"]
    assert turns(quick)[-1] == "closed"
    asked = [call for call in sends(simulator) if call.verdict != "accepted"]
    # Twenty answers open it, as many may be in flight by then; after that three at a time.
    assert len(asked) <= 60 + 3 * turns(quick).count("half_open")
    [(most,)] = quick.execute("SELECT max(attempts) FROM outbox.finished")
    assert most <= 6, "open time spends no attempts"
    assert count(quick, "dead_letter") == 0


async def test_a_bot_wide_flood_pauses_everybody_once_and_spends_no_attempt(db: Any, simulator: Running) -> None:
    fill(db, 90)
    simulator.faults.add(
        [{"match": {"from_s": 0.7, "until_s": 1.2}, "effect": "flood", "scope": "bot", "retry_after_s": 3}]
    )
    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(working(db.url, simulator.url, name=f"w{number}"))
        await until(db, "finished WHERE status = 'sent'", 90)
    refused = [call for call in sends(simulator) if call.verdict != "accepted"]
    # About 21 were answered before, so as many 429s make half of the answers. Without the pause all would be refused.
    assert 3 <= len(refused) <= 40, "what makes half of the answers, what was under way, and nothing more"
    assert count(db, "breaker_change WHERE reason = 'flood'") >= 1
    assert count(db, "finished WHERE attempts <> 1") == 0
    [(inside,)] = [(rule["inside"],) for rule in simulator.faults.as_json()]
    assert inside <= len(refused)


async def test_a_group_that_moves_in_mid_stream_gets_everything_in_order_under_its_new_id(
    db: Any, simulator: Running
) -> None:
    db.execute("UPDATE outbox.bot SET chat_interval_s = 0.05")
    for number in range(6):
        db.execute(
            "INSERT INTO outbox.message (chat_id, payload) VALUES ('-5', jsonb_build_object('text', %s::text))",
            [str(number)],
        )
    simulator.faults.add([{"match": {"chat": "-5", "skip": 2}, "effect": "migrate", "to": "-1001557912345"}])
    async with working(db.url, simulator.url) as (_, _seen):
        await until(db, "finished WHERE status = 'sent'", 6)
        db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('-5', '{\"text\": \"late\"}')")
        await until(db, "finished WHERE status = 'sent'", 7)
    accepted = [(call.chat, call.text) for call in sends(simulator) if call.verdict == "accepted"]
    assert [text for _, text in accepted] == ["0", "1", "2", "3", "4", "5", "late"]
    assert {chat for chat, text in accepted if text in {"3", "4", "5", "late"}} == {"-1001557912345"}
    assert count(db, "finished WHERE attempts <> 1") == 0


async def test_a_chat_that_blocked_the_bot_gets_one_call_and_no_more(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"chat": "42"}, "effect": "chat", "state": "blocked"}])
    fill(db, 1, first=42)
    async with working(db.url, simulator.url) as (_, _seen):
        await until(db, "dead_letter WHERE error_class = 'blocked'", 1)
        fill(db, 1, first=42)
        await until(db, "finished WHERE status = 'discarded' AND error_class = 'chat_suppressed'", 1)
    assert len(sends(simulator)) == 1


async def test_a_revoked_bot_token_keeps_the_rows_until_one_works(db: Any, simulator: Running) -> None:
    fill(db, 40)
    simulator.faults.add([{"match": {"from_s": 0.5}, "effect": "revoked"}])
    async with working(db.url, simulator.url) as (_, _seen):
        await until(db, "bucket WHERE unauthorised", 1)
    assert count(db, "dead_letter") == 0
    assert count(db, "message WHERE attempts > 0") == 0
    simulator.faults.clear()
    async with working(db.url, simulator.url, name="w2") as (_, seen):
        await until(db, "finished WHERE status = 'sent'", 40)
    assert [checked.accepted for checked in seen.of(events.TokenChecked)][:1] == [True]
