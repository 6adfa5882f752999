"""outbox pause"""

from __future__ import annotations

import click

from outbox.operate.bot_limits import holds_of, limits_of, told, waiting
from outbox.operate.console import connected, json_option, print_json, say


@click.command("pause")
@click.argument("bot", metavar="BOT")
@json_option
def command(bot: str, as_json: bool) -> None:
    """Stop sending with a bot; its messages wait.

    \b
    From the next claim on nothing more is sent; what is on its way still goes. Everything
    keeps its place until outbox resume.

    \b
      outbox pause alerts

    \b
    Exit: 0 it is paused, 1 failed or no such bot, 2 wrong usage
    """
    with connected("pause") as connection:
        bot = limits_of(connection, bot)["bot"]
        row = connection.execute("SELECT outbox.pause(%s::text) AS changed", (bot,)).fetchone()
        assert row is not None
        limits = limits_of(connection, bot)
    held = list(map(told, holds_of(limits)))
    if as_json:
        print_json(
            {
                "bot": bot,
                "changed": row["changed"],
                "holds": held,
                "waiting": limits["depth"],
            }
        )
        return
    done = "is paused: nothing more is claimed for it" if row["changed"] else "was paused already"
    say(f"bot {bot} {done}; {waiting(limits)}. Go on: outbox resume {bot}")
