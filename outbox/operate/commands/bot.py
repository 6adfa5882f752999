"""outbox bot"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

import click

from outbox.operate.bot_limits import Row, all_limits, holds_of, told
from outbox.operate.check_tokens import check_tokens
from outbox.operate.console import (
    CommandFailed,
    Connection,
    connected,
    facts,
    json_option,
    note,
    number,
    print_json,
    say,
    table,
)
from outbox.operate.policy import OPTIONS, policy_of, set_bot_call
from outbox.operate.sending_state import SENDS
from outbox.settings import BOT_NAME, UsageError, load_settings, read_tokens, token_source

F = TypeVar("F", bound=Callable[..., Any])

KINDS: Final = {"int": click.INT, "float8": click.FLOAT}


def policy_options(function: F) -> F:
    """Add an option for each part of a bot's policy."""
    for one in reversed(OPTIONS):
        flag = one.name.replace("_", "-")
        help = f"{one.label.removesuffix(', s')}: {one.hint}."
        if one.kind == "boolean":
            made = click.option(f"--{flag}/--no-{flag}", one.name, default=None, help=help)
        else:
            metavar = "SECONDS" if one.name.endswith("_s") else "N"
            made = click.option(f"--{flag}", one.name, type=KINDS[one.kind], metavar=metavar, help=help)
        function = made(function)
    return function


@click.group("bot")
def command() -> None:
    """Add bots, change their limits, check their tokens.

    \b
      outbox bot add alerts --rate 20
      outbox bot list
      outbox bot check

    \b
    Bot tokens are no part of the database: OUTBOX_TOKEN_<NAME> holds that of bot <name>,
    where the workers run.

    \b
    Exit: 0 done, 1 failed, 2 wrong usage
    """


@command.command("add")
@click.argument("name")
@policy_options
@json_option
def add(name: str, as_json: bool, **policy: Any) -> None:
    """Add a bot; what is left out has Telegram's usual limits.

    \b
      outbox bot add alerts
      outbox bot add alerts --rate 20 --max-attempts 5

    \b
    Exit: 0 added, 1 failed or it exists, 2 wrong usage
    """
    name = name.lower()
    with connected("bot add") as connection:
        if _policy(connection, name) is not None:
            raise CommandFailed(f"bot {name!r} exists. Change it: outbox bot set {name} --rate …")
        after = _set(connection, name, policy)
    if as_json:
        print_json({"bot": name, "before": None, "after": after})
        return
    say(f"bot {name} is added")
    facts([(column, _shown(column, value)) for column, value in after.items()])
    if name not in _tokens():
        note(f"set {token_source(name)} where the workers run; here it is not set.")


@command.command("set")
@click.argument("name")
@policy_options
@json_option
def set_(name: str, as_json: bool, **policy: Any) -> None:
    """Change a bot's limits; what is left out stays as it is.

    \b
      outbox bot set default --rate 25
      outbox bot set alerts --group-limit 0 --no-keep-payload

    Workers follow from their next claim on.

    \b
    Exit: 0 set, 1 failed or no such bot, 2 wrong usage
    """
    name = name.lower()
    if all(value is None for value in policy.values()):
        raise UsageError("nothing says what to change", f"Name it, as in: outbox bot set {name} --rate 20")
    with connected("bot set") as connection:
        before = _policy(connection, name)
        if before is None:
            raise CommandFailed(f"bot {name!r} does not exist. Add it: outbox bot add {name}")
        after = _set(connection, name, policy)
    changed = {column for column in after if after[column] != before[column]}
    if as_json:
        print_json({"bot": name, "before": before, "after": after, "changed": sorted(changed)})
    elif not changed:
        say(f"bot {name} is as it was")
    else:
        table(
            f"bot {name}",
            ["", "before", "after"],
            [
                [column, _shown(column, before[column]), _shown(column, after[column])]
                for column in after
                if column in changed
            ],
        )


@command.command("list")
@click.argument("name", required=False)
@json_option
def list_(name: str | None, as_json: bool) -> None:
    """List bots: limits, what holds them, whether a token is here.

    \b
      outbox bot list
      outbox bot list alerts      all of its policy

    \b
    Exit: 0 done, 1 failed or no such bot, 2 wrong usage
    """
    tokens = _tokens()
    with connected("bot list") as connection:
        rows = all_limits(connection, name)
        if name is not None and not rows:
            raise CommandFailed(f"bot {name!r} does not exist. Add it: outbox bot add {name.lower()}")
        policies = {row["bot"]: row for row in _policies(connection, rows[0]["bot"] if name is not None else None)}
    bots = [_described(row, policies[row["bot"]], tokens) for row in rows if row["bot"] in policies]
    if as_json:
        print_json(bots)
        return
    if name is not None:
        _print_one(bots[0])
    else:
        _print_all(bots)
        for bot in sorted(tokens - {bot["bot"] for bot in bots}):
            note(f"a token for {bot!r} is here, and no such bot. Add it: outbox bot add {bot}")


