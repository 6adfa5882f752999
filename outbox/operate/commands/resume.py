"""outbox resume"""

from __future__ import annotations

import click

from outbox.operate.bot_limits import holds_of, limits_of, told, waiting
from outbox.operate.console import connected, json_option, note, print_json, say
from outbox.operate.sending_state import NO_WORKER


@click.command("resume")
@click.argument("bot", metavar="BOT")
@json_option
def command(bot: str, as_json: bool) -> None:
    """Send again with a bot that was paused.

    \b
    Ends outbox pause, and the stop after a refused token. What Telegram asked for (429) and
    the circuit breaker end by themselves.

    \b
      outbox resume alerts

    \b
    Exit: 0 no operator holds it any more, 1 failed or no such bot, 2 wrong usage
    """
    with connected("resume") as connection:
        bot = limits_of(connection, bot)["bot"]
        row = connection.execute("SELECT outbox.resume(%s::text) AS changed", (bot,)).fetchone()
        assert row is not None
        limits = limits_of(connection, bot)
    held = holds_of(limits)
    if as_json:
        print_json({"bot": bot, "changed": row["changed"], "holds": list(map(told, held)), "waiting": limits["depth"]})
        return
    done = "is resumed" if row["changed"] else "was not paused"
    by_itself = [told(hold) for hold in held if hold.word != NO_WORKER]
    still = f"; it still waits, and goes on by itself: {', '.join(by_itself)}" if by_itself else ""
    say(f"bot {bot} {done}{still}; {waiting(limits)}")
    if any(hold.word == NO_WORKER for hold in held):
        note(f"no worker serves bot {bot}. Start one with its token: outbox up, or outbox worker.")
