"""A worker that finds itself on another database than its own stops before it sends."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from outbox.deliver import events
from outbox.deliver.identity import ForeignDatabaseError
from outbox.deliver.worker import Worker
from outbox.simulator.server import Running

from .conftest import TOKEN, Events, working

INSERT = 'INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')'


async def test_a_fresh_database_remembers_its_first_worker(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url, environment="staging") as (_, seen):
        await seen.first(events.LeaseTaken)
    assert db.execute("SELECT environment, system_identifier = outbox.database_key() FROM outbox.identity") == [
        ("staging", True)
    ]
    assert db.execute("SELECT telegram_id FROM outbox.bot") == [(1,)]


async def test_a_worker_that_is_led_to_another_database_stops_before_it_sends(db: Any, simulator: Running) -> None:
    """What a failover to a restored copy looks like: the lease is unknown there, and so is the identity."""
    seen = Events()
    worker = Worker(db.url, {"default": SecretStr(TOKEN)}, simulator.url, name="w", emit=seen, grace_s=3.0)
    running = asyncio.create_task(worker.run())
    await seen.first(events.LeaseTaken)
    db.execute("UPDATE outbox.identity SET environment = 'elsewhere'")
    db.execute("UPDATE outbox.worker SET ended_at = outbox.clock()")
    db.execute(INSERT)
    with pytest.raises(ForeignDatabaseError, match="environment was elsewhere and is default"):
        async with asyncio.timeout(15):
            await running
    assert [call for call in simulator.ledger.calls if call.method == "sendMessage"] == []
    assert len(seen.of(events.LeaseTaken)) == 1
    assert db.execute("SELECT status, attempts FROM outbox.history") == [("queued", 0)]


async def test_a_worker_that_starts_while_the_database_is_away_looks_before_its_lease(
    db: Any, simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute("UPDATE outbox.bot SET telegram_id = 5")
    db.execute("SELECT * FROM outbox.check_identity('default', '{}')")
    db.execute(INSERT)
    monkeypatch.setattr("outbox.deliver.worker.IDENTITY_CHECK_S", 0.0)  # it looked, and nobody answered in time
    seen = Events()
    worker = Worker(db.url, {"default": SecretStr(TOKEN)}, simulator.url, name="w", emit=seen)
    with pytest.raises(ForeignDatabaseError, match="the id of bot 'default' was 5 and is 1"):
        async with asyncio.timeout(15):
            await worker.run()
    assert not seen.of(events.LeaseTaken)
    assert [call for call in simulator.ledger.calls if call.method == "sendMessage"] == []