@command.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
@click.pass_context
def check(ctx: click.Context, /, names: tuple[str, ...], as_json: bool) -> None:
    """Ask Telegram (getMe) whether it takes the tokens set here.

    \b
      OUTBOX_TOKEN=123:ABC outbox bot check
      outbox bot check alerts

    \b
    Exit: 0 all are taken and the database's own, 1 one is not, 2 wrong usage
    """
    settings = load_settings()
    tokens = read_tokens(os.environ, settings.tokens_file)
    wanted = [name.lower() for name in names]
    for name in wanted:
        if name not in tokens:
            raise UsageError(f"no token for bot {name!r} is set", f"Set {token_source(name)}")
    if not tokens:
        raise UsageError("no bot token is set", "Set OUTBOX_TOKEN, or OUTBOX_TOKEN_<NAME> for the bot of that name")
    asked = {name: token for name, token in tokens.items() if not wanted or name in wanted}
    with connected("bot check") as connection:
        known = {row["bot"]: row["telegram_id"] for row in _policies(connection, None)}
    found = check_tokens(asked, settings.api_url, known)
    if as_json:
        print_json([asdict(one) | {"in_database": one.bot in known} for one in found])
    else:
        table(
            None,
            ["bot", "verdict", "Telegram's id", "name", "what is wrong"],
            [[one.bot, "ok" if one.ok else "failed", one.telegram_id, one.name, one.error] for one in found],
        )
    for one in found:
        if one.bot not in known:
            note(f"no bot {one.bot!r} is in the database. Add it: outbox bot add {one.bot}")
    ctx.exit(0 if all(one.ok for one in found) else 1)


def _tokens() -> set[str]:
    return set(read_tokens(os.environ, load_settings().tokens_file))


def _policies(connection: Connection, name: str | None) -> list[Row]:
    """Return each bot's policy beside `bot` and `telegram_id`."""
    rows = connection.execute(
        "SELECT * FROM outbox.bot WHERE %(bot)s::text IS NULL OR bot = %(bot)s::text ORDER BY bot", {"bot": name}
    ).fetchall()
    return [{"bot": row["bot"], "telegram_id": row["telegram_id"]} | policy_of(row) for row in rows]


def _policy(connection: Connection, name: str) -> Row | None:
    """Return what set_bot can change; None where there is no such bot."""
    found = _policies(connection, name)
    return {one.name: found[0][one.name] for one in OPTIONS} if found else None


def _set(connection: Connection, name: str, policy: Row) -> Row:
    if not BOT_NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} cannot be a bot's name", "Use 1-63 characters a-z 0-9 _ -")
    call, parameters = set_bot_call(name, {column: value for column, value in policy.items() if value is not None})
    connection.execute(call.encode(), parameters)
    after = _policy(connection, name)
    assert after is not None
    return after


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g} s" if column.endswith("_s") else f"{value:g}"


def _described(limits: Row, policy: Row, tokens: set[str]) -> Row:
    state = (
        "served",
        "stopped",
        "unauthorised",
        "paused_until",
        "paused_reason",
        "breaker",
        "breaker_until",
        "breaker_reason",
    )
    return {
        **policy,
        "holds": list(map(told, holds_of(limits))),
        "waiting": limits["depth"],
        "token_here": limits["bot"] in tokens,
        **{name: limits[name] for name in ("served", *state, "tokens_active")},
    }


def _print_all(bots: list[Row]) -> None:
    table(
        None,
        ["bot", "state", "waiting", "limit", "per chat", "per group", "attempts", "token here"],
        [
            [
                bot["bot"],
                next(iter(bot["holds"]), SENDS),  # all of them: outbox bot list NAME
                number(bot["waiting"]),
                _per(bot["rate"], bot["rate_window_s"]),
                f"1 per {bot['chat_interval_s']:g} s" if bot["chat_interval_s"] else "no limit",
                _per(bot["group_limit"], bot["group_window_s"]),
                bot["max_attempts"],
                bot["token_here"],
            ]
            for bot in bots
        ],
    )


def _print_one(bot: Row) -> None:
    facts(
        [
            ("bot", bot["bot"]),
            ("state", ", ".join(bot["holds"]) or SENDS),
            ("waiting", number(bot["waiting"])),
            ("token here", bot["token_here"]),
            ("Telegram's id", bot["telegram_id"]),
            *((one.name, _shown(one.name, bot[one.name])) for one in OPTIONS),
        ]
    )


def _per(count: int | None, window_s: float) -> str:
    return "no limit" if count is None else f"{count:,} per {window_s:g} s"
