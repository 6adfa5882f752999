"""What this machine brings: whose it says it is, bot tokens, results that a worker could not tell the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

from psycopg.types.json import Jsonb
from pydantic import SecretStr

from outbox.deliver.identity import Difference, telegram_id
from outbox.deliver.spool import SUFFIX
from outbox.operate.console import age
from outbox.operate.doctor.finding import Finding, failure
from outbox.operate.doctor.session import Session
from outbox.settings import Settings, UsageError, read_tokens, token_source


def identity(session: Session, settings: Settings) -> Iterator[Finding]:
    """Whether the database is this environment's own, as workers would see it."""
    tokens = _tokens(settings)
    ids = {bot: telegram_id(token) for bot, token in tokens.items()}
    rows = session.ask(
        "SELECT what, bot, remembered, present FROM outbox.identity_differs(%s::text, %s::jsonb)",
        (settings.environment, Jsonb(ids)),
    )
    for row in rows:
        yield Finding(
            "identity",
            "fail",
            f"{Difference(*row)}: workers like this refuse to deliver",
            "Set OUTBOX_ENVIRONMENT and tokens as the workers have them. Moved or copied: outbox adopt --help",
        )
    if not rows:
        bots = f" and {len(ids)} of its bots" if ids else ""
        yield Finding("identity", "ok", f"the database is that of environment {settings.environment!r}{bots}")


def embedded_server(settings: Settings) -> list[Finding]:
    """Whether the embedded server of this machine stands still; nothing where it was never started, or may not be seen.

    For where no other database is named, and it could not be joined.
    """
    try:
        was_made = settings.database_url is None and (settings.data_dir / "postgres" / "data").exists()
    except OSError:
        was_made = False
    if not was_made:
        return []
    text = f"OUTBOX_DATABASE_URL is not set, and the embedded PostgreSQL in {settings.data_dir} does not run"
    return [Finding("connection", "fail", text, "Start it: outbox up, or outbox db start")]


def tokens(session: Session | None, settings: Settings) -> Iterator[Finding]:
    """Whether each bot that messages wait for has a bot token here or a worker elsewhere; no session: what is set."""
    try:
        known = read_tokens(os.environ, settings.tokens_file)
    except UsageError as error:
        yield failure("tokens", str(error))
        return
    set_here = f"set here for {', '.join(sorted(known))}" if known else "none is set here"
    if session is None:
        yield Finding("tokens", "ok", set_here)
        return
    bots = {str(bot) for (bot,) in session.ask("SELECT bot FROM outbox.bot")}
    waiting = session.ask("SELECT bot, is_due, messages, is_served FROM outbox.bots_waiting()")
    found = []
    for bot in sorted(known.keys() - bots):
        text = f"there is a token for bot {bot}, which the database does not know"
        found.append(Finding("tokens", "warn", text, f"outbox bot add {bot}, or unset the token"))
    for bot, is_due, messages, is_served in waiting:
        if bot in known or is_served:
            continue
        count = "messages wait" if messages is None else f"{messages:,} messages wait"
        if messages == 1:
            count = "1 message waits"
        text = f"no token for bot {bot} is set here, no worker serves it, and {count}"
        found.append(
            Finding(
                "tokens", "fail" if is_due else "warn", text, f"Set {token_source(bot)}, or run: outbox pause {bot}"
            )
        )
    yield from found or [Finding("tokens", "ok", f"{set_here}; each bot with messages has a token or a worker")]


def spool(settings: Settings) -> Iterator[Finding]:
    """Whether results lie on this machine's disk that the database does not know of yet."""
    folder = settings.data_dir / "spool"
    try:
        kept = [path.stat() for path in folder.glob(f"*{SUFFIX}")]
    except OSError as error:
        yield Finding(
            "spool", "warn", f"{folder} cannot be read: {error.strerror}", "Run outbox doctor as the worker's user"
        )
        return
    full = [status for status in kept if status.st_size]
    if not full:
        yield Finding("spool", "ok", f"{folder} holds no results")
        return
    newest_s = time.time() - max(status.st_mtime for status in full)
    yield Finding(
        "spool",
        "warn",
        f"{len(full)} file{'s' * (len(full) > 1)} in {folder} with results that the database may not know of,"
        f" written {age(newest_s)} ago",
        "A worker that runs hands them over once the database is back. Else start one here, with this OUTBOX_DATA_DIR",
    )


def _tokens(settings: Settings) -> Mapping[str, SecretStr]:
    try:
        return read_tokens(os.environ, settings.tokens_file)
    except UsageError:  # tokens() says so
        return {}
