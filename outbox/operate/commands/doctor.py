"""outbox doctor"""

from __future__ import annotations

import sys

import click
from rich.table import Table
from rich.text import Text

from outbox.operate.console import json_option, on_terminal, print_json, screen, shown
from outbox.operate.doctor.finding import VERDICTS, Finding, Verdict, worst
from outbox.operate.doctor.run import LIMIT_S, TOTAL_S, examine
from outbox.settings import load_settings

STYLES: dict[Verdict, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
NAME_WIDTH = 16


@click.command("doctor")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0.1, max=600),
    default=LIMIT_S,
    show_default=True,
    help="The most that one check may take; one that takes longer is a finding.",
)
@json_option
def command(timeout_s: float, as_json: bool) -> None:
    """Say what is wrong with this installation, and what to type. Changes nothing.

    It looks at the way to the database, its schema and upkeep, workers, bots and what is stuck. Run it with the
    variables of the workers, on a machine of theirs. It works while the database is sick or away, and takes at most a
    minute or so. What each line means: docs/operations/doctor.md

    \b
      outbox doctor
      outbox doctor --json | jq '.findings[] | select(.verdict != "ok")'

    \b
    Exit: 0 nothing failed (there may be warnings), 1 a check failed, 2 wrong usage
    """
    settings = load_settings()
    findings: list[Finding] = []
    for finding in examine(settings, timeout_s, max(TOTAL_S, 4 * timeout_s)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}
    if as_json:
        print_json({"verdict": worst(findings), **counts, "findings": [finding._asdict() for finding in findings]})
    else:
        warnings = f"{counts['warn']} warning{'s' * (counts['warn'] != 1)}"
        click.echo(f"{counts['fail']} failed, {warnings}, {counts['ok']} ok")
    sys.exit(1 if worst(findings) == "fail" else 0)


def _print(finding: Finding) -> None:
    if not on_terminal():
        click.echo(f"{finding.verdict:<4}  {finding.name:<{NAME_WIDTH}}  {shown(finding.finding)}")
        if finding.remedy:
            click.echo(f"{'':<{NAME_WIDTH + 8}}{shown(finding.remedy)}")
        return
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=4)
    row.add_column(width=NAME_WIDTH)
    row.add_column(overflow="fold")
    row.add_row(Text(finding.verdict, STYLES[finding.verdict]), Text(finding.name), Text(shown(finding.finding)))
    if finding.remedy:
        row.add_row("", "", Text(shown(finding.remedy), "bold" if finding.verdict == "fail" else ""))
    screen().print(row)
