"""outbox check"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import psycopg

from outbox.observe.thresholds import in_words, read_thresholds
from outbox.operate.console import CommandFailed, connected, json_option, print_json, say
from outbox.settings import UsageError

# As Nagios and its heirs read them.
OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
# Only a scrape sees them.
NOT_ASKED = frozenset({"SpoolFull", "DatabaseAway", "ExporterMissing"})
WORDS = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}


@click.group("check")
def command() -> None:
    """Checks for cron and for monitors that run a command.

    \b
      outbox check alerts

    \b
    Exit: 0 all well, 1 a warning, 2 something critical, 3 it could not be asked
    """


@command.command("alerts")
@click.option(
    "--values",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Thresholds, instead of those shipped: a file as outbox/observe/thresholds.toml.",
)
@json_option
def alerts(file: Path | None, as_json: bool) -> None:
    """Ask the alerts of grafana/alerts of the database alone; say which fire now.

    A check that is asked once has no memory: it says what is so now, not for how long. What only a scrape sees (a full
    spool, a worker that cannot reach the database) is not asked. What to do about each: docs/runbook.md

    \b
      outbox check alerts                          one line per alert that fires
      */5 * * * * outbox check alerts || mail …    from cron

    \b
    Exit: 0 none fires, 1 a warning, 2 a critical one, 3 they could not be asked
    """
    try:
        values = read_thresholds(file)
        with connected("check alerts") as connection:
            rows = connection.execute(
                "SELECT alert, subject, is_firing, value FROM outbox.check_alerts(%s::jsonb)", [json.dumps(values)]
            ).fetchall()
    except (UsageError, CommandFailed, psycopg.Error) as error:
        _give_up(error, as_json)
    try:
        firing = [_told(row, values) for row in rows if row["is_firing"]]
    except KeyError as error:
        _give_up(
            UsageError(f"the thresholds lack {error.args[0]}", "Start from outbox/observe/thresholds.toml"), as_json
        )
    firing.sort(key=lambda one: (one["severity"] != "critical", one["alert"], one["subject"] or ""))
    severities = {one["severity"] for one in firing}
    asked = sorted(set(values) - {"general"} - NOT_ASKED)
    status = CRITICAL if "critical" in severities else WARNING if firing else OK
    if as_json:
        print_json({"status": WORDS[status], "firing": firing, "asked": asked})
    elif not firing:
        say(f"OK: none of {len(asked)} alerts fires")
    else:
        for one in firing:
            say(f"{one['severity'].upper()} {one['alert']}: {one['summary']} ({one['runbook']})")
    sys.exit(status)


def _told(row: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    alert = values[row["alert"]]
    return {
        "alert": row["alert"],
        "severity": alert["severity"],
        "subject": row["subject"],
        "value": row["value"],
        "summary": in_words(alert["summary"], value=row["value"], subject=row["subject"]),
        "runbook": f"{values['general']['runbook']}#{row['alert'].lower()}",
    }


def _give_up(error: Exception, as_json: bool) -> NoReturn:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if as_json:
        print_json({"status": WORDS[UNKNOWN], "error": text})
    else:
        say(f"UNKNOWN: {text}")
    sys.exit(UNKNOWN)
