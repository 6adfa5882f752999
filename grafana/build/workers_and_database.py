"""*Workers and database*: the processes, PostgreSQL, and what keeps both in order."""

from __future__ import annotations

from typing import Final

from grafana.build.frame import make
from grafana.build.panels import lines, number, row, rows

GOOD_BAD: Final = ((None, "green"), (1, "red"))


def _quantiles(histogram: str) -> list[tuple[str, str]]:
    return [
        (f"histogram_quantile({q}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))", f"p{int(q * 100)}")
        for q in (0.5, 0.99)
    ]


def dashboard() -> str:
    """Return it as JSON."""
    return make(
        "outbox-workers",
        "outbox / Workers and database",
        "The worker processes, PostgreSQL, and what keeps both in order.",
        [
            number(
                "Workers alive",
                "Workers whose lease runs.",
                "short",
                "max(outbox_workers_alive)",
                steps=((None, "red"), (1, "green")),
            ),
            number(
                "Workers lost",
                "Workers that went without a word within the last hour.",
                "short",
                "max(outbox_workers_lost_last_hour)",
                steps=GOOD_BAD,
            ),
            number(
                "Messages astray",
                "Found in no state, or in two, at the last look. Above 0 is a bug.",
                "short",
                "max(outbox_messages_astray)",
                steps=GOOD_BAD,
            ),
            number(
                "Wakeups repaired",
                "Missing wakeups that repair filed in this time. Above 0 is a bug.",
                "short",
                "max(max_over_time(outbox_wakeups_repaired_total[$__range]))"
                " - min(min_over_time(outbox_wakeups_repaired_total[$__range]))",
                steps=GOOD_BAD,
            ),
            number(
                "Partitions ahead",
                "Days for which history has its partition.",
                "d",
                "min(outbox_partitions_ahead)",
                steps=((None, "red"), (1, "green")),
            ),
            number(
                "Oldest snapshot",
                "Age of the oldest transaction that holds a snapshot: VACUUM waits for it.",
                "s",
                "max(outbox_snapshot_age_seconds)",
                steps=((None, "green"), (60, "orange"), (900, "red")),
            ),
            row("Workers"),
            rows(
                "Workers",
                "What is scraped: version and name.",
                "short",
                "max by (instance, worker, version) (outbox_build_info)",
            ),
            lines(
                "CPU",
                "Cores that each process uses.",
                "short",
                ("rate(process_cpu_seconds_total[$__rate_interval])", "{{instance}}"),
            ),
            lines(
                "Memory",
                "Resident memory of each process.",
                "bytes",
                ("process_resident_memory_bytes", "{{instance}}"),
            ),
            lines(
                "Leases and reaped lanes",
                "Leases taken (lost: the one before ran out) and lanes of gone workers released, a second.",
                "short",
                (
                    "sum by (instance, reason) (rate(outbox_leases_taken_total[$__rate_interval]))",
                    "{{instance}} {{reason}}",
                ),
                ("sum by (instance) (rate(outbox_lanes_reaped_total[$__rate_interval]))", "reaped by {{instance}}"),
            ),
            lines(
                "Results that wait for the database",
                "Answers of Telegram that the database does not know of yet; spooled: on the disk.",
                "short",
                ("outbox_results_waiting", "{{instance}}"),
                ("outbox_spool_results", "spooled, {{instance}}"),
            ),
            lines(
                "Age of the oldest result",
                "Of the results that the database does not know of yet.",
                "s",
                ("outbox_oldest_result_seconds", "{{instance}}"),
            ),
            row("Calls to the database"),
            lines("Claim", "Time of a call of outbox.claim.", "s", *_quantiles("outbox_claim_seconds")),
            lines("Complete", "Time of a call of outbox.complete.", "s", *_quantiles("outbox_flush_seconds")),
            lines(
                "Batch sizes",
                "Lanes a claim gave and results a flush brought, on average.",
                "short",
                (
                    "sum(rate(outbox_claim_lanes_sum[$__rate_interval]))"
                    " / sum(rate(outbox_claim_lanes_count[$__rate_interval]))",
                    "lanes per claim",
                ),
                (
                    "sum(rate(outbox_flush_results_sum[$__rate_interval]))"
                    " / sum(rate(outbox_flush_results_count[$__rate_interval]))",
                    "results per flush",
                ),
            ),
            lines(
                "Wakeups per claim",
                "Rows taken from outbox.wakeup, per call of claim.",
                "short",
                (
                    "max(rate(outbox_wakeups_taken_total[$__rate_interval]))"
                    " / sum(rate(outbox_claim_seconds_count[$__rate_interval]))",
                    "wakeups",
                ),
            ),
            lines(
                "Failed calls",
                "Calls to the database that are tried again, a second.",
                "short",
                (
                    "sum by (instance, call) (rate(outbox_database_failures_total[$__rate_interval]))",
                    "{{instance}} {{call}}",
                ),
                ("sum by (instance) (rate(outbox_reconnects_failed_total[$__rate_interval]))", "{{instance}} connect"),
            ),
            lines(
                "Pool",
                "Connections used of the worker's two, and calls that wait for one.",
                "short",
                ('outbox_pool_connections{state="used"}', "used, {{instance}}"),
                ("outbox_pool_waiting", "waiting, {{instance}}"),
            ),
            row("PostgreSQL"),
            lines(
                "Dead rows",
                "Rows that VACUUM has not removed, of the tables that change most.",
                "short",
                ("max by (table) (outbox_table_dead_rows)", "{{table}}"),
            ),
            lines(
                "Size of the tables",
                "With indexes.",
                "bytes",
                ("max by (table) (outbox_table_bytes)", "{{table}}"),
            ),
            lines(
                "Housekeeping",
                "How long ago each duty ran.",
                "s",
                ("max by (duty) (outbox_housekeeping_age_seconds)", "{{duty}}"),
            ),
            lines(
                "Oldest snapshot and connections",
                "Age of the oldest snapshot of this database; connections of outbox.",
                "short",
                ("max(outbox_snapshot_age_seconds)", "oldest snapshot, s"),
                ("max(outbox_database_connections)", "connections"),
            ),
        ],
    )
