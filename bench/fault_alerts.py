"""Which alerts each fault of the simulator fires: python -m bench.fault_alerts [--only NAME] [--write].

Every fault is switched on alone, on a worker that has been sending well, with a Prometheus that scrapes it and
evaluates the rules each second. All durations of the thresholds, and of housekeeping, are divided by 60, so that 20 s
stand for 20 minutes. A fault must fire the alerts that name it, and no critical one that does not; what follows from a
fault by itself (a broken API opens the breaker, so critical messages wait) is listed with it. --write puts the table
into docs/runbook.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import psycopg
import yaml
from pydantic import SecretStr

from bench.server import bench_server
from grafana.build.alerts import rules
from outbox.deliver.worker import Worker
from outbox.observe import exporter
from outbox.observe.monitor import Monitor
from outbox.observe.thresholds import read_thresholds
from outbox.operate import housekeeping
from outbox.operate.housekeeping import Housekeeper
from outbox.operate.stage import TOKEN, Simulator, simulator_process
from outbox.settings import Address
from tests.grafana.prometheus import Prometheus, prometheus

SCALE: Final = 60
FAULT_S: Final = 20.0
CHATS: Final = 100
PER_S: Final = 10
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "runbook.md"
BEGIN, END = "<!-- faults: made by python -m bench.fault_alerts --write -->\n", "<!-- /faults -->\n"

# Where nothing is sent, critical messages wait too, and at the pace of the bench the backlog is soon long.
NOTHING_GOES: Final = ("CriticalMessageWaits",)
API_IS_BROKEN: Final = ("DeliveryFailing", *NOTHING_GOES)


class Case(NamedTuple):
    """A fault, the alerts that name it, and critical ones that follow from it."""

    name: str
    rule: dict[str, Any]
    names: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    method: str = "sendMessage"
    seconds: float = FAULT_S
    why_none: str = ""
    """Why no alert names it."""


CASES: Final = (
    Case("none", {}, why_none="all is well"),
    Case("status 502", {"effect": "status", "status": 502, "body": "html"}, ("BreakerOpen",), API_IS_BROKEN),
    Case(
        "status 400",
        {"effect": "status", "status": 400, "description": "Bad Request: message text is empty"},
        ("DeliveryFailing",),
    ),
    Case(
        "flood of chats",
        {"match": {"share": 0.1}, "effect": "flood", "retry_after_s": 2},
        ("TooManyRequests", "BotFlooded"),
        NOTHING_GOES,
    ),
    Case(
        "flood of the bot",
        {"effect": "flood", "retry_after_s": 5, "scope": "bot"},
        ("BotFlooded",),
        ("BotFlooded", *NOTHING_GOES),
    ),
    # Held for 2 to 4 s where a minute is a second: a critical message that waits on its way for minutes.
    Case("stall", {"effect": "stall", "seconds": [2, 4]}, ("CallsSlow",), NOTHING_GOES),
    Case("reset", {"effect": "reset", "when": "before"}, ("BreakerOpen",), API_IS_BROKEN),
    # Nobody answers: known only when a call is given up after 30 s.
    Case("silence", {"effect": "silence", "when": "after"}, ("BreakerOpen",), API_IS_BROKEN, seconds=75.0),
    Case("late 504", {"effect": "late", "status": 504, "after_s": 1}, ("BreakerOpen",), API_IS_BROKEN),
    Case(
        "migrate",
        {"match": {"chat": "-1", "count": 1}, "effect": "migrate", "to": "-1001557912345"},
        why_none="the outbox follows by itself",
    ),
    Case("chat blocked", {"effect": "chat", "state": "blocked"}, ("SuppressionSpike",)),
    Case("chat no_rights", {"effect": "chat", "state": "no_rights"}, ("BreakerOpen",), NOTHING_GOES),
    Case("revoked", {"effect": "revoked"}, ("BotUnauthorised",), NOTHING_GOES),
    Case("restart", {"effect": "restart"}, ("TooManyRequests",), ("BotFlooded", *API_IS_BROKEN)),
    # A flood that hides in a 400, in every chat.
    Case(
        "album_flood",
        {"effect": "album_flood", "at": 2},
        ("BotFlooded",),
        ("DeliveryFailing", *NOTHING_GOES),
        "sendMediaGroup",
    ),
    Case("fewer_ids", {"effect": "fewer_ids"}, method="copyMessages", why_none="sent; its history says which ids"),
    Case("upload_throttle", {"effect": "upload_throttle"}, method="sendPhoto", why_none="the outbox uploads nothing"),
    Case("trickle", {"effect": "trickle", "bytes_per_s": 100}, ("CallsSlow",), NOTHING_GOES),
    Case(
        "moving_limit",
        {"effect": "moving_limit", "between": [2, 5], "every_s": 4},
        ("TooManyRequests",),
        ("BotFlooded", *NOTHING_GOES),
    ),
    Case("outage: reset", {"effect": "outage"}, ("BreakerOpen",), API_IS_BROKEN),
    Case(
        "outage: refuse",
        {"match": {"until_s": FAULT_S}, "effect": "outage", "kind": "refuse"},
        ("BreakerOpen",),
        API_IS_BROKEN,
    ),
)
PAYLOADS: Final = {
    "sendMessage": '{"text": "hi"}',
    "sendMediaGroup": json.dumps({"media": [{"type": "photo", "media": f"AgACAgIAAx{n}"} for n in range(3)]}),
    "sendPhoto": '{"photo": "AgACAgIAAx1"}',
    "copyMessages": '{"from_chat_id": 7, "message_ids": [1, 2, 3]}',
}


def main() -> int:
    """Run the faults. Returns 0, or 1 when an alert is missing or one is too many."""
    parser = argparse.ArgumentParser(prog="python -m bench.fault_alerts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="only faults whose name begins so")
    parser.add_argument("--write", action="store_true", help="put the table into docs/runbook.md")
    options = parser.parse_args()
    _hurry()
    severities = {name: table["severity"] for name, table in read_thresholds().items() if name != "general"}
    lines, wrong = [], 0
    for case in CASES:
        if options.only and not case.name.startswith(options.only):
            continue
        fired = asyncio.run(_try(case))
        missing = set(case.names) - fired
        critical = {name for name in fired if severities[name] == "critical"}
        too_many = critical - set(case.names) - set(case.follows)
        wrong += bool(missing or too_many)
        line = _row(case, fired, severities)
        print(f"{line}{' MISSING ' + ', '.join(missing) if missing else ''}"
              f"{' TOO MANY ' + ', '.join(too_many) if too_many else ''}", flush=True)  # fmt: skip
        lines.append(line)
    if options.write:
        _write(lines)
    return 1 if wrong else 0


def _row(case: Case, fired: set[str], severities: dict[str, str]) -> str:
    rule = json.dumps({"effect": "none"} if not case.rule else case.rule)
    others = ", ".join(
        f"{name} ({severities[name]})" for name in sorted(fired - set(case.names), key=lambda n: (severities[n], n))
    )
    named = ", ".join(f"**{name}**" for name in case.names if name in fired)
    return f"| {case.name} | `{rule}` | {named or f'none: {case.why_none}'} | {others or '-'} |"


def _write(lines: Sequence[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    known = {_name(line): line for line in [*old.splitlines()[2:], *lines]}
    rows = [known[case.name] for case in CASES if case.name in known]
    table = "\n".join(["| fault | rule | names it | also fired |", "|---|---|---|---|", *rows]) + "\n"
    PAGE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")


def _name(line: str) -> str:
    return line.split(" | ")[0].removeprefix("| ")


def _hurry() -> None:
    """Divide what takes its time by 60, as the thresholds are."""
    for name in ("PARTITIONS_S", "RETENTION_S", "REPAIR_S", "MEASURE_S"):
        setattr(housekeeping, name, max(0.5, getattr(housekeeping, name) / SCALE))
    exporter.READ_EVERY_S = 0.5  # type: ignore[misc]


def _scaled() -> dict[str, Any]:
    return {
        name: {key: value / SCALE if key.endswith("_s") else value for key, value in table.items()}
        for name, table in read_thresholds().items()
    }


async def _try(case: Case) -> set[str]:
    """The alerts, without their prefix, that fired while the fault was on."""
    with bench_server(None) as server, server.database("faults") as url, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rules.yml")
        file.write_text(yaml.safe_dump(rules(_scaled())), encoding="utf-8")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT outbox.set_bot('default', p_max_attempts => 3)")
            async with contextlib.AsyncExitStack() as stack:
                telegram = await stack.enter_async_context(simulator_process("--rate", "0"))
                metrics = await stack.enter_async_context(_worker(url, telegram))
                running = await stack.enter_async_context(prometheus(Path(folder), file, [urlsplit(metrics).netloc]))
                feeding = asyncio.create_task(_feed(connection, case.method))
                try:
                    await running.until("outbox_messages_ended_total > 5")
                    await asyncio.sleep(3)
                    if case.rule:
                        await telegram.add_faults([case.rule])
                    return await _watch(running, case.seconds)
                finally:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)


async def _watch(running: Prometheus, seconds: float) -> set[str]:
    fired: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                fired |= set(await running.firing())
                await asyncio.sleep(0.5)
    return {name.removeprefix("Outbox") for name in fired}


@contextlib.asynccontextmanager
async def _worker(url: str, telegram: Simulator) -> AsyncIterator[str]:
    monitor = Monitor("w1", also=lambda event: None)
    worker = Worker(url, {"default": SecretStr(TOKEN)}, telegram.url, name="w1", emit=monitor)
    housekeeper = Housekeeper(worker.connections, "house", repair_every_s=5.0)
    async with monitor.watch(Address("127.0.0.1", 0), worker.connections, worker, "house") as metrics:
        housekeeper.start()
        working = asyncio.create_task(worker.run())
        try:
            yield metrics
        finally:
            await housekeeper.stop()
            worker.stop()
            await working


async def _feed(connection: psycopg.Connection[Any], method: str) -> None:
    """Insert PER_S messages a second of all priorities, round the chats: half of them groups."""
    number = 0
    while True:
        number += 1
        chat = number % CHATS + 1
        connection.execute(
            "INSERT INTO outbox.message (chat_id, method, payload, priority) VALUES (%s, %s, %s, %s)",
            [str(-chat if chat % 10 == 1 else chat), method, PAYLOADS[method], number % 4],
        )
        await asyncio.sleep(1 / PER_S)


if __name__ == "__main__":
    sys.exit(main())
