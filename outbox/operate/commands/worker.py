"""outbox worker"""

import os
import socket

import click

from outbox.database.connect import database_url
from outbox.deliver import events
from outbox.deliver.worker import CONCURRENCY, GRACE_S, Worker
from outbox.observe.logs import EventLog, set_up_logs
from outbox.observe.monitor import Monitor
from outbox.observe.sampling import Sampler
from outbox.operate.follow_tokens import follow_tokens
from outbox.operate.json_log import json_log_option, print_line
from outbox.operate.up import run, work_and_keep_house
from outbox.settings import UsageError, load_settings, read_tokens, token_source


@click.command("worker")
@click.option("--bots", metavar="NAME,...", help="Serve only these of the bots that have a token.")
@click.option("--name", help="Name in outbox.worker and in log lines (default: host:pid).")
@click.option(
    "--grace-s",
    type=click.FloatRange(min=0),
    default=GRACE_S,
    show_default=True,
    help="Seconds that requests in flight get when the worker is told to stop.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Most messages in flight; a bot needs its rate x 8 s, the longest that Telegram holds a call.",
)
@click.option("--verbose", is_flag=True, help="Log each message, not a few of each kind a second.")
@json_log_option
def command(bots: str | None, name: str | None, grace_s: float, concurrency: int, verbose: bool, as_json: bool) -> None:
    """Deliver the messages of OUTBOX_DATABASE_URL for the bots of OUTBOX_TOKEN and OUTBOX_TOKEN_<NAME>.

    \b
    Run as many as you like: they share the limits. SIGTERM or ^C: stop claiming, finish
    what is in flight, give the rest back. A second one ends at once.
    /metrics, /healthz and /readyz are at OUTBOX_METRICS_ADDR, 127.0.0.1:9464 by default.

    \b
      OUTBOX_TOKEN=123:ABC OUTBOX_DATABASE_URL=postgresql://app@db/app outbox worker
      outbox worker --bots alerts --json 2>worker.log    {"worker": "host:1", "bots": ["alerts"], …}

    \b
    Exit: 0 stopped by a signal, 1 failed, 2 wrong usage
    """
    settings = load_settings()
    tokens_file = follow_tokens(settings)
    tokens = read_tokens(os.environ, settings.tokens_file)
    wanted = [bot.strip().lower() for bot in bots.split(",") if bot.strip()] if bots is not None else None
    if not tokens:
        raise UsageError("no bot token is set", "Set OUTBOX_TOKEN, or OUTBOX_TOKEN_<NAME> for the bot of that name")
    if wanted == []:
        raise UsageError("--bots names no bot", "Leave it out to serve all that have a token")
    for bot in wanted or ():
        if bot not in tokens:
            raise UsageError(f"no token for bot {bot!r}", f"Set {token_source(bot)}, or leave it out of --bots")
    set_up_logs("json" if as_json else settings.log, verbose=verbose)
    name = name or f"{socket.gethostname()}:{os.getpid()}"
    log = EventLog(name, sampler=None if verbose else Sampler())
    metrics: list[str | None] = [None]

    def tell(event: events.Event) -> None:
        if as_json and isinstance(event, events.Started):
            print_line({"worker": event.name, "bots": list(event.bots), "metrics": metrics[0]})
        log(event)

    def say(text: str) -> None:
        click.echo(f"outbox: {text}", err=True)

    def ready(url: str | None) -> None:
        metrics[0] = url

    monitor = Monitor(name, also=tell)
    with database_url(settings, "worker") as url:
        worker = Worker(
            url,
            tokens,
            settings.api_url,
            name=name,
            bots=wanted,
            emit=monitor,
            grace_s=grace_s,
            concurrency=concurrency,
            environment=settings.environment,
            only_chats=settings.only_chats,
            tokens_file=tokens_file,
            spool_dir=settings.data_dir / "spool",
        )
        run(work_and_keep_house(worker, name, monitor, settings, say, ready))
