"""A message from its insert to its end, through a real database and a strict simulator."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from outbox.deliver import events
from outbox.simulator.config import Config
from outbox.simulator.server import Running, serve

from .conftest import TOKEN, working


def _insert(db: Any, chat_id: object = 42, text: str = "hi", **columns: object) -> int:
    names = "".join(f", {name}" for name in columns)
    places = ", %s" * len(columns)
    [(message_id,)] = db.execute(
        f"INSERT INTO outbox.message (chat_id, payload{names})"
        f" VALUES (%s, jsonb_build_object('text', %s::text){places}) RETURNING id",
        [chat_id, text, *columns.values()],
    )
    return int(message_id)


def _status(db: Any, message_id: int) -> str:
    [(status,)] = db.execute("SELECT status FROM outbox.history WHERE id = %s", [message_id])
    return str(status)


def _sends(simulator: Running) -> list[Any]:
    return [call for call in simulator.ledger.calls if call.method == "sendMessage"]


async def test_a_message_arrives_and_is_finished(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Started)
        message_id = _insert(db, text="good morning")
        sent = await seen.first(events.Sent)
        await seen.until(lambda: any(flush.applied for flush in seen.of(events.Flushed)))
    [call] = _sends(simulator)
    assert (call.chat, call.text, call.verdict) == ("42", "good morning", "accepted")
    assert (sent.message_id, sent.telegram_message_id) == (message_id, call.message_id)
    [(status, telegram_id, attempts)] = db.execute(
        "SELECT status, telegram_message_id, attempts FROM outbox.history WHERE id = %s", [message_id]
    )
    assert (status, telegram_id, attempts) == ("sent", call.message_id, 1)
    assert db.execute("SELECT count(*) FROM outbox.worker WHERE ended_at IS NULL") == [(0,)]


async def test_what_was_inserted_while_nobody_worked_is_sent_in_order(db: Any, simulator: Running) -> None:
    for number in range(3):
        _insert(db, chat_id=7, text=str(number))
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Sent, 3)
    assert [call.text for call in _sends(simulator)] == ["0", "1", "2"]
    assert simulator.simulator.stats()["rejected"] == {"bot": 0, "chat": 0, "group": 0}


async def test_an_idle_worker_is_woken_by_notify(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url) as (_, seen):
        await seen.until(lambda: any(test.works for test in seen.of(events.BellTested)))
        # Beyond the second of fast polls, so that only the bell or the slow poll can find it.
        await asyncio.sleep(1.2)
        waits = []
        for number in range(8):
            polls = len(seen.of(events.ClaimDone))
            await seen.until(lambda polls=polls: len(seen.of(events.ClaimDone)) > polls)
            committed = await asyncio.to_thread(_insert, db, number + 1)
            inserted_s = time.monotonic()
            await seen.until(lambda committed=committed: any(e.message_id == committed for e in seen.of(events.Sent)))
            waits.append(time.monotonic() - inserted_s)
    assert sorted(waits)[len(waits) // 2] < 0.1, waits


async def test_an_idle_worker_asks_the_database_at_most_twice_a_second(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url) as (_, seen):
        await seen.until(lambda: any(test.works for test in seen.of(events.BellTested)))
        await asyncio.sleep(1.2)
        before = _statements(db)
        await asyncio.sleep(5)
        made = _statements(db) - before
    assert made <= 10, f"{made} statements in 5 s"


def _statements(db: Any) -> int:
    """Statements of workers in this database since it was made; see the view's own count as none."""
    db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    [(calls,)] = db.execute(
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
        " WHERE d.datname = current_database() AND s.toplevel AND s.query ~ 'outbox\\.'"
    )
    return int(calls)


async def test_a_429_is_obeyed_and_costs_no_attempt(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage", "count": 1}, "status": 429, "retry_after": 2}])
    message_id = _insert(db)
    async with working(db.url, simulator.url) as (_, seen):
        waited = await seen.first(events.Waited)
        await seen.first(events.Sent)
        await seen.until(lambda: sum(flush.applied for flush in seen.of(events.Flushed)) >= 2)
    assert waited.retry_after_s == 2
    refused, accepted = _sends(simulator)
    assert 2.0 <= accepted.arrived_s - refused.answered_s < 2.5
    assert db.execute("SELECT attempts FROM outbox.history WHERE id = %s", [message_id]) == [(1,)]


async def test_a_message_that_was_not_executed_is_retried_then_sent(db: Any, simulator: Running) -> None:
    db.execute("SELECT outbox.set_bot('default', p_backoff_initial_s => 0.05)")
    simulator.faults.add([{"match": {"method": "sendMessage", "count": 2}, "status": 503, "body": "<html>"}])
    message_id = _insert(db)
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Sent)
        await seen.until(lambda: sum(flush.applied for flush in seen.of(events.Flushed)) >= 3)
    assert [event.error_class for event in seen.of(events.Retried)] == ["unavailable", "unavailable"]
    assert db.execute("SELECT status, attempts FROM outbox.history WHERE id = %s", [message_id]) == [("sent", 3)]
    outcomes = db.execute("SELECT outcome FROM outbox.attempt WHERE message_id = %s ORDER BY attempt", [message_id])
    assert [outcome for (outcome,) in outcomes] == ["retry", "retry", "sent"]


