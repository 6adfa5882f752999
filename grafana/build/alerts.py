"""The alert rules for Prometheus, out of outbox/observe/thresholds.toml: what must be so, in PromQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from grafana.build.one_database import each

Values = Mapping[str, Any]


def _window(seconds: float) -> str:
    """A PromQL range: 300 is 5m."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds * 1000)}ms" if seconds % 1 else f"{int(seconds)}s"


def _failed_share(general: Values, window: str) -> str:
    ours = "|".join(general["not_ours"])
    failed = f'outbox_messages_ended_total{{status=~"dead|uncertain",error_class!~"{ours}"}}'
    ended = f'outbox_messages_ended_total{{status=~"sent|dead|uncertain",error_class!~"{ours}"}}'
    return f"sum by (bot) (increase({failed}[{window}])) / sum by (bot) (increase({ended}[{window}]))"


def _burns(v: Values, general: Values) -> str:
    # Both windows: the long one says that it matters, the short one that it still goes on.
    bound = f"{v['burn_rate'] * (1 - general['objective']):.6g}"
    short, long = _window(v["short_s"]), _window(v["long_s"])
    enough = (
        f'sum by (bot) (increase(outbox_messages_ended_total{{status=~"sent|dead|uncertain",'
        f'error_class!~"{"|".join(general["not_ours"])}"}}[{long}]))'
        f" >= {v['least_messages']}"
    )
    return f"({_failed_share(general, short)}) > {bound} and ({_failed_share(general, long)}) > {bound} and ({enough})"


# For so long a number of the database counts that nobody shows just now: the exporter may change, and an
# evaluation that finds nothing would end an alert and begin its `for` anew.
HELD: Final = "1m"


def _held(gauge: str, labels: str = "", matches: str = "", *, least: bool = False) -> str:
    """A number of the database by its labels: one value, whoever shows it."""
    selector = f"outbox_{gauge}{{{matches}}}" if matches else f"outbox_{gauge}"
    by = f" by ({labels}) " if labels else ""
    return f"{'min' if least else 'max'}{by}(last_over_time({selector}[{HELD}]))"


def _slow(v: Values, _: Values) -> str:
    window = _window(v["window_s"])
    quick = f'sum by (bot) (rate(outbox_call_seconds_bucket{{le="{v["longer_than"]}"}}[{window}]))'
    calls = f"outbox_call_seconds_count[{window}]"
    return (
        f"1 - {quick} / sum by (bot) (rate({calls})) > {v['share']}"
        f" and sum by (bot) (increase({calls})) >= {v['least_calls']}"
    )


# Each part of outbox.gauges() is read by itself, and may be missing by itself.
ONE_OF_EACH_PART: Final = (
    "queue_messages",
    "slots_total",
    "dead_letters_expiring",
    "workers_alive",
    "snapshot_age_seconds",
)

