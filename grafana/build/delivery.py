"""*Delivery*: is what people wrote sent, how soon, and within Telegram's limits."""

from __future__ import annotations

from typing import Any

from grafana.build.frame import make
from grafana.build.panels import lines, number, quantile, rate, row

GOOD_BAD = ((None, "green"), (1, "red"))


def dashboard(general: dict[str, Any]) -> str:
    """Return it as JSON. `general`: of outbox/observe/thresholds.toml."""
    ours = "|".join(general["not_ours"])
    objective = general["objective"]
    failed = f'outbox_messages_ended_total{{bot=~"$bot",status=~"dead|uncertain",error_class!~"{ours}"}}'
    ended = f'outbox_messages_ended_total{{bot=~"$bot",status=~"sent|dead|uncertain",error_class!~"{ours}"}}'
    return make(
        "outbox-delivery",
        "outbox / Delivery",
        "Whether messages are sent, how soon, and whether Telegram's limits are met.",
        [
            number(
                "Delivered",
                "Share of what ended in this time that was sent; chats that refuse do not count."
                f" Objective: {objective:.1%}.",
                "percentunit",
                f"1 - (sum(increase({failed}[$__range])) or vector(0)) / sum(increase({ended}[$__range]))",
                steps=((None, "red"), (objective, "green")),
            ),
            number(
                "Oldest critical message",
                "How long the oldest message of priority 0 that is due has waited.",
                "s",
                'max(outbox_queue_oldest_age_seconds{bot=~"$bot",priority="0"})',
                steps=((None, "green"), (30, "orange"), (60, "red")),
            ),
            number(
                "429 in this time",
                "Calls that Telegram answered by 429. Meant to be none.",
                "short",
                'sum(increase(outbox_too_many_requests_total{bot=~"$bot"}[$__range]))',
                steps=GOOD_BAD,
            ),
            number(
                "Limit used",
                "Slots given, of those that the limits allow. An album counts as one here, and takes several.",
                "percentunit",
                'sum(sum by (bot) (rate(outbox_slots_total{bot=~"$bot"}[5m]))'
                " and on (bot) outbox_limit_messages_per_second)"
                ' / sum(max by (bot) (outbox_limit_messages_per_second{bot=~"$bot"}))',
                steps=((None, "green"), (0.98, "orange")),
            ),
            number(
                "Waiting",
                "Messages that are due and wait for a slot.",
                "short",
                'sum(max by (bot, priority) (outbox_queue_messages{bot=~"$bot",state="due"}))',
                steps=((None, "green"),),
            ),
            number(
                "Dead letters",
                "Messages that need a person.",
                "short",
                'sum(max by (bot, status, error_class) (outbox_dead_letters{bot=~"$bot"}))',
                steps=((None, "green"), (1, "orange")),
            ),
            row("Service level"),
            lines(
                "Messages a second",
                "What was accepted, and what ended how.",
                "mps",
                (rate("outbox_messages_accepted_total", "", bot="$bot"), "accepted"),
                (rate("outbox_messages_ended_total", "status", bot="$bot"), "{{status}}"),
            ),
            lines(
                "Failed share",
                f"Dead letters of what ended, over 5 min and 1 h; the budget is {1 - objective:.1%}.",
                "percentunit",
                (f"(sum(increase({failed}[5m])) or vector(0)) / sum(increase({ended}[5m]))", "5 min"),
                (f"(sum(increase({failed}[1h])) or vector(0)) / sum(increase({ended}[1h]))", "1 h"),
            ),
            lines(
                "From due to sent",
                "End to end: from the moment a message could go until Telegram took it, limits and retries included.",
                "s",
                (quantile(0.5, "outbox_end_to_end_seconds", "priority"), "p50 priority {{priority}}"),
                (quantile(0.99, "outbox_end_to_end_seconds", "priority"), "p99 priority {{priority}}"),
                exemplars=True,
            ),
            lines(
                "Oldest due message",
                "By priority, as housekeeping counted it within 15 s.",
                "s",
                (
                    'max by (priority) (outbox_queue_oldest_age_seconds{bot=~"$bot"})',
                    "priority {{priority}}",
                ),
            ),
            row("Telegram"),
            lines(
                "Limit and use",
                "Slots given a second (one for an album), the limit as it is set, and what floods have left of it.",
                "mps",
                ('sum by (bot) (rate(outbox_slots_total{bot=~"$bot"}[$__rate_interval]))', "{{bot}}"),
                ('max by (bot) (outbox_limit_messages_per_second{bot=~"$bot"})', "limit of {{bot}}"),
                ('max by (bot) (outbox_limit_active_messages_per_second{bot=~"$bot"})', "left of it, {{bot}}"),
            ),
            lines(
                "429 a second",
                "By the kind of chat. Groups have a limit of their own, 20 a minute.",
                "short",
                (rate("outbox_too_many_requests_total", "bot, scope", bot="$bot"), "{{bot}} {{scope}}"),
            ),
            lines(
                "Call of the Bot API",
                "From request to answer, whatever it was.",
                "s",
                (quantile(0.5, "outbox_call_seconds", "bot"), "p50 {{bot}}"),
                (quantile(0.99, "outbox_call_seconds", "bot"), "p99 {{bot}}"),
                exemplars=True,
            ),
            lines(
                "Failed calls",
                "Calls that failed, a second, by class: those that come again, and those that became dead letters.",
                "short",
                (rate("outbox_messages_retried_total", "error_class", bot="$bot"), "again: {{error_class}}"),
                (rate("outbox_messages_uncertain_total", "error_class", bot="$bot"), "uncertain: {{error_class}}"),
                (rate("outbox_messages_dead_total", "error_class", bot="$bot"), "dead: {{error_class}}"),
                stacked=True,
            ),
            lines(
                "Ended, by method",
                "Messages a second that ended, by the Bot API's method; of more than 100 methods the rest is other.",
                "mps",
                (rate("outbox_messages_ended_total", "method, status", bot="$bot"), "{{method}} {{status}}"),
                stacked=True,
            ),
            row("Bots"),
            lines(
                "Breaker",
                "1 while the circuit breaker is open or half-open.",
                "short",
                ('max by (bot, state) (outbox_breaker_state{bot=~"$bot",state!="closed"})', "{{bot}} {{state}}"),
                most=1,
            ),
            lines(
                "Paused",
                "1 while a bot sends nothing: by an operator, by Telegram's word, or for its bot token.",
                "short",
                ('max by (bot, by) (outbox_bot_paused{bot=~"$bot"})', "{{bot}} by {{by}}"),
                most=1,
            ),
        ],
    )
