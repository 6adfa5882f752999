"""outbox up"""

from __future__ import annotations

import os
import socket

import click

from outbox.database.connect import database_url
from outbox.database.migrate import is_current, migrate
from outbox.deliver.worker import Worker
from outbox.observe.logs import EventLog, set_up_logs
from outbox.operate.page.access import refuse_open_door
from outbox.operate.up import follow_tokens, run, work_with_page
from outbox.settings import load_settings, read_tokens


@click.command("up")
@click.option("--verbose", is_flag=True, help="Log each message sent.")
def command(verbose: bool) -> None:
    """Migrate, deliver, keep house and serve the page, in one process.

    \b
    The way most people run it. Without OUTBOX_DATABASE_URL it uses an embedded PostgreSQL
    and says where. Without a bot token it does the rest; messages wait until one is set.
    The page is at OUTBOX_ADMIN_ADDR, http://127.0.0.1:8480/ by default; `off` for none.

    \b
      OUTBOX_TOKEN=123:ABC OUTBOX_DATABASE_URL=postgresql://app@db/app outbox up

    \b
    Exit: 0 stopped by a signal, 1 failed, 2 wrong usage
    """
    settings = load_settings()
    refuse_open_door(settings)
    tokens_file = follow_tokens(settings)
    tokens = read_tokens(os.environ, settings.tokens_file)
    set_up_logs(settings.log, verbose=verbose)
    name = f"{socket.gethostname()}:{os.getpid()}"

    def say(text: str) -> None:
        click.echo(f"outbox: {text}", err=True)

    with database_url(settings, "up", echo=say) as url:
        # Only when something changed: replacing views waits for whoever reads them.
        if not is_current(url):
            migrate(url, echo=say)
        worker = None
        if tokens:
            worker = Worker(
                url,
                tokens,
                settings.api_url,
                name=name,
                emit=EventLog(name),
                environment=settings.environment,
                only_chats=settings.only_chats,
                tokens_file=tokens_file,
                spool_dir=settings.data_dir / "spool",
            )
        else:
            say("no bot token is set, so messages wait. Set OUTBOX_TOKEN, or OUTBOX_TOKEN_<NAME> for the bot <name>.")
        run(work_with_page(url, settings, worker, name, say))
