"""outbox bot"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

import click

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
from outbox.operate.sending_state import SENDS, Row, all_limits, what_holds
from outbox.settings import BOT_NAME, UsageError, load_settings, read_tokens

F = TypeVar("F", bound=Callable[..., Any])

INT: Final = click.INT
NUMBER: Final = click.FLOAT
POLICY: Final[tuple[tuple[str, click.ParamType, str], ...]] = (  # type: ignore[type-arg]
    ("rate", INT, "Messages per rate window; 0: no limit."),
    ("rate_window_s", NUMBER, "Its length in seconds."),
    ("chat_interval_s", NUMBER, "Seconds between two messages to a chat."),
    ("group_limit", INT, "Messages to a group per group window; 0: no limit."),
    ("group_window_s", NUMBER, "Its length in seconds."),
    ("backoff_initial_s", NUMBER, "Longest wait after the first failure."),
    ("backoff_factor", NUMBER, "By which it grows with each."),
    ("backoff_max_s", NUMBER, "Longest wait of all."),
    ("max_attempts", INT, "Calls that may fail before a message is dead."),
    ("breaker_answers", INT, "Answers that the circuit breaker needs to judge."),
    ("breaker_failure_share", NUMBER, "Share of failures that opens it, to 1."),
    ("breaker_open_s", NUMBER, "How long it stays open first."),
    ("breaker_open_max_s", NUMBER, "How long at most."),
    ("breaker_probes", INT, "Calls at a time that try whether it may close."),
    ("idempotency_s", NUMBER, "How long an idempotency key is remembered."),
)
FLAGS: Final = (
    ("keep_payload", "Keep payloads in history."),
    ("allow_paid_broadcast", "Pass allow_paid_broadcast on (again)."),
)


def policy_options(function: F) -> F:
    """Add an option for each part of a bot's policy."""
    for name, help in reversed(FLAGS):
        option = name.replace("_", "-")
        function = click.option(f"--{option}/--no-{option}", name, default=None, help=help)(function)
    for name, kind, help in reversed(POLICY):
        metavar = "N" if kind is INT or not name.endswith("_s") else "SECONDS"
        function = click.option(f"--{name.replace('_', '-')}", name, type=kind, metavar=metavar, help=help)(function)
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
        note(f"set {_variable(name)} where the workers run; here it is not set.")


@command.command("set")
@click.argument("name")
@policy_options
@json_option
def set_(name: str, as_json: bool, **policy: Any) -> None:
    """Change a bot's limits; what is left out stays as it is.

    \b
      outbox bot set default --rate 25
      outbox bot set alerts --group-limit 0 --no-keep-payload

    \b
    Workers follow from their next claim on. Exit: 0 set, 1 failed or no such bot, 2 wrong usage
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
            raise UsageError(f"no token for bot {name!r} is set", f"Set {_variable(name)}")
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


def _variable(name: str) -> str:
    return "OUTBOX_TOKEN" if name == "default" else f"OUTBOX_TOKEN_{name.upper()}"


def _policies(connection: Connection, name: str | None) -> list[Row]:
    """Return each bot's policy beside `bot` and `telegram_id`."""
    columns = ", ".join(column for column, _, _ in POLICY)
    return connection.execute(
        f"SELECT bot, telegram_id, {columns}, keep_payload, paid_broadcast_refused_at IS NULL AS allow_paid_broadcast"
        "  FROM outbox.bot WHERE %(bot)s::text IS NULL OR bot = %(bot)s::text ORDER BY bot".encode(),
        {"bot": name},
    ).fetchall()


def _policy(connection: Connection, name: str) -> Row | None:
    """Return what set_bot can change; None where there is no such bot."""
    found = _policies(connection, name)
    return {name: value for name, value in found[0].items() if name not in ("bot", "telegram_id")} if found else None


def _set(connection: Connection, name: str, policy: Row) -> Row:
    if not BOT_NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} cannot be a bot's name", "Use 1-63 characters a-z 0-9 _ -")
    given = {column: value for column, value in policy.items() if value is not None}
    named = "".join(f", p_{column} => %({column})s" for column in given)
    connection.execute(f"SELECT outbox.set_bot(%(bot)s::text{named})".encode(), {"bot": name} | given)
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
    state = ("stopped", "unauthorised", "paused_until", "paused_reason", "breaker", "breaker_until", "breaker_reason")
    return {
        **policy,
        "holds": what_holds(limits),
        "waiting": limits["depth"],
        "token_here": limits["bot"] in tokens,
        **{name: limits[name] for name in (*state, "tokens_active")},
    }


def _print_all(bots: list[Row]) -> None:
    table(
        None,
        ["bot", "state", "waiting", "limit", "per chat", "per group", "attempts", "token here", "Telegram's id"],
        [
            [
                bot["bot"],
                ", ".join(bot["holds"]) or SENDS,
                number(bot["waiting"]),
                _per(bot["rate"], bot["rate_window_s"]),
                f"1 per {bot['chat_interval_s']:g} s" if bot["chat_interval_s"] else "no limit",
                _per(bot["group_limit"], bot["group_window_s"]),
                bot["max_attempts"],
                bot["token_here"],
                bot["telegram_id"],
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
            *((column, _shown(column, bot[column])) for column, _, _ in POLICY),
            *((column, _shown(column, bot[column])) for column, _ in FLAGS),
        ]
    )


def _per(count: int | None, window_s: float) -> str:
    return "no limit" if count is None else f"{count:,} per {window_s:g} s"
