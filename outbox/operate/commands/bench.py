"""outbox bench"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

import outbox
from outbox.operate.console import CommandFailed

CHECKOUT = Path(outbox.__file__).resolve().parents[1]


@click.command(
    "bench",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Measure what this machine and PostgreSQL do: the figures of docs/performance.md. In a checkout only.

    \b
      outbox bench --list
      outbox bench latency --json

    \b
    Exit: 0 done, 1 a figure missed its mark, 2 wrong usage
    """
    help_wanted = any(argument in ("-h", "--help") for argument in arguments)
    if help_wanted:
        click.echo(click.get_current_context().get_help() + "\n")
    if not (CHECKOUT / "bench" / "__main__.py").is_file():
        if help_wanted:
            return
        raise CommandFailed(
            "the benches are not part of the installed package. Run it in a checkout, as outbox bench or make bench; "
            "outbox demo measures one delivery everywhere."
        )
    sys.stdout.flush()
    sys.exit(subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=CHECKOUT, check=False).returncode)  # noqa: S603
