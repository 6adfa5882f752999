"""Between a worker's events and those who look: they are counted together, and said in few lines, and none is lost."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from outbox.deliver import events
from outbox.observe import monitor as monitor_module
from outbox.observe.health import CLAIMED_WITHIN_S, ClaimHealth
from outbox.observe.logs import EventLog
from outbox.observe.monitor import EVENTS_AT_ONCE, Monitor
from outbox.observe.sampling import Sampler
from tests.observe.test_worker_metrics import answered, claimed, sent


class Time:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


def in_flight(monitor: Monitor) -> float | None:
    return monitor.registry.get_sample_value("outbox_in_flight_messages", {"bot": "alerts"})


def nothing(event: events.Event) -> None:
    pass


async def test_events_are_counted_together_and_at_once_when_somebody_looks() -> None:
    monitor = Monitor("w1", also=nothing)
    monitor(claimed())
    assert in_flight(monitor) is None
    monitor.count_now()
    assert in_flight(monitor) == 1


async def test_many_events_wait_for_nobody() -> None:
    monitor = Monitor("w1", also=nothing)
    for _ in range(EVENTS_AT_ONCE):
        monitor(claimed())
    assert in_flight(monitor) == EVENTS_AT_ONCE


async def test_few_events_wait_for_their_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "COUNT_EVERY_S", 0.01)
    monitor = Monitor("w1", also=nothing)
    monitor(claimed())
    async with asyncio.timeout(10):
        while in_flight(monitor) is None:
            await asyncio.sleep(0.01)


async def test_a_log_that_fails_costs_no_count() -> None:
    def fail(event: events.Event) -> None:
        raise OSError("no space left")

    monitor = Monitor("w1", also=fail)
    monitor(claimed())
    monitor(sent())
    monitor.count_now()
    assert in_flight(monitor) == 0
    assert monitor.faults == 1


def test_a_busy_workers_log_has_a_line_now_and_then_that_says_how_many_are_missing() -> None:
    now = Time()
    with structlog.testing.capture_logs() as lines:
        log = EventLog("w1", sampler=Sampler(per_s=1, burst=2, now=now))
        for _ in range(100):
            log(sent())
            log(events.Retried(**answered(error_class="server_error")))
        now.at_s += 1
        log(sent())
    said = [(line["event"], line.get("not_logged")) for line in lines]
    assert said == [("sent", None), ("comes again", None)] * 2 + [("sent", 98)]
    assert {line["correlation_id"] for line in lines} == {"order-7"}


def test_a_worker_is_ready_while_it_claims_or_has_messages_on_their_way() -> None:
    now = Time()
    health = ClaimHealth(now)
    assert not health.check(0).is_well, "has not claimed yet"
    health.note_claim()
    assert health.check(0).is_well
    now.at_s += CLAIMED_WITHIN_S + 1
    assert not health.check(0).is_well
    assert health.check(1).is_well, "it may have to wait for room"
