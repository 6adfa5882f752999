"""outbox dead"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from outbox.operate.arguments import PACE, Moment
from outbox.operate.commands.show import command as show_command
from outbox.operate.conditions import Conditions
from outbox.operate.console import (
    CommandFailed,
    Connection,
    age,
    clock,
    confirm,
    connected,
    json_option,
    note,
    number,
    print_json,
    say,
)
from outbox.operate.dead_letter_tables import print_batch, print_batches, print_each, print_groups
from outbox.operate.dead_letters import (
    Row,
    Verb,
    batch,
    batch_of_key,
    count,
    find,
    groups,
    house_is_kept,
    reach,
    start_batch,
    until_now,
)
from outbox.operate.follow_batch import DONE, NOBODY, START_ONE, follow_batch, how_to_go_on, in_a_line
from outbox.operate.times import in_utc
from outbox.settings import UsageError

ASK_OVER: Final = 100
LISTED: Final = 20
NOBODY_DOES_IT: Final = 3
INTERRUPTED: Final = 130

F = TypeVar("F", bound=Callable[..., Any])


def condition_options(function: F) -> F:
    """Add the conditions on dead letters but for ids."""
    for option in reversed(
        (
            click.option("--bot", metavar="NAME"),
            click.option("--class", "error_class", metavar="CLASS", help="Of the error, such as timeout or blocked."),
            click.option("--tag"),
            click.option("--since", type=Moment(), help="Died then or later: 2h (ago), or 2026-03-01T14:30 (UTC)."),
            click.option("--until", type=Moment(), help="Died before then; now: every one."),
            click.option("--text", help="Part of the error's text, in any case."),
            click.option("--status", type=click.Choice(["dead", "uncertain"]), help="uncertain: it may have arrived."),
        )
    ):
        function = option(function)
    return function


def batch_options(function: F) -> F:
    """Add what retry and discard share."""
    for option in reversed(
        (
            click.argument("ids", metavar="[ID]...", nargs=-1, type=int),
            click.option("--id", "more_ids", metavar="ID", type=int, multiple=True, help="Also this one; repeatable."),
            condition_options,
            click.option("--rate", "per_s", metavar="N", type=PACE, help="At most so many a second."),
            click.option("--dry-run", is_flag=True, help="Say how many; change nothing."),
            click.option("--yes", is_flag=True, help="Do not ask, however many."),
            click.option("--no-wait", is_flag=True, help="Start it and return."),
            click.option("--key", metavar="NAME", help="A second command with it starts nothing new."),
            json_option,
            click.pass_context,
        )
    ):
        function = option(function)
    return function


@click.group("dead")
def command() -> None:
    """Look into, retry or discard dead letters.

    \b
      outbox dead list
      outbox dead retry --class timeout --since 2h --dry-run
      outbox dead retry --class timeout --since 2h --rate 5

    \b
    Exit: 0 done, 1 failed or not found, 2 wrong usage
    """


@command.command("list")
@condition_options
@click.option("--each", is_flag=True, help="Each one, newest death first, instead of their classes.")
@click.option("--limit", type=click.IntRange(1, 1000), default=LISTED, show_default=True, help="With --each.")
@json_option
def list_(each: bool, limit: int, as_json: bool, **conditions: Any) -> None:
    """List dead letters: their classes with counts, or each.

    \b
      outbox dead list
      outbox dead list --each --class blocked --since 1d

    \b
    Exit: 0 done, 1 failed, 2 wrong usage
    """
    which = Conditions(**conditions)
    with connected("dead list") as connection:
        total = count(connection, which)
        rows = find(connection, which, None, limit) if each else groups(connection, which)
        looked, now = reach(connection, which), clock(connection)
    if as_json:
        print_json({"count": total, "dead_letters" if each else "groups": rows} | looked)
        return
    if not looked["complete"]:
        note(f"only deaths since {in_utc(looked['reached_at'])} were looked at, the newest. For older ones: --until.")
    if not rows:
        say("no dead letters" if which.empty else "no dead letter is like that")
        return
    if each:
        print_each(rows, now)
        if total > len(rows):
            note(f"the newest {len(rows)} of {number(total)}. More: --limit")
        return
    print_groups(rows, now)
    say(f"{number(total)} in all. Each: outbox dead list --each. Again: outbox dead retry --class …")


@command.command("show")
@click.argument("dead_letter", metavar="ID", type=int)
@click.option("--payload", is_flag=True, help="Also what it says. Takes role outbox_admin, and is audited.")
@json_option
@click.pass_context
def show(ctx: click.Context, /, dead_letter: int, payload: bool, as_json: bool) -> None:
    """Show one dead letter: every attempt, and what Telegram said.

    \b
      outbox dead show 17

    \b
    Exit: 0 found, 1 not found or failed, 2 wrong usage
    """
    with connected("dead show") as connection:
        row = connection.execute("SELECT status FROM outbox.history WHERE id = %s", (dead_letter,)).fetchone()
    if row is not None and row["status"] not in ("dead", "uncertain"):
        raise CommandFailed(
            f"message {dead_letter} is no dead letter: it is {row['status']}. Its story: outbox show {dead_letter}"
        )
    ctx.invoke(show_command, message=str(dead_letter), payload=payload, as_json=as_json)


@command.command("retry")
@batch_options
def retry(ctx: click.Context, /, **options: Any) -> None:
    """Put dead letters back into their lanes, as a batch.

    \b
    They wait there like all others, so limits apply: 1,000 take about 34 s at 30 a second.
    All conditions given must hold. Over 100 it asks for their number. Housekeeping does the
    batch: it goes on when this command is stopped, and after a restart. A script adds --key:
    run again after a lost connection it starts nothing twice.

    \b
      outbox dead retry 17 18
      outbox dead retry --class timeout --since 2h --dry-run
      outbox dead retry --class timeout --since 2h --rate 5
      outbox dead retry --until now --yes            every one
      outbox dead retry --class timeout --until 2026-03-01T12:00 --yes --key after-incident-7

    \b
    Exit: 0 done (--no-wait: started), 1 failed (one of them too), stopped, or an id is none,
    2 wrong usage, 3 started, and no process is alive to do it: the next one does,
    130 Ctrl-C: it goes on without this command (1 at the question: nothing was started)
    """
    _move(ctx, "retry", **options)


@command.command("discard")
@batch_options
def discard(ctx: click.Context, /, **options: Any) -> None:
    """End dead letters as discarded, as a batch.

    \b
    They keep their place in history and lose their payload. All conditions given must hold.
    Over 100 it asks for their number. Housekeeping does the batch: it goes on when this
    command is stopped, and after a restart.

    \b
      outbox dead discard 17
      outbox dead discard --class blocked --until 30d --dry-run

    \b
    Exit: 0 done (--no-wait: started), 1 failed (one of them too), stopped, or an id is none,
    2 wrong usage, 3 started, and no process is alive to do it: the next one does,
    130 Ctrl-C: it goes on without this command (1 at the question: nothing was started)
    """
    _move(ctx, "discard", **options)


@command.command("batches")
@click.argument("batch_id", metavar="[ID]", type=int, required=False)
@click.option("--wait", is_flag=True, help="Stay until it has ended.")
@json_option
@click.pass_context
def batches(ctx: click.Context, /, batch_id: int | None, wait: bool, as_json: bool) -> None:
    """List batches of dead letters, or show or follow one.

    \b
      outbox dead batches
      outbox dead batches 3 --wait

    \b
    Exit: 0 done, 1 failed or not found, 2 wrong usage; with --wait also
    1 it was stopped or one of them failed, 130 Ctrl-C: it goes on
    """
    if wait and batch_id is None:
        raise UsageError("--wait is for one batch", "Name it: outbox dead batches 3 --wait")
    with connected("dead batches") as connection:
        if batch_id is None:
            rows = connection.execute("SELECT * FROM outbox.batches ORDER BY id DESC LIMIT 20").fetchall()
            if as_json:
                print_json(rows)
            elif rows:
                print_batches(rows, clock(connection))
            else:
                say("no batch was ever started. Start one: outbox dead retry --class …")
            return
        if wait:
            ctx.exit(_follow(connection, batch_id, as_json))
        found = batch(connection, batch_id)
    if as_json:
        print_json(found)
    else:
        print_batch(found)


@command.command("stop")
@click.argument("batch_id", metavar="ID", type=int)
@json_option
def stop(batch_id: int, as_json: bool) -> None:
    """Stop a batch of dead letters; what it has done stays done.

    \b
      outbox dead stop 3

    \b
    Exit: 0 stopped, or it had ended, 1 failed or not found, 2 wrong usage
    """
    with connected("dead stop") as connection:
        batch(connection, batch_id)
        row = connection.execute("SELECT outbox.stop_batch(%s::bigint) AS stopped", (batch_id,)).fetchone()
        assert row is not None
        found = batch(connection, batch_id)
    if as_json:
        print_json(found | {"changed": row["stopped"]})
    else:
        say(f"batch {batch_id} {'is stopped' if row['stopped'] else 'had ended'}: {in_a_line(found)}")


def _move(
    ctx: click.Context,
    verb: Verb,
    ids: tuple[int, ...],
    more_ids: tuple[int, ...],
    per_s: float | None,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    key: str | None,
    as_json: bool,
    **conditions: Any,
) -> None:
    given = Conditions(ids=tuple(dict.fromkeys((*ids, *more_ids))), **conditions)
    if given.empty:
        raise UsageError(
            f"nothing says which dead letters to {verb}",
            f"Name ids or a condition: outbox dead {verb} 17, or --class timeout; every one: --until now",
        )
    with connected(f"dead {verb}") as connection:
        if key is not None and not dry_run and (earlier := batch_of_key(connection, key)) is not None:
            note(f"batch {earlier['id']} was started with this key before: nothing new is started.")
            ctx.exit(_see_through(connection, earlier, no_wait, as_json))
        which = until_now(connection, given)
        total = count(connection, which)
        missing = len(given.ids) - total if given.ids else 0
        if dry_run or total == 0:
            _tell_count(verb, total, per_s, as_json, dry_run=dry_run)
            ctx.exit(1 if missing else 0)
        if missing:
            note(_not_dead(missing))
        if (
            verb == "retry"
            and which.status is None
            and (unsure := count(connection, replace(which, status="uncertain")))
        ):
            note(f"{number(unsure)} {_are(unsure)} uncertain: they may have arrived. --status dead leaves them out.")
        if total > ASK_OVER and not yes:
            if not given.ids and not as_json and sys.stdin.isatty():
                print_groups(groups(connection, which), clock(connection))
            confirm(_letters(total), DONE[verb], total)
        batch_id = start_batch(connection, verb, which, per_s, key)
        code = _see_through(connection, batch(connection, batch_id), no_wait, as_json)
        ctx.exit(code or (1 if missing else 0))


def _see_through(connection: Connection, found: Row, no_wait: bool, as_json: bool) -> int:
    """Follow a batch to its end where that is wanted and somebody does it; return the exit code."""
    kept = found["finished_at"] is not None or house_is_kept(connection)
    if kept and not no_wait:
        return _follow(connection, found["id"], as_json)
    if as_json:
        print_json(found)
    else:
        say(f"batch {found['id']} is to {found['verb']} {_letters(found['total'])}. {how_to_go_on(found['id'])}")
    if not kept:
        note(f"{NOBODY}: the first one that starts does batch {found['id']}. {START_ONE}.")
    return 0 if no_wait else NOBODY_DOES_IT


def _follow(connection: Connection, batch_id: int, as_json: bool) -> int:
    try:
        found = follow_batch(connection, batch_id)
    except KeyboardInterrupt:
        return INTERRUPTED
    if as_json:
        print_json(found)
    else:
        say(f"batch {batch_id}: {in_a_line(found)}")
    return 0 if found["state"] == "done" and not found["failed"] else 1


def _tell_count(verb: Verb, total: int, per_s: float | None, as_json: bool, *, dry_run: bool) -> None:
    if as_json:
        print_json({"verb": verb, "count": total, "dry_run": dry_run})
    elif total == 0:
        say("no dead letter is like that; nothing to do")
    else:
        takes = "" if per_s is None else f", in about {age(total / per_s)}"
        say(f"{_letters(total)} would be {DONE[verb]}{takes}; nothing was changed")


def _not_dead(count: int) -> str:
    letters = "no dead letter that meets" if count == 1 else "no dead letters that meet"
    return f"{number(count)} of the ids {_are(count)} {letters} all conditions."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{number(count)} dead letters"
