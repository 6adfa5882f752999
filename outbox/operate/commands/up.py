"""outbox up"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading

import click
import structlog

from outbox.database.connect import database_url
from outbox.observe.logs import EventLog, set_up_logs
from outbox.observe.sampling import Sampler
from outbox.operate.follow_tokens import follow_tokens
from outbox.operate.json_log import json_log_option, print_line
from outbox.settings import load_settings, read_tokens

# A first start waits two seconds for initdb: these are read meanwhile, which would take one more.
MEANWHILE = ("outbox.operate.page.access", "outbox.database.migrate", "outbox.operate.up", "outbox.operate.page.app")


@click.command("up")
@click.option("--verbose", is_flag=True, help="Log each message, not a few of each kind a second.")
@json_log_option
def command(verbose: bool, as_json: bool) -> None:
    """Migrate, deliver, keep house and serve the page, in one process.

    \b
    The way most people run it. Without OUTBOX_DATABASE_URL it uses an embedded PostgreSQL
    and says where. Without a bot token it does the rest; messages wait until one is set.
    The page is at OUTBOX_ADMIN_ADDR, http://127.0.0.1:8480/ by default; `off` for none.
    /metrics, /healthz and /readyz are at OUTBOX_METRICS_ADDR, 127.0.0.1:9464.
    SIGTERM or ^C: finish what is in flight, then end. A second one ends at once.

    \b
      outbox up                                          with nothing set: try it out
      OUTBOX_TOKEN=123:ABC OUTBOX_DATABASE_URL=postgresql://app@db/app outbox up
      outbox up --json 2>up.log | head -1                {"page": "http://127.0.0.1:8480/", …}

    \b
    Exit: 0 stopped by a signal, 130 or 143 while it still started, 1 failed, 2 wrong usage
    """
    reading = threading.Thread(target=_read_meanwhile, daemon=True)
    reading.start()
    from outbox.operate.page.access import refuse_open_door

    settings = load_settings()
    refuse_open_door(settings)
    tokens_file = follow_tokens(settings)
    tokens = read_tokens(os.environ, settings.tokens_file)
    set_up_logs("json" if as_json else settings.log, verbose=verbose)
    name = f"{socket.gethostname()}:{os.getpid()}"

    def say(text: str) -> None:
        if as_json:
            structlog.stdlib.get_logger("outbox").info(text)
        else:
            click.echo(f"outbox: {text}", err=True)

    def ready(page: str | None, metrics: str | None) -> None:
        if as_json:
            worker_name = name if tokens else None
            print_line({"page": page, "metrics": metrics, "worker": worker_name, "bots": sorted(tokens)})
            return
        if metrics is not None:
            say(f"metrics are at {metrics}")
        if page is not None:
            say(f"the page is at {page}")

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(database_url(settings, "up", echo=say))
        reading.join()
        from outbox.database.migrate import is_current, migrate
        from outbox.deliver.worker import Worker
        from outbox.observe.monitor import Monitor
        from outbox.operate.up import run, work_with_page

        monitor = Monitor(name, also=EventLog(name, sampler=None if verbose else Sampler()))

        def end_at_once(status: int) -> None:
            try:
                stack.close()  # the embedded server must not outlive an impatient Ctrl-C
            finally:
                os._exit(status)

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
                emit=monitor,
                environment=settings.environment,
                only_chats=settings.only_chats,
                tokens_file=tokens_file,
                spool_dir=settings.data_dir / "spool",
            )
        else:
            say("no bot token is set, so messages wait. Set OUTBOX_TOKEN, or OUTBOX_TOKEN_<NAME> for the bot <name>.")
        run(work_with_page(url, settings, worker, name, monitor, say, ready, end_at_once))


def _read_meanwhile() -> None:
    # What is missing, such as Jinja2, is told where it is needed.
    for name in MEANWHILE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
