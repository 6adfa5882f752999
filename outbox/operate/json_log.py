"""--json of commands that run until they are stopped: a line on stdout when they run, and log lines as JSON."""

from __future__ import annotations

from typing import Any

import click

from outbox.operate.console import as_json_line

json_log_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON on stdout when it runs, and log lines as JSON."
)


def print_line(value: Any) -> None:
    """Print one line of JSON, at once: who started this process waits for it."""
    click.echo(as_json_line(value))
