"""outbox adopt"""

from __future__ import annotations

import os
from typing import Any

import click
import psycopg
from psycopg.types.json import Jsonb

from outbox.database.connect import database_url
from outbox.deliver.identity import Difference, telegram_id
from outbox.operate.console import json_option, print_json
from outbox.settings import UsageError, load_settings, read_tokens

CONNECT_TIMEOUT_S = 5


@click.command("adopt")
@click.option("--send", is_flag=True, help="Then deliver what waits: nobody else will.")
@click.option("--hold", is_flag=True, help="Keep what waits for a person: the original may have sent it.")
@click.option("--dry-run", is_flag=True, help="Say what differs and how much waits; change nothing.")
@json_option
def command(send: bool, hold: bool, dry_run: bool, as_json: bool) -> None:
    """Make a moved or copied database this environment's own.

    \b
    A database remembers OUTBOX_ENVIRONMENT, the Telegram bots behind its names and on which server
    it lies. Workers refuse one that remembers something else: a copy of production would send
    everything again. Run this once, with the variables of the workers and while none runs.

    \b
      --send   moved: pg_upgrade, dump and restore, blue/green; the original is gone
      --hold   copied: the original goes on. What waits becomes dead letters of status
               uncertain, error_class adopted; what is inserted later is delivered

    \b
      OUTBOX_ENVIRONMENT=staging OUTBOX_TOKEN=123:ABC outbox adopt --hold

    \b
    Exit: 0 done, 1 failed or a worker still runs, 2 wrong usage
    """
    if send == hold:
        raise UsageError(
            "adopt needs one of --send and --hold",
            "--send where this database has replaced the original, --hold where the original goes on",
        )
    settings = load_settings()
    telegram_ids = {bot: telegram_id(token) for bot, token in read_tokens(os.environ, settings.tokens_file).items()}
    with (
        database_url(settings, "adopt") as url,
        psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="outbox adopt",
        ) as connection,
    ):
        if not telegram_ids:
            click.echo("no bot token is set: the bots stay those that the database remembers", err=as_json)
        differences = [
            Difference(*row)
            for row in connection.execute(
                "SELECT what, bot, remembered, present FROM outbox.identity_differs(%s::text, %s::jsonb)",
                (settings.environment, Jsonb(telegram_ids)),
            )
        ]
        if not as_json:
            for difference in differences:
                click.echo(str(difference))
        report: dict[str, Any] = {
            "environment": settings.environment,
            "adopted": not dry_run,
            "differences": [difference._asdict() for difference in differences],
        }
        if dry_run:
            [waiting] = _one(connection, "SELECT coalesce(sum(depth), 0) FROM outbox.queue")
            report["waiting"] = waiting
            told = f"{waiting:,} messages wait and would be {'held' if hold else 'sent'}; nothing was changed"
        else:
            held = _adopt(connection, settings.environment, telegram_ids, hold)
            report["held"] = held
            told = f"{held:,} messages are held as dead letters" if hold else "what waits is sent by the next worker"
            told = f"adopted as {settings.environment!r}: {told}"
    if as_json:
        print_json(report)
    else:
        click.echo(told)


def _adopt(connection: psycopg.Connection[Any], environment: str, telegram_ids: dict[str, int], hold: bool) -> int:
    """Adopt in as many batches as it takes; return how many messages are held now."""
    total = 0
    last_id, until_id, adopted = 0, None, False
    while not adopted:
        held, last_id, until_id, adopted = _one(
            connection,
            "SELECT held, last_id, until_id, adopted"
            "  FROM outbox.adopt(%s::text, %s::jsonb, %s::boolean, %s::bigint, %s::bigint)",
            (environment, Jsonb(telegram_ids), hold, last_id, until_id),
        )
        total += held
    return total


def _one(connection: psycopg.Connection[Any], query: str, parameters: tuple[object, ...] = ()) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return tuple(row)
