"""*History*: out of PostgreSQL alone, as outbox_reader: public views and functions only."""

from __future__ import annotations

from typing import Final

from grafana.build.frame import make
from grafana.build.panels import row, sql_lines, sql_number, sql_rows

OF_BOTS: Final = "bot IN ($bot)"
CALLS: Final = f"FROM outbox.attempt WHERE $__timeFilter(answered_at) AND {OF_BOTS}"


def dashboard() -> str:
    """Return it as JSON."""
    return make(
        "outbox-history",
        "outbox / History",
        "What was sent, what failed and why, out of the database alone.",
        [
            sql_number(
                "Waiting",
                "Messages that wait, as housekeeping counted within 15 s.",
                "short",
                f"SELECT coalesce(sum(depth), 0) AS waiting FROM outbox.depth WHERE {OF_BOTS}",
                steps=((None, "green"),),
            ),
            sql_number(
                "Oldest due message",
                "How long the oldest due message waits, of any priority.",
                "s",
                f"SELECT coalesce(max(oldest_age_s), 0) AS age FROM outbox.depth WHERE {OF_BOTS}",
                steps=((None, "green"), (60, "orange"), (900, "red")),
            ),
            sql_number(
                "Sent in this time",
                "Calls of the Bot API that sent a message.",
                "short",
                f"SELECT count(*) AS sent {CALLS} AND outcome = 'sent'",
                steps=((None, "green"),),
            ),
            sql_number(
                "429 in this time",
                "Calls that Telegram answered by 429. Meant to be none.",
                "short",
                f"SELECT count(*) AS calls {CALLS} AND outcome = 'wait'",
                steps=((None, "green"), (1, "red")),
            ),
            sql_number(
                "Dead letters",
                "Messages that need a person, however old.",
                "short",
                f"SELECT coalesce(sum(count), 0) AS dead FROM outbox.dead_letter_groups() WHERE {OF_BOTS}",
                steps=((None, "green"), (1, "orange")),
            ),
            sql_number(
                "Workers alive",
                "Workers whose lease runs.",
                "short",
                "SELECT count(*) AS workers FROM outbox.workers WHERE state <> 'lost'",
                steps=((None, "red"), (1, "green")),
            ),
            row("Calls"),
            sql_lines(
                "Calls by outcome",
                "Calls of the Bot API in each step. wait: answered by 429.",
                "short",
                "SELECT $__timeGroupAlias(answered_at, $__interval), outcome AS metric, count(*) AS calls"
                f" {CALLS} GROUP BY 1, 2 ORDER BY 1",
                stacked=True,
            ),
            sql_lines(
                "Time of a call",
                "Median and 99th percentile of each step.",
                "s",
                "SELECT $__timeGroupAlias(answered_at, $__interval),"
                " percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM answered_at - started_at)) AS p50,"
                " percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM answered_at - started_at)) AS p99"
                f" {CALLS} AND started_at IS NOT NULL GROUP BY 1 ORDER BY 1",
            ),
            sql_rows(
                "Why calls failed",
                "By bot, error class and outcome, the most frequent first.",
                "none",
                "SELECT bot, error_class, outcome, count(*) AS calls, max(answered_at) AS last_at,"
                " (array_agg(left(error_text, 100) ORDER BY answered_at DESC))[1] AS last_text"
                f" {CALLS} AND outcome <> 'sent' GROUP BY 1, 2, 3 ORDER BY calls DESC LIMIT 50",
                width=24,
            ),
            row("Messages"),
            sql_lines(
                "What ended otherwise",
                "Messages that ended without being sent: expired, cancelled, superseded, discarded.",
                "short",
                "SELECT $__timeGroupAlias(finished_at, $__interval), status AS metric, count(*) AS messages"
                " FROM outbox.history WHERE $__timeFilter(finished_at)"
                " AND status IN ('expired', 'cancelled', 'superseded', 'discarded')"
                f" AND {OF_BOTS} GROUP BY 1, 2 ORDER BY 1",
                stacked=True,
            ),
            sql_rows(
                "What waits",
                "By bot and priority, with the delay of a message inserted now.",
                "none",
                "SELECT d.bot, d.priority, d.due, d.scheduled, d.retrying, d.oldest_age_s, p.expected_delay_s,"
                " p.backlog_s, p.waits_for FROM outbox.depth d JOIN outbox.pressure p USING (bot, priority)"
                f" WHERE d.{OF_BOTS} ORDER BY d.bot, d.priority",
            ),
            sql_rows(
                "Dead letters by class",
                "By bot and error class, with one of them.",
                "none",
                "SELECT bot, error_class, status, count, first_at, last_at, sample_id, left(sample_text, 100) AS sample"
                f" FROM outbox.dead_letter_groups() WHERE {OF_BOTS} ORDER BY count DESC LIMIT 50",
            ),
            sql_rows(
                "Broadcasts",
                "Tags of which something waits or was sent lately.",
                "none",
                "SELECT tag, bot, accepted, waiting, sent, dead, progress, ended_per_s, eta_at FROM outbox.broadcasts"
                f" WHERE {OF_BOTS} ORDER BY last_finished_at DESC NULLS FIRST LIMIT 50",
            ),
            row("Operation"),
            sql_rows(
                "Limits",
                "What each bot's limits are and leave, its pauses and its breaker.",
                "none",
                "SELECT bot, rate, rate_window_s, tokens_active, tokens_free, next_slot_at, paused_until,"
                f" paused_reason, stopped, unauthorised, breaker, breaker_reason FROM outbox.limits WHERE {OF_BOTS}",
            ),
            sql_rows(
                "Workers",
                "Each with its heartbeat.",
                "none",
                "SELECT name, state, bots, host, version, started_at, heartbeat_at FROM outbox.workers"
                " ORDER BY heartbeat_at DESC LIMIT 50",
            ),
            sql_rows(
                "Housekeeping",
                "When each duty ran, and its error if it failed.",
                "none",
                "SELECT duty, holder, last_run_at, runs, last_error, wakeups_repaired FROM outbox.housekeeping",
            ),
            sql_rows(
                "Findings",
                "What must not be: messages in no state or in two, missing wakeups. Above 0 means a bug.",
                "none",
                "SELECT name, found, at FROM outbox.finding ORDER BY name",
            ),
            sql_rows(
                "Audit",
                "What operators did.",
                "none",
                "SELECT at, who, what, filter, count FROM outbox.audit WHERE $__timeFilter(at)"
                " ORDER BY at DESC LIMIT 100",
            ),
        ],
        source="grafana-postgresql-datasource",
    )
