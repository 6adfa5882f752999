"""The alert rules for Prometheus, out of outbox/observe/thresholds.toml: what must be so, in PromQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Values = Mapping[str, Any]
RUNBOOK: Final = "docs/runbook.md"


def _window(seconds: float) -> str:
    """A PromQL range: 300 is 5m."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds * 1000)}ms" if seconds % 1 else f"{int(seconds)}s"


def _failed_share(general: Values, window: str) -> str:
    ours = "|".join(general["not_ours"])
    failed = f'outbox_messages_ended_total{{status=~"dead|uncertain",error_class!~"{ours}"}}'
    ended = 'outbox_messages_ended_total{status=~"sent|dead|uncertain"}'
    return f"sum by (bot) (increase({failed}[{window}])) / sum by (bot) (increase({ended}[{window}]))"


def _burns(v: Values, general: Values) -> str:
    # Both windows: the long one says that it matters, the short one that it still goes on.
    bound = f"{v['burn_rate'] * (1 - general['objective']):.6g}"
    short, long = _window(v["short_s"]), _window(v["long_s"])
    enough = (
        f'sum by (bot) (increase(outbox_messages_ended_total{{status=~"sent|dead|uncertain"}}[{long}]))'
        f" >= {v['least_messages']}"
    )
    return f"({_failed_share(general, short)}) > {bound} and ({_failed_share(general, long)}) > {bound} and ({enough})"


# Database-wide numbers come from whoever keeps house; `max` is one value while that changes hands.
EXPRESSIONS: Final[Mapping[str, Callable[[Values, Values], str]]] = {
    "DeliveryFailing": _burns,
    "DeliveryDegraded": _burns,
    "TooManyRequests": lambda v, _: (
        f"sum by (bot) (increase(outbox_too_many_requests_total[{_window(v['window_s'])}])) > 0"
    ),
    "BotFlooded": lambda v, _: f"max by (bot) (outbox_flooded_chats) >= {v['chats']}",
    "CriticalMessageWaits": lambda v, _: (
        f'max by (bot) (outbox_queue_oldest_age_seconds{{priority="{v["priority"]}"}}) > {v["age_s"]}'
    ),
    "BacklogNotDraining": lambda v, _: (
        f"max by (bot) (outbox_backlog_seconds) > {v['backlog_s']} and max by (bot) (outbox_backlog_seconds) >"
        f" {1 - v['shrinks_by']:.6g} * max by (bot) (outbox_backlog_seconds offset {_window(v['window_s'])})"
    ),
    "DelayExpected": lambda v, _: (
        f'max by (bot, priority) (outbox_expected_delay_seconds{{priority=~"[0-{v["priority"]}]"}}) > {v["delay_s"]}'
    ),
    "BreakerOpen": lambda v, _: 'max by (bot) (outbox_breaker_state{state="open"}) == 1',
    "BotUnauthorised": lambda v, _: 'max by (bot) (outbox_bot_paused{by="bot_token"}) == 1',
    "BotPaused": lambda v, _: 'max by (bot, by) (outbox_bot_paused{by=~"operator|telegram"}) == 1',
    "SuppressionSpike": lambda v, _: (
        f"max(outbox_suppressed_chats_last_hour) >= {v['chats']} and max(outbox_suppressed_chats_last_hour) >"
        f" {v['times']} * max(outbox_suppressed_chats_per_hour_before)"
    ),
    "WorkerGone": lambda v, _: "max(outbox_workers_lost_last_hour) > 0",
    "NoWorker": lambda v, _: (
        "max by (bot) (outbox_bot_workers) == 0 and"
        ' sum by (bot) (max by (bot, priority) (outbox_queue_messages{state="due"})) > 0'
    ),
    "LaneWithoutWorker": lambda v, _: "max(outbox_lanes_without_worker) > 0",
    "MessagesAstray": lambda v, _: "max(outbox_messages_astray) > 0",
    "HousekeepingStale": lambda v, _: " or ".join(
        f'max by (duty) (outbox_housekeeping_age_seconds{{duty="{duty}"}}) > {v[f"{duty}_s"]}'
        for duty in ("measure", "make_partitions", "drop_history", "repair")
    ),
    "HousekeepingFailing": lambda v, _: "max by (duty) (outbox_housekeeping_failing) == 1",
    "WakeupsRepaired": lambda v, _: f"max(increase(outbox_wakeups_repaired_total[{_window(v['window_s'])}])) > 0",
    "PartitionsMissing": lambda v, _: f"min by (table) (outbox_partitions_ahead) < {v['days']}",
    "SnapshotHeld": lambda v, _: f"max(outbox_snapshot_age_seconds) > {v['age_s']}",
    "DeadLettersExpiring": lambda v, _: "max(outbox_dead_letters_expiring) > 0",
    "SpoolFull": lambda v, _: f"sum by (instance) (increase(outbox_spool_full_total[{_window(v['window_s'])}])) > 0",
    "DatabaseAway": lambda v, _: (
        f"sum by (instance) (increase(outbox_database_failures_total[{_window(v['window_s'])}])) > {v['failures']}"
    ),
    "ExporterMissing": lambda v, _: "absent(outbox_workers_alive)",
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
                    _rule(name, values[name], expression(values[name], general))
                    for name, expression in EXPRESSIONS.items()
                ],
            }
        ]
    }


def _rule(name: str, v: Values, expression: str) -> dict[str, Any]:
    summary = _PLACE.sub(lambda found: _TEMPLATES.get(found[0], f"{{{{ $labels.{found[0][1:]} }}}}"), v["summary"])
    rule: dict[str, Any] = {"alert": f"Outbox{name}", "expr": expression}
    if v["for_s"]:
        rule["for"] = _window(v["for_s"])
    return rule | {
        "labels": {"severity": v["severity"]},
        "annotations": {"summary": summary, "runbook_url": f"{RUNBOOK}#{name.lower()}"},
    }