EXPRESSIONS: Final[Mapping[str, Callable[[Values, Values], str]]] = {
    "DeliveryFailing": _burns,
    "DeliveryDegraded": _burns,
    "TooManyRequests": lambda v, _: (
        f"sum by (bot) (increase(outbox_too_many_requests_total[{_window(v['window_s'])}])) > 0"
    ),
    "CallsSlow": _slow,
    "BotFlooded": lambda v, _: f"{_held('flooded_chats', 'bot')} >= {v['chats']}",
    "CriticalMessageWaits": lambda v, _: (
        _held("queue_oldest_age_seconds", "bot", f'priority="{v["priority"]}"') + f" > {v['age_s']}"
    ),
    "BacklogNotDraining": lambda v, _: (
        f"{_held('backlog_seconds', 'bot')} > {v['backlog_s']} and {_held('backlog_seconds', 'bot')} >"
        f" {1 - v['shrinks_by']:.6g} * max by (bot) (max_over_time(outbox_backlog_seconds[{_window(v['window_s'])}]))"
    ),
    "DelayExpected": lambda v, _: (
        _held("expected_delay_seconds", "bot, priority", f'priority=~"[0-{v["priority"]}]"') + f" > {v['delay_s']}"
    ),
    # Not its state: in a lasting outage it is half-open again and again, for as long as a probe takes to fail.
    "BreakerOpen": lambda v, _: _held("breaker_openings", "bot") + " > 0",
    "BotUnauthorised": lambda v, _: _held("bot_paused", "bot", 'by="bot_token"') + " == 1",
    "BotPaused": lambda v, _: _held("bot_paused", "bot, by", 'by=~"operator|telegram"') + " == 1",
    "SuppressionSpike": lambda v, _: (
        f"{_held('suppressed_chats_last_hour')} >= {v['chats']} and {_held('suppressed_chats_last_hour')} >"
        f" {v['times']} * {_held('suppressed_chats_per_hour_before')}"
    ),
    "WorkerGone": lambda v, _: _held("workers_lost_last_hour") + " > 0",
    "NoWorker": lambda v, _: (
        # A bot whose token is refused is served by nobody, and has an alert of its own.
        _held("bot_workers", "bot")
        + " == 0 and sum by (bot) ("
        + _held("queue_messages", "bot, priority", 'state="due"')
        + ") > 0 unless "
        + _held("bot_paused", "bot", 'by="bot_token"')
        + " == 1"
    ),
    "LaneWithoutWorker": lambda v, _: _held("lanes_without_worker") + " > 0",
    "MessagesAstray": lambda v, _: _held("messages_astray") + " > 0",
    "HousekeepingStale": lambda v, _: " or ".join(
        _held("housekeeping_age_seconds", "duty", f'duty="{duty}"') + f" > {v[f'{duty}_s']}"
        for duty in ("measure", "make_partitions", "drop_history", "repair", "count_astray")
    ),
    "HousekeepingFailing": lambda v, _: _held("housekeeping_failing", "duty") + " == 1",
    # Over all who showed it: who repairs has often just become the exporter, and its own series begins after that.
    "WakeupsRepaired": lambda v, _: (
        f"max(max_over_time(outbox_wakeups_repaired_total[{_window(v['window_s'])}]))"
        f" - min(min_over_time(outbox_wakeups_repaired_total[{_window(v['window_s'])}])) > 0"
    ),
    "PartitionsMissing": lambda v, _: f"{_held('partitions_ahead', 'table', least=True)} < {v['days']}",
    "SnapshotHeld": lambda v, _: f"{_held('snapshot_age_seconds')} > {v['age_s']}",
    "DeadLettersExpiring": lambda v, _: _held("dead_letters_expiring") + " > 0",
    "SpoolFull": lambda v, _: "max by (instance) (outbox_spool_is_full) == 1",
    "DatabaseAway": lambda v, _: (
        f"sum by (instance) (increase(outbox_database_failures_total[{_window(v['window_s'])}])) > {v['failures']}"
    ),
    "ExporterMissing": lambda v, _: (
        "group(last_over_time(outbox_build_info[1h])) unless ("
        + " and ".join(_held(gauge) for gauge in ONE_OF_EACH_PART)
        + ") or absent(outbox_build_info)"
    ),
}


_PLACE: Final = re.compile(r"\$value s\b|\$[a-z]+")
_TEMPLATES: Final = {
    "$value s": "{{ $value | humanizeDuration }}",
    "$value": '{{ printf "%.0f" $value }}',
    "$share": "{{ $value | humanizePercentage }}",
}


def rules(values: Values) -> dict[str, Any]:
    """Return the document of grafana/alerts/outbox.yml."""
    general = values["general"]
    return {
        "groups": [
            {
                "name": "outbox",
                "rules": [
                    _rule(
                        name, values[name], each(expression(values[name], general), general["database_label"]), general
                    )
                    for name, expression in EXPRESSIONS.items()
                ],
            }
        ]
    }


def _rule(name: str, v: Values, expression: str, general: Values) -> dict[str, Any]:
    summary = _PLACE.sub(lambda found: _TEMPLATES.get(found[0], f"{{{{ $labels.{found[0][1:]} }}}}"), v["summary"])
    rule: dict[str, Any] = {"alert": f"Outbox{name}", "expr": expression}
    if v["for_s"]:
        rule["for"] = _window(v["for_s"])
    return rule | {
        "labels": {"severity": v["severity"]},
        "annotations": {"summary": summary, "runbook_url": f"{general['runbook']}#{name.lower()}"},
    }
