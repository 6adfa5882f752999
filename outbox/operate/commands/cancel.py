"""outbox cancel"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import click
import psycopg
from psycopg.types.json import Jsonb

from outbox.accept.cancel import cancel
from outbox.accept.status import status
from outbox.operate.console import CommandFailed, Connection, confirm, connected, json_option, number, print_json, say
from outbox.settings import UsageError

ASK_OVER: Final = 100
COUNTED: Final = 10_000
THEN: Final = (
    "end as cancelled within seconds, or when a worker or housekeeping next comes by;"
    " what is being sent this moment may still arrive"
)


@click.command("cancel")
@click.argument("message_id", metavar="[ID]", type=int, required=False)
@click.option("--tag", help="All that was inserted with this tag until now; what comes later is sent.")
@click.option("--correlation-id", metavar="NAME", help="All of this correlation id.")
@click.option("--bot", metavar="NAME", help="Only this bot's.")
@click.option("--dry-run", is_flag=True, help="Say how many wait; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, however many.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    message_id: int | None,
    tag: str | None,
    correlation_id: str | None,
    bot: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel messages that wait, by id, tag or correlation id.

    \b
    They end as cancelled. Nothing takes a cancel back: send them anew. What has been sent
    stays sent, and what is being sent this moment ends by its answer. Over 100 it asks for
    their number. It is audited, unless the login is an application's (outbox_producer).

    \b
      outbox cancel 17
      outbox cancel --tag spring --dry-run
      outbox cancel --tag spring
      outbox cancel --tag spring --yes

    \b
    Exit: 0 something waited, 1 nothing did or failed, 2 wrong usage
    """
    given = [one for one in (message_id, tag, correlation_id) if one is not None]
    if len(given) != 1:
        raise UsageError(
            f"cancel takes one of ID, --tag and --correlation-id, not {len(given)}",
            "Give one: outbox cancel 17, or outbox cancel --tag spring",
        )
    name = (
        f"message {message_id}"
        if message_id is not None
        else f"tag {tag!r}"
        if tag is not None
        else f"correlation id {correlation_id!r}"
    )
    with connected("cancel") as connection:
        if dry_run:
            waiting, exact = _count(connection, message_id, tag, correlation_id, bot)
            if as_json:
                print_json({"waiting": waiting, "at_most": COUNTED, "complete": exact, "dry_run": True})
            else:
                say(f"{_of(waiting, exact, name)} would be cancelled; nothing was changed")
            ctx.exit(1 if waiting == 0 and exact else 0)
        waiting, exact = 1, True
        if message_id is None:
            try:
                waiting, exact = _count(connection, None, tag, correlation_id, bot)
            except psycopg.errors.InsufficientPrivilege:
                if not yes:
                    raise CommandFailed("this login may not count what waits. Add --yes to cancel it all.") from None
                exact = False
        if (waiting > ASK_OVER or not exact) and not yes:
            confirm(_of(waiting, exact, name), "cancelled", waiting)
        waited = _cancel(connection, message_id, tag, correlation_id, bot, waiting if exact else None)
        if as_json:
            print_json({"waited": waited})
        elif waited:
            say(f"{name}: those that wait {THEN}" if message_id is None else _of_one(message_id))
        else:
            raise CommandFailed(f"nothing of {name} waits{_ended(connection, message_id)}")
    ctx.exit(0 if waited else 1)


def _of(waiting: int, exact: bool, name: str) -> str:
    return f"{number(waiting)}{'' if exact else ' or more'} of {name}"


def _cancel(
    connection: Connection,
    message_id: int | None,
    tag: str | None,
    correlation_id: str | None,
    bot: str | None,
    waiting: int | None,
) -> bool:
    """Cancel, on record with how many waited when they were counted; return whether something waits."""
    given = {"id": message_id, "tag": tag, "correlation_id": correlation_id, "bot": bot and bot.lower()}
    about = Jsonb({name: value for name, value in given.items() if value is not None})
    with connection.transaction():
        waited = cancel(connection, message_id, tag=tag, correlation_id=correlation_id, bot=bot)
        # An application's login may cancel too, as its code does, which leaves no record.
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(
                "SELECT outbox.note_action('cancel', %s::jsonb, %s::bigint)", (about, waiting if waited else 0)
            )
    return waited


def _of_one(message_id: int) -> str:
    return (
        f"message {message_id} ends as cancelled within seconds; if it is being sent this moment, by its answer."
        f" See: outbox show {message_id}"
    )


def _ended(connection: Connection, message_id: int | None) -> str:
    if message_id is None:
        return "."
    found = status(connection, message_id)
    if found.status == "unknown":
        return ": no message has this id."
    if not found.ended:
        return f" for that bot: it is {found.status}."
    return f": it ended as {found.status}."


def _count(
    connection: Connection, message_id: int | None, tag: str | None, correlation_id: str | None, bot: str | None
) -> tuple[int, bool]:
    """Return how many wait, and whether those are all: a count ends at COUNTED, and at the limits of a search."""
    if message_id is not None:
        row: dict[str, Any] | None = connection.execute(
            "SELECT count(*) AS waiting, true AS complete FROM outbox.history"
            " WHERE id = %s AND status IN ('queued', 'sending') AND (%s::text IS NULL OR bot = lower(%s::text))",
            (message_id, bot, bot),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT found AS waiting, complete FROM outbox.search_reach(p_status => ARRAY['queued', 'sending'],"
            " p_bot => lower(%s::text), p_tag => %s::text, p_correlation_id => %s::text, p_most => %s::int)",
            (bot, tag, correlation_id, COUNTED),
        ).fetchone()
    assert row is not None
    waiting = int(row["waiting"])
    return waiting, bool(row["complete"]) and waiting < COUNTED
