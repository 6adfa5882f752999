"""outbox suppress"""

from __future__ import annotations

import time
from typing import Any, Final

import click

from outbox.operate.arguments import ChatCommand, as_typed
from outbox.operate.bot_limits import limits_of
from outbox.operate.console import (
    CommandFailed,
    Connection,
    ago,
    clock,
    connected,
    json_option,
    note,
    number,
    print_json,
    say,
    table,
)

LISTED: Final = 50
ASK_FOR_S: Final = 5.0
ASK_EVERY_S: Final = 0.25


@click.group("suppress")
def command() -> None:
    """List chats that refuse messages, or lift that.

    \b
    A chat that blocked the bot, or is gone, is suppressed for a while: what waits for it or is
    written to it meanwhile ends as discarded, without asking Telegram each time. Only the
    message that was refused is a dead letter; retrying that lifts the suppression too.

    \b
      outbox suppress list --bot alerts
      outbox suppress lift 42 --bot alerts

    \b
    Exit: 0 done, 1 failed, 2 wrong usage
    """


@command.command("list", cls=ChatCommand)
@click.argument("chat_id", metavar="[CHAT_ID]", required=False, callback=as_typed)
@click.option("--bot", metavar="NAME", help="Only this bot's.")
@click.option("--after", metavar="CHAT_ID", callback=as_typed, help="Go on after this chat.")
@click.option("--limit", type=click.IntRange(1, 1000), default=LISTED, show_default=True)
@json_option
@click.pass_context
def list_(
    ctx: click.Context, /, chat_id: str | None, bot: str | None, after: str | None, limit: int, as_json: bool
) -> None:
    """List suppressed chats: since when it says what, until when.

    \b
      outbox suppress list
      outbox suppress list 42

    \b
    Exit: 0 done, 1 the chat named is not suppressed, or failed, 2 wrong usage
    """
    with connected("suppress list") as connection:
        if bot is not None:
            bot = limits_of(connection, bot)["bot"]
        rows, now = _suppressed(connection, bot, chat_id, after, limit), clock(connection)
    if as_json:
        print_json(rows)
    elif rows:
        table(
            None,
            ["chat", "bot", "ends", "why", "waiting", "last sent"],
            [
                [
                    row["chat_id"],
                    row["bot"],
                    ago(row["until_at"], now),
                    row["reason"],
                    _waiting(row),
                    ago(row["last_sent_at"], now),
                ]
                for row in rows
            ],
        )
        if len(rows) >= limit:
            note(f"there may be more: outbox suppress list --after {rows[-1]['chat_id']}")
    else:
        say("no chat is suppressed" if chat_id is None else f"chat {chat_id} is not suppressed")
    ctx.exit(1 if chat_id is not None and not rows else 0)


@command.command("lift", cls=ChatCommand)
@click.argument("chat_id", metavar="CHAT_ID", callback=as_typed)
@click.option("--bot", metavar="NAME", default="default", show_default=True)
@json_option
def lift(chat_id: str, bot: str, as_json: bool) -> None:
    """Let messages go to a chat again that had refused them.

    \b
      outbox suppress lift 42
      outbox suppress lift -1001234567890 --bot alerts

    \b
    The message that was refused stays a dead letter: outbox dead retry puts it back. What was
    discarded meanwhile is not sent any more: write it anew.

    \b
    Exit: 0 the chat may be sent to, 1 failed or busy, 2 wrong usage
    """
    with connected("suppress lift") as connection:
        bot = limits_of(connection, bot)["bot"]
        before = _suppressed(connection, bot, chat_id, None, 1)
        if not _lift(connection, bot, chat_id):
            raise CommandFailed(
                f"a message is on its way to chat {chat_id}, and its answer decides. Try again in a moment."
            )
    if as_json:
        print_json({"chat_id": chat_id, "bot": bot, "changed": bool(before), "was": before[0] if before else None})
    elif before:
        say(f"chat {chat_id} of bot {bot} may be sent to again; it was suppressed: {before[0]['reason']}")
    else:
        say(f"chat {chat_id} of bot {bot} was not suppressed")


def _lift(connection: Connection, bot: str, chat_id: str) -> bool:
    until_s = time.monotonic() + ASK_FOR_S
    while True:
        row = connection.execute(
            "SELECT outbox.lift_suppression(%s::text, %s::text) AS lifted", (bot, chat_id)
        ).fetchone()
        assert row is not None
        if row["lifted"] or time.monotonic() >= until_s:
            return bool(row["lifted"])
        time.sleep(ASK_EVERY_S)


def _suppressed(
    connection: Connection, bot: str | None, chat_id: str | None, after: str | None, limit: int
) -> list[dict[str, Any]]:
    return connection.execute(
        "SELECT * FROM outbox.find_chats('suppressed', p_bot => %s::text, p_chat_id => %s::text, p_after => %s::text,"
        " p_limit => %s::int)",
        (bot, chat_id, after, limit),
    ).fetchall()


def _waiting(row: dict[str, Any]) -> str:
    return f"{number(row['waiting'])}{'+' if row['waiting'] >= 1000 else ''}"
