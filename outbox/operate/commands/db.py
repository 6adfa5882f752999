"""outbox db: the embedded server by hand"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import click
from psycopg import pq

from outbox.database.binaries import installed_programs
from outbox.database.connect import database_url
from outbox.database.embedded import EmbeddedServer
from outbox.operate.console import json_option, print_json
from outbox.settings import UsageError, load_settings


@click.group("db")
def command() -> None:
    """Start, stop and look into the embedded PostgreSQL (for trying out; OUTBOX_DATABASE_URL names a real one).

    `outbox up` and `outbox demo` start and stop it themselves. Its data stays in OUTBOX_DATA_DIR.

    \b
      outbox db start
      outbox db psql -c 'TABLE outbox.queue'
      OUTBOX_DATABASE_URL=$(outbox db url) outbox worker

    \b
    Exit: 0 done, 1 failed, 2 wrong usage; psql has its own
    """


@command.command("start")
@json_option
def start(as_json: bool) -> None:
    """Start the server and keep it running until `outbox db stop`.

    \b
      outbox db start

    \b
    Exit: 0 it runs, 1 failed, 2 wrong usage
    """
    server = _own_server()
    server.start()
    if as_json:
        print_json({"running": True, "data_dir": str(server.data_dir), "log": str(server.log)})
        return
    click.echo(f"the embedded PostgreSQL runs in {server.data_dir}, log in {server.log}")
    click.echo("its URL, password included: outbox db url")


@command.command("stop")
@json_option
def stop(as_json: bool) -> None:
    """Stop the server; the data stays. While other programs use it, it goes on until the last one ends.

    \b
      outbox db stop

    \b
    Exit: 0 stopped, or it will be when the last program ends, 1 failed, 2 wrong usage
    """
    server = _own_server()
    stopped = server.stop()
    if as_json:
        print_json({"running": not stopped, "data_dir": str(server.data_dir)})
    elif stopped:
        click.echo(f"the embedded PostgreSQL in {server.data_dir} does not run")
    else:
        click.echo("other programs use the server; it stops when the last one ends")


@command.command("url")
@json_option
def url(as_json: bool) -> None:
    """Print the URL of the server that `outbox db start` started, password included.

    \b
      OUTBOX_DATABASE_URL=$(outbox db url) outbox worker
      outbox db url --json | jq -r .url

    \b
    Exit: 0 done, 1 failed, 2 wrong usage, or it does not run
    """
    server = _own_server()
    if not server.is_running():
        raise UsageError("the embedded PostgreSQL does not run", "Run: outbox db start")
    if as_json:
        print_json({"url": server.url}, scrubbed=False)
    else:
        click.echo(server.url)


@command.command("psql", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on OUTBOX_DATABASE_URL, or else on the embedded server. ARGUMENTS go to psql.

    \b
      outbox db psql
      outbox db psql -c 'TABLE outbox.queue'

    \b
    Exit: that of psql: 0 done, 1 failed, 2 no connection, 3 a script failed
    """
    settings = load_settings()
    with database_url(settings, "db", echo=lambda text: click.echo(f"outbox: {text}", err=True)) as address:
        program = shutil.which("psql")
        if program is None:
            program = str(installed_programs() / "bin" / "psql")
        # By the environment, not the command line: every user of the machine can read that.
        environment = os.environ | _connection_environment(address)
        sys.stdout.flush()
        # Ctrl-C cancels psql's query; the server must not stop under it. A handler, because psql would inherit SIG_IGN.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        done = subprocess.run([program, *arguments], env=environment, check=False)  # noqa: S603
    sys.exit(done.returncode)


def _own_server() -> EmbeddedServer:
    settings = load_settings()
    if settings.database_url is not None:
        raise UsageError(
            "OUTBOX_DATABASE_URL is set, so the embedded PostgreSQL is not in use", "Unset it to start, stop or name it"
        )
    return EmbeddedServer(settings.data_dir)


def _connection_environment(address: str) -> dict[str, str]:
    options = pq.Conninfo.parse(address.encode())
    return {
        option.envvar.decode(): option.val.decode()
        for option in options
        if option.envvar is not None and option.val is not None
    }
