"""What a worker's events do to its metrics, as a scrape reads them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from outbox.deliver import events
from outbox.observe.metrics import METHODS_AT_MOST, WorkerMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> WorkerMetrics:
    return WorkerMetrics(registry)


def answered(**changes: Any) -> dict[str, Any]:
    return {
        "bot": "alerts",
        "chat_id": "42",
        "message_id": 7,
        "attempt": 1,
        "priority": 1,
        "method": "sendMessage",
        "correlation_id": "order-7",
        "duration_s": 0.15,
        "late_s": 0.003,
        "http_status": 200,
        "error_class": None,
        "error_text": None,
        "retry_after_s": None,
    } | changes


def sent(**changes: Any) -> events.Sent:
    more = {"telegram_message_id": 1, "since_created_s": 3.0, "since_due_s": 2.0} | changes
    return events.Sent(**answered(**more))


def claimed() -> events.Claimed:
    return events.Claimed("alerts", "42", 7, 1, 1, "order-7", 0.05)


def test_a_message_that_is_sent_counts_once_with_its_times(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    metrics(claimed())
    assert registry.get_sample_value("outbox_in_flight_messages", {"bot": "alerts"}) == 1
    metrics(sent())
    value = registry.get_sample_value
    assert value("outbox_messages_sent_total", {"bot": "alerts", "method": "sendMessage"}) == 1
    assert value("outbox_in_flight_messages", {"bot": "alerts"}) == 0
    assert value("outbox_slots_given_total", {"bot": "alerts"}) == 1
    assert value("outbox_end_to_end_seconds_sum", {"bot": "alerts", "priority": "1"}) == 2.0
    assert value("outbox_queue_wait_seconds_sum", {"bot": "alerts", "priority": "1"}) == pytest.approx(1.85)
    assert value("outbox_call_seconds_sum", {"bot": "alerts"}) == 0.15
    assert value("outbox_slot_late_seconds_sum", {"bot": "alerts"}) == 0.003


@pytest.mark.parametrize(
    ("event", "name"),
    [(events.Retried, "retried"), (events.Uncertain, "uncertain"), (events.Died, "dead")],
    ids=["retried", "uncertain", "dead"],
)
def test_a_call_that_failed_counts_by_its_class(
    metrics: WorkerMetrics, registry: CollectorRegistry, event: Any, name: str
) -> None:
    metrics(event(**answered(error_class="server_error", http_status=502)))
    labels = {"bot": "alerts", "method": "sendMessage", "error_class": "server_error"}
    assert registry.get_sample_value(f"outbox_messages_{name}_total", labels) == 1


@pytest.mark.parametrize(("chat_id", "scope"), [("42", "private"), ("-1001", "group"), ("@news", "group")])
def test_a_429_counts_by_the_kind_of_its_chat(
    metrics: WorkerMetrics, registry: CollectorRegistry, chat_id: str, scope: str
) -> None:
    metrics(events.Waited(**answered(chat_id=chat_id, error_class="flood", http_status=429, retry_after_s=3)))
    assert registry.get_sample_value("outbox_too_many_requests_total", {"bot": "alerts", "scope": scope}) == 1


def test_a_lane_given_back_is_in_flight_no_more(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    metrics(claimed())
    metrics(events.GivenBack("alerts", "42", 7, 1, correlation_id=None, reason="stale"))
    assert registry.get_sample_value("outbox_in_flight_messages", {"bot": "alerts"}) == 0
    assert registry.get_sample_value("outbox_slots_unused_total", {"bot": "alerts", "reason": "stale"}) == 1


def test_a_recent_correlation_id_stands_beside_a_bucket(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    metrics(sent())
    assert 'correlation_id="order-7"' in generate_openmetrics(registry).decode()


def test_a_correlation_id_too_long_for_openmetrics_is_left_out(
    metrics: WorkerMetrics, registry: CollectorRegistry
) -> None:
    metrics(sent(correlation_id="x" * 150))
    assert registry.get_sample_value("outbox_end_to_end_seconds_count", {"bot": "alerts", "priority": "1"}) == 1
    assert "xxxx" not in generate_openmetrics(registry).decode()


def test_no_label_holds_a_chat_a_text_or_a_correlation_id(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    secrets = {"chat_id": "-100777", "correlation_id": "corr-1", "error_text": "text-1"}
    for event in (sent(**secrets), events.Died(**answered(error_class="blocked", **secrets))):
        metrics(event)
    page = generate_latest(registry).decode()
    assert not [value for value in secrets.values() if value in page]


def test_however_many_methods_are_written_their_labels_are_bounded(
    metrics: WorkerMetrics, registry: CollectorRegistry
) -> None:
    for number in range(METHODS_AT_MOST + 50):
        metrics(sent(method=f"method{number}"))
    assert registry.get_sample_value("outbox_messages_sent_total", {"bot": "alerts", "method": "other"}) == 50


def test_a_method_that_looks_like_a_bot_token_is_hidden(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    token = "123456789:AAHfBzKEJYHkLmNoPqRsTuVwXyZ01234567"
    metrics(sent(method=token, correlation_id=token))
    assert "AAHfBzKEJYHkLmNoPqRsTuVwXyZ" not in generate_openmetrics(registry).decode()


def test_every_event_is_taken(metrics: WorkerMetrics) -> None:
    kinds: dict[str, Any] = {"str": "x", "int": 1, "float": 1.0, "bool": True, "tuple[str, ...]": ("x",)}
    for event in get_args(events.Event):
        values = {f.name: kinds.get(str(f.type), kinds.get(getattr(f.type, "__name__", ""))) for f in fields(event)}
        assert metrics.count([event(**values)]) == 0


def test_the_first_429_is_a_step_from_0(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    metrics(claimed())
    for scope in ("private", "group"):
        assert registry.get_sample_value("outbox_too_many_requests_total", {"bot": "alerts", "scope": scope}) == 0


def test_a_clock_that_steps_back_takes_nothing_from_a_sum(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    metrics(sent(since_due_s=-3600.0))
    assert registry.get_sample_value("outbox_end_to_end_seconds_sum", {"bot": "alerts", "priority": "1"}) == 0


def test_of_messages_counted_together_the_slowest_is_the_exemplar(
    metrics: WorkerMetrics, registry: CollectorRegistry
) -> None:
    together = [
        sent(correlation_id="quick"),
        sent(correlation_id="late", since_due_s=40.0),
        sent(correlation_id="slow", duration_s=5.0, method="sendPhoto", since_due_s=6.0),
        events.Retried(**answered(correlation_id="failed", error_class="server_error")),
    ]
    assert metrics.count(together) == 0
    assert registry.get_sample_value("outbox_end_to_end_seconds_count", {"bot": "alerts", "priority": "1"}) == 3
    shown = [line for line in generate_openmetrics(registry).decode().splitlines() if "correlation_id" in line]
    assert [(line.partition("{")[0], line.partition("correlation_id=")[2].partition("}")[0]) for line in shown] == [
        ("outbox_end_to_end_seconds_bucket", '"late"'),
        ("outbox_call_seconds_bucket", '"slow"'),
    ]


def test_an_event_that_cannot_be_counted_costs_no_other(metrics: WorkerMetrics, registry: CollectorRegistry) -> None:
    broken: Any = sent(since_due_s="soon")
    assert metrics.count([claimed(), claimed(), broken, sent(), claimed()]) == 1
    assert registry.get_sample_value("outbox_slots_given_total", {"bot": "alerts"}) == 3
    assert registry.get_sample_value("outbox_messages_sent_total", {"bot": "alerts", "method": "sendMessage"}) == 1
    assert metrics.now_in_flight == 1, "what could not be counted has landed all the same"
