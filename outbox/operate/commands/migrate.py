"""outbox migrate"""

from __future__ import annotations

import sys

import click

from outbox.database.connect import database_url
from outbox.database.migrate import head_revision, migrate, migrate_sql
from outbox.operate.console import json_option, print_json
from outbox.settings import UsageError, load_settings


@click.command("migrate")
@click.option("--sql", "as_sql", is_flag=True, help="Print the script instead of running it, for a DBA's psql.")
@click.option("--from", "since", metavar="REVISION", help="With --sql: the revision the database is at. Default: none.")
@json_option
def command(as_sql: bool, since: str | None, as_json: bool) -> None:
    """Make or upgrade the tables, functions and grants in OUTBOX_DATABASE_URL.

    One transaction, everything or nothing; safe to start on many machines at once, and to run again. Workers may go on:
    those of the last release work on the new schema. Needs CREATE on the database, no superuser.

    \b
      outbox migrate
      outbox migrate --sql > outbox.sql && psql -v ON_ERROR_STOP=1 -f outbox.sql
      psql -Atc 'SELECT version_num FROM outbox.alembic_version'    what to give to --from

    \b
    Exit: 0 done, 1 failed and nothing changed, 2 wrong usage
    """
    if as_sql and as_json:
        raise UsageError("--sql prints a script, not JSON", "Leave --json out")
    if as_sql:
        sys.stdout.buffer.write(migrate_sql(since).encode())
        return
    if since is not None:
        raise UsageError("--from is for --sql: a migration reads where the database is", "Leave --from out")
    notices: list[str] = []
    with database_url(load_settings(), "migrate") as url:
        migrate(url, echo=notices.append)
    for notice in notices:
        click.echo(f"outbox: {notice}", err=True)
    if as_json:
        print_json({"revision": head_revision(), "notices": notices})
        return
    click.echo(f"schema outbox is at {head_revision()}, and its functions are this version's")