async def test_a_message_that_telegram_refuses_is_dead_with_its_text(db: Any, simulator: Running) -> None:
    text = "Bad Request: can't parse entities: Can't find end of Bold entity at byte offset 0"
    simulator.faults.add([{"match": {"method": "sendMessage"}, "status": 400, "description": text}])
    message_id = _insert(db)
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Died)
    [(status, error_text)] = db.execute("SELECT status, error_text FROM outbox.history WHERE id = %s", [message_id])
    assert (status, error_text) == ("dead", text)


async def test_a_message_to_hold_that_may_have_been_sent_is_uncertain(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage", "count": 1}, "reset": "after"}])
    message_id = _insert(db, on_uncertain="hold")
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Uncertain)
    assert _status(db, message_id) == "uncertain"
    assert len(_sends(simulator)) == 1


async def test_a_backlog_starts_without_a_burst(db: Any, simulator: Running) -> None:
    db.execute('INSERT INTO outbox.message (chat_id, payload) SELECT n, \'{"text":"x"}\' FROM generate_series(1, 90) n')
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Sent, 90)
    stats = simulator.simulator.stats()
    assert stats["accepted"] == 90
    assert stats["rejected"] == {"bot": 0, "chat": 0, "group": 0}
    assert stats["max_in_1s"] <= 30
    assert stats["utilisation"] > 0.9


