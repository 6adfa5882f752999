"""*Queue and lanes*: what waits, for how long, and what is on its way."""

from __future__ import annotations

from grafana.build.frame import make
from grafana.build.panels import lines, number, quantile, rate, row, rows


def dashboard() -> str:
    """Return it as JSON."""
    return make(
        "outbox-queue",
        "outbox / Queue and lanes",
        "What waits, for how long, and what is on its way.",
        [
            number(
                "Due",
                "Messages that could go now, were there no limits.",
                "short",
                'sum(max by (bot, priority) (outbox_queue_messages{bot=~"$bot",state="due"}))',
                steps=((None, "green"),),
            ),
            number(
                "Scheduled",
                "Messages whose time has not come.",
                "short",
                'sum(max by (bot, priority) (outbox_queue_messages{bot=~"$bot",state="scheduled"}))',
                steps=((None, "green"),),
            ),
            number(
                "In flight",
                "Chats with a message on its way.",
                "short",
                "max(outbox_lanes_in_flight)",
                steps=((None, "green"),),
            ),
            number(
                "Lanes without a worker",
                "Chats in flight for a worker that is gone. Any worker frees them within 20 s.",
                "short",
                "max(outbox_lanes_without_worker)",
                steps=((None, "green"), (1, "red")),
            ),
            number(
                "Backlog",
                "Until all that is due now is sent, at the worst priority.",
                "s",
                'max(outbox_backlog_seconds{bot=~"$bot"})',
                steps=((None, "green"), (900, "orange")),
            ),
            number(
                "Suppressed chats",
                "Chats that nothing is sent to: they refused twice, or do not exist.",
                "short",
                "max(outbox_suppressed_chats)",
                steps=((None, "green"),),
            ),
            row("Queue"),
            lines(
                "Depth by priority",
                "Messages that are due, as housekeeping counted within 15 s.",
                "short",
                (
                    'sum by (priority) (max by (bot, priority) (outbox_queue_messages{bot=~"$bot",state="due"}))',
                    "priority {{priority}}",
                ),
                stacked=True,
            ),
            lines(
                "Oldest age by priority",
                "How long the oldest due message has waited.",
                "s",
                ('max by (priority) (outbox_queue_oldest_age_seconds{bot=~"$bot"})', "priority {{priority}}"),
            ),
            lines(
                "Expected delay",
                "How long a message inserted now would wait, to a chat with nothing waiting (outbox.pressure).",
                "s",
                (
                    'max by (bot, priority) (outbox_expected_delay_seconds{bot=~"$bot"})',
                    "{{bot}} priority {{priority}}",
                ),
            ),
            lines(
                "Backlog",
                "Until all that is due at this priority or better is sent.",
                "s",
                ('max by (bot, priority) (outbox_backlog_seconds{bot=~"$bot"})', "{{bot}} priority {{priority}}"),
            ),
            lines(
                "Wait in the queue",
                "From the moment a message could go until its request began.",
                "s",
                (quantile(0.5, "outbox_queue_wait_seconds", "priority"), "p50 priority {{priority}}"),
                (quantile(0.99, "outbox_queue_wait_seconds", "priority"), "p99 priority {{priority}}"),
            ),
            lines(
                "After a failed call",
                "Waiting messages that have failed at least once.",
                "short",
                ('sum by (bot) (max by (bot, priority) (outbox_queue_retrying_messages{bot=~"$bot"}))', "{{bot}}"),
            ),
            row("Lanes"),
            lines(
                "In flight by bot",
                "Messages claimed by a worker and not yet answered.",
                "short",
                ('sum by (bot) (outbox_in_flight_messages{bot=~"$bot"})', "{{bot}}"),
            ),
            lines(
                "Slots not used",
                "Claimed lanes that were not sent, a second. stale: the worker was late; lease: it had lost its lease.",
                "short",
                (rate("outbox_slots_unused_total", "reason", bot="$bot"), "{{reason}}"),
            ),
            lines(
                "Late for the slot",
                "How long after its slot a request began.",
                "s",
                (quantile(0.5, "outbox_slot_late_seconds", "bot"), "p50 {{bot}}"),
                (quantile(0.99, "outbox_slot_late_seconds", "bot"), "p99 {{bot}}"),
            ),
            lines(
                "Slots given and settled",
                "Lanes claimed, and answers told to the token bucket, a second.",
                "short",
                (rate("outbox_slots_given_total", "bot", bot="$bot"), "given to {{bot}}"),
                ("sum(rate(outbox_slots_settled_total[$__rate_interval]))", "settled, all bots"),
            ),
            row("What ended otherwise"),
            rows(
                "Dead letters",
                "By bot, status and error class, as they are now.",
                "short",
                'sort_desc(max by (bot, status, error_class) (outbox_dead_letters{bot=~"$bot"}))',
            ),
            lines(
                "Suppressed in an hour",
                "Chats suppressed within the last hour, beside the hourly number of the day before.",
                "short",
                ("max(outbox_suppressed_chats_last_hour)", "last hour"),
                ("max(outbox_suppressed_chats_per_hour_before)", "an hour of the day before"),
            ),
        ],
    )
