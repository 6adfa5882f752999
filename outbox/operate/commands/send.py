"""outbox send"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import click

from outbox.accept.check import RefusedError, check
from outbox.accept.message import Message
from outbox.accept.send import send
from outbox.accept.status import Status
from outbox.accept.wait import wait
from outbox.operate.arguments import PRIORITY, ChatCommand, Moment, as_typed
from outbox.operate.console import CommandFailed, connected, json_option, print_json, say
from outbox.operate.message_stream import Form, form_of
from outbox.operate.send_file import SentFile, opened
from outbox.operate.times import in_utc
from outbox.settings import UsageError

WAIT_S: Final = 30.0
OF_ONE: Final = ("correlation_id", "idempotency_key", "target_id")  # one message's own: no default for a stream


@click.command("send", cls=ChatCommand)
@click.argument("chat_id", required=False, callback=as_typed)
@click.argument("text", required=False, callback=as_typed)
@click.option("--payload", metavar="JSON", help="The method's parameters, instead of TEXT.")
@click.option("--method", help="Method of the Bot API (default: sendMessage).")
@click.option("--bot", help="Who sends it (default: default).")
@click.option("--priority", type=PRIORITY, help="critical, high, normal (default) or low; or 0 to 3.")
@click.option("--tag", help="A label to count, find and stop messages by.")
@click.option("--correlation-id", metavar="NAME", help="Your name for it.")
@click.option("--idempotency-key", metavar="KEY", help="A second message with this key is not stored.")
@click.option("--collapse-key", metavar="KEY", help="Of those that wait under it only the newest is sent.")
@click.option("--target-id", type=int, metavar="ID", help="The message that this one edits, deletes or answers.")
@click.option("--on-uncertain", type=click.Choice(["retry", "hold"]), help="When nobody knows whether it was sent.")
@click.option("--max-attempts", type=int, metavar="N", help="Calls that may fail (default: the bot's).")
@click.option("--at", "next_attempt_at", type=Moment(ahead=True), help="Not before: 2h, or 2026-03-01T14:30 (UTC).")
@click.option("--expires", "expires_at", type=Moment(ahead=True), help="Not from then on: 2h, or a time.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=WAIT_S,
    metavar="[SECONDS]",
    help="Wait until it has ended (30 s), and say how.",
)
@click.option("--file", "path", metavar="PATH", help="Messages of a .jsonl or .csv file; - for stdin.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), help="Of the file, where its name tells none.")
@click.option("--skip-bad", is_flag=True, help="Store the good lines of the file although others are bad.")
@click.option("--from-line", type=click.IntRange(min=1), metavar="N", help="Begin at this line of the file.")
@click.option("--dry-run", is_flag=True, help="Check only; store nothing.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    chat_id: str | None,
    text: str | None,
    payload: str | None,
    wait_s: float | None,
    path: str | None,
    form: Form | None,
    skip_bad: bool,
    from_line: int | None,
    dry_run: bool,
    as_json: bool,
    **columns: Any,
) -> None:
    """Store a message, or a file of them, to be delivered.

    \b
      outbox send 42 'Order 17 is shipped'
      outbox send @news 'Good morning' --at 2026-03-01T08:00+01:00 --tag morning
      outbox send 42 --method sendPhoto --payload '{"photo": "https://…"}' --wait
      outbox send --file messages.jsonl --tag spring
      outbox send --file - --format csv < list.csv

    \b
    A line of JSON lines is an object of the columns of outbox.message; a CSV file names them in
    its first line. `text` stands for a payload of nothing else. Options fill in what lines leave
    out. Every line is checked first, and nothing is stored while one is bad. With a column
    idempotency_key a file may be sent again: nothing is stored twice.

    \b
    Exit: 0 stored (--wait: sent), 1 failed, refused or not sent, 2 wrong usage,
    130 Ctrl-C or 143 SIGTERM: it says up to which line the file is stored
    """
    given = {name: value for name, value in columns.items() if value is not None}
    if text is not None and payload is not None:
        raise UsageError("both TEXT and --payload are given", "Leave one of them out")
    content = {"text": text} if text is not None else {} if payload is None else {"payload": _payload(payload)}
    if path is None:
        if form or skip_bad or from_line:
            raise UsageError("--format, --skip-bad and --from-line are for --file", "Leave them out, or name a file")
        if chat_id is None or not content:
            raise UsageError("send needs a chat and a text", "Give them: outbox send 42 'hi', or --file messages.jsonl")
        _send_one(ctx, chat_id, content, given, wait_s, dry_run, as_json)
        return
    if chat_id is not None or wait_s is not None or any(name in given for name in OF_ONE):
        raise UsageError(
            "CHAT_ID, --wait, --correlation-id, --idempotency-key and --target-id are of one message",
            "Leave them out: a file has columns of that name",
        )
    form = form or (form_of(path) if path != "-" else "jsonl")
    if form is None:
        raise UsageError(f"{path} does not tell its format", "Add --format jsonl or --format csv")
    with opened(path) as file:
        sent = SentFile(path, file, form, content | given, from_line or 1, as_json=as_json)
        ctx.exit(sent.check_only() if dry_run else sent.send(skip_bad=skip_bad))


def _payload(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        raise UsageError("--payload is not JSON", 'Give an object, such as {"text": "hi"}, in single quotes') from None


def _send_one(
    ctx: click.Context,
    chat_id: str,
    content: dict[str, Any],
    columns: dict[str, Any],
    wait_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    payload = content.get("payload", content)
    try:
        check(Message(chat_id, payload, **columns))
    except RefusedError as error:
        raise CommandFailed(f"{error}. {error.hint}") from None
    except (TypeError, ValueError) as error:
        raise CommandFailed(str(error)) from None
    if dry_run:
        if as_json:
            print_json({"stored": False})
        else:
            say("this message would be accepted; nothing was stored")
        return
    with connected("send") as connection:
        message_id = send(connection, chat_id, payload, **columns)
        if wait_s is None:
            if as_json:
                print_json({"id": message_id})
            else:
                say(f"message {message_id} waits{_until(columns.get('next_attempt_at'))}")
            return
        status = wait(connection, message_id, wait_s)
    if as_json:
        print_json({"id": message_id} | asdict(status))
    else:
        say(_outcome(message_id, status, wait_s))
    ctx.exit(0 if status.status == "sent" else 1)


def _until(at: datetime | None) -> str:
    return "" if at is None else f" until {in_utc(at)}"


def _outcome(message_id: int, status: Status, wait_s: float) -> str:
    if status.status == "sent":
        told = status.telegram_message_id
        return f"message {message_id} is sent" + ("" if told is None else f", as Telegram's message {told}")
    why = ": ".join(part for part in (status.error_class, status.error_text) if part)
    why = f" ({why})" if why else ""
    if not status.ended:
        return f"message {message_id} is {status.status} after {wait_s:g} s{why}. Why: outbox explain {message_id}"
    return f"message {message_id} ended as {status.status}{why}. Its story: outbox show {message_id}"
