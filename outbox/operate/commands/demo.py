"""outbox demo"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import secrets
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from outbox.database.connect import database_url
from outbox.database.migrate import migrate
from outbox.operate import demo
from outbox.operate.console import json_option, print_json
from outbox.operate.stage import scratch_database
from outbox.settings import load_settings

SAY_EVERY_S = 5.0
LOG_LINES = 20


@click.command("demo")
@json_option
def command(as_json: bool) -> None:
    """Deliver a backlog under Telegram's limits, and say what happened. Takes about 45 s.

    \b
    1,200 messages for 300 chats wait in a database of its own, which is dropped afterwards. A
    strict simulator plays Telegram: 30 a second, 1 a second per chat, network jitter of 0-30 ms.
    Two workers deliver.

    \b
      outbox demo
      outbox demo --json | jq .utilisation

    \b
    Exit: 0 all delivered, in order, without a 429; 1 not so; 2 wrong usage
    """
    settings = load_settings()
    console = Console(stderr=as_json)
    with (
        database_url(settings, "demo", echo=lambda text: console.print(text, style="dim", soft_wrap=True)) as server,
        scratch_database(server, f"outbox_demo_{secrets.token_hex(4)}") as url,
        tempfile.TemporaryFile() as log,
    ):
        migrate(url)
        console.print(
            f"{demo.MESSAGES:,} messages wait for {demo.CHATS} chats; "
            f"a simulator with Telegram's limits and {demo.WORKERS} workers start now.",
            soft_wrap=True,
        )
        with _progress(console) as show:
            report = asyncio.run(demo.deliver_backlog(url, log, show))
        if as_json:
            print_json(_document(report))
        else:
            _print(console, report)
        if report.failures:
            log.seek(0)
            console.print("The workers' last log lines:", *_last_lines(log.read()), sep="\n", markup=False)
    sys.exit(1 if report.failures else 0)


def _last_lines(log: bytes) -> list[str]:
    return log.decode(errors="replace").splitlines()[-LOG_LINES:]


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[demo.Show]:
    if not console.is_terminal or console.is_dumb_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("delivering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]:.1f}/s  429s: {task.fields[refused]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=demo.MESSAGES, rate=0.0, refused=0)

        def show(delivered: int, took_s: float, stats: dict[str, Any]) -> None:
            progress.update(
                task,
                completed=delivered,
                rate=delivered / took_s if took_s else 0.0,
                refused=sum(stats["rejected"].values()),
            )

        yield show


def _lines(console: Console) -> demo.Show:
    said_s = -SAY_EVERY_S

    def show(delivered: int, took_s: float, stats: dict[str, Any]) -> None:
        nonlocal said_s
        if took_s - said_s >= SAY_EVERY_S or delivered == demo.MESSAGES:
            said_s = took_s
            refused = sum(stats["rejected"].values())
            console.print(f"  {took_s:5.1f} s  {delivered:5,} of {demo.MESSAGES:,} delivered  429s: {refused}")

    return show


def _document(report: demo.Report) -> dict[str, Any]:
    facts = dataclasses.asdict(report)
    facts["utilisation"] = None if math.isnan(report.utilisation) else report.utilisation
    facts["waits"] = [
        {"priority": demo.PRIORITIES[priority], "messages": count, "p50_s": p50, "p99_s": p99}
        for priority, (count, p50, p99) in sorted(report.waits.items())
    ]
    return facts | {"messages": demo.MESSAGES, "limit_per_s": demo.RATE, "failures": report.failures}


def _print(console: Console, report: demo.Report) -> None:
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("sent", f"{report.sent:,} of {demo.MESSAGES:,} in {report.took_s:.1f} s")
    facts.add_row("429s", str(report.refused))
    facts.add_row("highest count in one second", f"{report.most_in_1s} (limit {demo.RATE})")
    facts.add_row("utilisation of the limit", f"{report.utilisation:.3f}")
    facts.add_row("chats out of order", str(len(report.out_of_order)))
    facts.add_row("rows left", str(report.left))
    facts.add_row("dead letters", str(report.dead))
    console.print(facts)
    waits = Table("wait by priority", box=None, pad_edge=False)
    for heading in ("messages", "p50 s", "p99 s"):
        waits.add_column(heading, justify="right")
    for priority, (count, p50, p99) in sorted(report.waits.items()):
        waits.add_row(f"{priority} {demo.PRIORITIES[priority]}", f"{count:,}", f"{p50:.1f}", f"{p99:.1f}")
    console.print(waits)
    for failure in report.failures:
        console.print(f"FAILED: {failure}", style="bold red")
    if not report.failures:
        console.print("All delivered, in order, without a single 429.", style="bold green")
