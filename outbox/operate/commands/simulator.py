"""outbox simulator"""

import sys

import click

from outbox.simulator.run import main


@click.command("simulator", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def command(options: tuple[str, ...]) -> None:
    """Run a strict Telegram Bot API for tests; --help lists its limits, delays and faults."""
    # Its options live in one place, in the simulator, which also runs alone and may not depend on click.
    sys.exit(main(options, prog="outbox simulator"))