async def test_stopping_gives_unsent_lanes_back_and_finishes_those_in_flight(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage"}, "when": "before", "delay_s": 0.5}])
    db.execute('INSERT INTO outbox.message (chat_id, payload) SELECT n, \'{"text":"x"}\' FROM generate_series(1, 60) n')
    async with working(db.url, simulator.url) as (worker, seen):
        # One that waits for its slot is there to be given back, however slow the machine.
        await seen.until(lambda: any(claimed.slot_in_s > 0.06 for claimed in seen.of(events.Claimed)))
        worker.stop()
        stopped = await seen.first(events.Stopped)
    assert stopped.unflushed == 0
    assert stopped.given_back >= 1
    assert len(seen.of(events.Sent)) + stopped.given_back == len(seen.of(events.Claimed))
    assert db.execute("SELECT count(*) FROM outbox.chat WHERE in_flight IS NOT NULL") == [(0,)]
    [(sent,)] = db.execute("SELECT count(*) FROM outbox.history WHERE status = 'sent'")
    assert sent == len(_sends(simulator)) == len(seen.of(events.Sent))
    [(tried,)] = db.execute("SELECT count(*) FROM outbox.history WHERE status = 'queued' AND attempts > 0")
    assert tried == 0
    simulator.faults.clear()
    async with working(db.url, simulator.url, name="w2") as (_, seen):
        await seen.first(events.Sent, 60 - sent)
    assert len(_sends(simulator)) == 60
    assert simulator.simulator.stats()["rejected"] == {"bot": 0, "chat": 0, "group": 0}


async def test_what_is_in_flight_after_the_grace_period_is_uncertain(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage"}, "hang": True}])
    message_id = _insert(db, on_uncertain="hold")
    async with working(db.url, simulator.url, grace_s=0.2) as (worker, seen):
        await seen.until(lambda: _sends(simulator) or seen.of(events.Claimed))
        await _until(lambda: bool(_sends(simulator)))
        worker.stop()
        await seen.first(events.Stopped)
    assert [event.error_class for event in seen.of(events.Uncertain)] == ["worker_stopped"]
    assert _status(db, message_id) == "uncertain"


async def test_a_worker_holds_three_connections_at_most(db: Any, simulator: Running) -> None:
    db.execute("SELECT outbox.set_bot('default', p_rate => 0)")
    db.execute(
        'INSERT INTO outbox.message (chat_id, payload) SELECT n, \'{"text":"x"}\' FROM generate_series(1, 500) n'
    )
    async with working(db.url, simulator.url) as (_, seen):
        most = 0
        while sum(flush.applied for flush in seen.of(events.Flushed)) < 300:
            [(held,)] = await asyncio.to_thread(
                db.execute,
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'outbox worker w1'",
            )
            most = max(most, held)
    assert 0 < most <= 3


async def test_a_worker_that_was_frozen_sends_no_slot_late(db: Any, simulator: Running) -> None:
    db.execute('INSERT INTO outbox.message (chat_id, payload) SELECT n, \'{"text":"x"}\' FROM generate_series(1, 60) n')
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Claimed, 20)
        # The whole process stands still here, claimed lanes in hand: what SIGSTOP or a swapping machine does.
        time.sleep(1.5)
        await seen.first(events.Sent, 60)
    assert all(sent.late_s <= 0.5 for sent in seen.of(events.Sent))
    assert simulator.simulator.stats()["rejected"] == {"bot": 0, "chat": 0, "group": 0}


async def test_a_bot_whose_token_is_refused_is_not_claimed_for_and_others_go_on(db: Any, simulator: Running) -> None:
    from pydantic import SecretStr

    secret = "BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
    db.execute("SELECT outbox.set_bot('broken')")
    simulator.faults.add([{"match": {"bot": "2"}, "status": 401}])
    waiting = _insert(db, bot="broken")
    _insert(db)
    tokens = {"broken": SecretStr(f"2:{secret}"), "default": SecretStr(TOKEN)}
    async with working(db.url, simulator.url, tokens=tokens) as (_, seen):
        await seen.first(events.Sent)
        refused = [event for event in seen.of(events.TokenChecked) if event.accepted is False]
    assert [event.bot for event in refused] == ["broken"]
    assert secret not in repr(seen.all)
    assert [call.bot for call in _sends(simulator)] == ["1"]
    assert db.execute("SELECT status, attempts FROM outbox.history WHERE id = %s", [waiting]) == [("queued", 0)]


async def test_results_survive_a_database_that_is_away(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"method": "sendMessage", "count": 1}, "when": "after", "delay_s": 1.0}])
    message_id = _insert(db)
    name = db.url.rpartition("/")[2]
    async with working(db.url, simulator.url) as (_, seen):
        await _until(lambda: simulator.ledger.in_flight.most > 0)
        admin = db.url.rpartition("/")[0] + "/postgres"
        _away(admin, name, True)
        await seen.first(events.Sent)
        await seen.until(lambda: any(failed.call == "complete" for failed in seen.of(events.DatabaseFailed)))
        _away(admin, name, False)
        await seen.until(lambda: sum(flush.results for flush in seen.of(events.Flushed)) >= 1)
    assert _status(db, message_id) == "sent"
    assert len(_sends(simulator)) == 1


def _away(admin_url: str, name: str, away: bool) -> None:
    import psycopg

    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {not away}')
        if away:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


async def test_a_reaped_worker_takes_a_new_incarnation_and_goes_on(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url) as (_, seen):
        await seen.first(events.Started)
        await seen.first(events.LeaseTaken)
        db.execute("UPDATE outbox.worker SET lease_until = outbox.clock() - interval '1 s'")
        db.execute("SELECT outbox.reap()")
        _insert(db)
        await seen.first(events.Sent)
    assert len(seen.of(events.LeaseTaken)) == 2


async def _until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """For what emits no event: the simulator's ledger."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("bots", [["nobody"], []])
def test_a_worker_without_a_bot_to_serve_is_refused(bots: list[str]) -> None:
    from pydantic import SecretStr

    from outbox.deliver.worker import Worker

    with pytest.raises(ValueError, match="token of at least one bot"):
        Worker("postgresql://", {"default": SecretStr(TOKEN)}, "http://x", name="w", bots=bots)


async def test_a_message_to_hold_does_not_become_uncertain_by_a_connection_that_was_given_up(db: Any) -> None:
    async with serve(Config(connection_idle_s=0.3)) as telegram, working(db.url, telegram.url) as (_, seen):
        _insert(db, chat_id=1)
        await seen.first(events.Sent)
        await asyncio.sleep(0.5)
        message_id = _insert(db, chat_id=2, on_uncertain="hold")
        await seen.until(lambda: seen.of(events.Uncertain) or len(seen.of(events.Sent)) == 2)
        await seen.until(lambda: len(seen.of(events.Flushed)) >= 2)
    assert _status(db, message_id) == "sent"
