"""A bot token and a password in the environment, every fault on: neither is found in anything that is written."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import unused_port
from psycopg.conninfo import make_conninfo

from outbox.operate.stage import Simulator, simulator_process
from tests.conftest import Database

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
PASSWORD = "correct-horse-battery"
DEADLINE_S = 180.0
FAULTS: list[dict[str, Any]] = [
    {"match": {"chat": 1}, "effect": "status", "status": 502, "body": "html"},
    {"match": {"chat": 2}, "effect": "status", "status": 200, "body": "truncated"},
    {"match": {"chat": 3}, "effect": "flood", "retry_after_s": 1},
    {"match": {"chat": 4}, "effect": "reset", "when": "before"},
    {"match": {"chat": 5}, "effect": "reset", "when": "after"},
    {"match": {"chat": 6}, "effect": "late", "status": 504, "after_s": 0.5},
    {"match": {"chat": 7}, "effect": "chat", "state": "blocked"},
    {"match": {"chat": 8}, "effect": "restart"},
    {"match": {"chat": 9, "count": 1}, "effect": "migrate", "to": "-1001557912345"},
    {"match": {"chat": 10}, "effect": "stall", "seconds": [0.2, 0.5], "then": "429", "retry_after_s": 1},
    {"match": {"chat": 11}, "effect": "trickle", "bytes_per_s": 400},
    {
        "match": {"chat": 12},
        "effect": "status",
        "status": 400,
        "description": f"Bad Request: /bot1:{SECRET}/sendMessage",
    },
    {"match": {"chat": 13, "count": 2}, "effect": "revoked"},
    {"match": {"chat": 14}, "effect": "silence", "when": "after"},
    {"match": {"chat": 15}, "effect": "album_flood", "at": 1},
    {"match": {"chat": 16}, "effect": "fewer_ids"},
    {"match": {"chat": 17, "count": 2}, "effect": "flood", "retry_after_s": 1, "scope": "bot"},
    {"match": {"from_s": 3}, "effect": "moving_limit", "between": [1, 2], "every_s": 2},
    {"match": {"from_s": 4, "until_s": 7}, "effect": "outage", "kind": "refuse"},
    {"match": {"chat": 19}, "effect": "upload_throttle"},
]
NEVER_COUNTED = {
    "moving_limit": "a limit, not a stroke: it is seen as 429s",
    "upload_throttle": "the outbox sends file ids and addresses, it uploads nothing",
}
METHODS = {
    15: ("sendMediaGroup", {"media": [{"type": "photo", "media": f"AgACAgIAAx{n}"} for n in range(3)]}),
    16: ("copyMessages", {"from_chat_id": 7, "message_ids": [1, 2, 3]}),
    19: ("sendPhoto", {"photo": "AgACAgIAAx1"}),
}
PAGES = ("/", "/messages", "/dead-letters", "/chats", "/bots", "/bots/default", "/audit", "/messages/1", "/nowhere")
COMMANDS = (
    ("doctor", "--json"),
    ("stats", "--json"),
    ("bot", "list", "--json"),
    ("bot", "check", "default"),
    ("show", "1"),
    ("explain", "2"),
    ("dead", "list", "--json"),
    ("check", "alerts"),
    ("worker", "--bots", "none"),
)


def everything(db: Database) -> str:
    """Every row of every table of the schema, as text."""
    tables = db.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    return "\n".join(str(row) for (table,) in tables for row in db.execute(f"SELECT t::text FROM {table} t"))


async def test_a_token_and_a_password_are_in_nothing_that_is_written(db: Database, tmp_path: Path) -> None:
    db.execute("SELECT outbox.set_bot('default', p_backoff_initial_s => 0.2, p_max_attempts => 3)")
    url = make_conninfo(db.url, password=PASSWORD)
    page, metrics = unused_port(), unused_port()
    async with simulator_process() as telegram:
        await telegram.add_faults(FAULTS)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("OUTBOX_")} | {
            "OUTBOX_DATABASE_URL": url,
            "OUTBOX_API_URL": telegram.url,
            "OUTBOX_TOKEN": f"1:{SECRET}",
            "OUTBOX_ADMIN_ADDR": f"127.0.0.1:{page}",
            "OUTBOX_METRICS_ADDR": f"127.0.0.1:{metrics}",
            "OUTBOX_DATA_DIR": str(tmp_path / "data"),
            "OUTBOX_LOG": "json",
        }
        with (tmp_path / "log").open("wb") as log:
            up = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "outbox", "up", "--verbose"), env=environment, stdout=log, stderr=log
            )
        try:
            for chat in [*range(1, 20)] * 3:
                method, payload = METHODS.get(chat, ("sendMessage", {"text": "hi"}))
                db.execute(
                    "INSERT INTO outbox.message (chat_id, method, payload) VALUES (%s, %s, %s)",
                    [str(chat), method, json.dumps(payload)],
                )
            async with asyncio.timeout(DEADLINE_S):
                while db.execute("SELECT count(*) >= 12 FROM outbox.attempt WHERE outcome <> 'sent'") != [(True,)]:
                    await asyncio.sleep(0.2)
                while db.execute("SELECT count(*) >= 3 FROM outbox.dead_letter") != [(True,)]:
                    await asyncio.sleep(0.2)
                while await _waiting_faults(telegram):
                    await asyncio.sleep(0.5)
            shown = [await _read(f"http://127.0.0.1:{page}{path}") for path in PAGES]
            shown += [await _read(f"http://127.0.0.1:{metrics}{path}") for path in ("/metrics", "/readyz", "/healthz")]
            shown += [await _run(environment, *command) for command in COMMANDS]
        finally:
            up.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                await up.wait()
    written = {
        "database": everything(db),
        "log": (tmp_path / "log").read_text(encoding="utf-8"),
        "shown": "\n".join(shown),
        "files": "\n".join(p.read_text(errors="replace") for p in (tmp_path / "data").rglob("*") if p.is_file()),
    }
    assert len(written["database"]) > 10_000
    assert "dead letter" in written["log"]
    found = {where: secret for where, text in written.items() for secret in (SECRET, PASSWORD) if secret in text}
    assert found == {}
    assert json.loads(written["log"].splitlines()[-1])


async def _waiting_faults(telegram: Simulator) -> list[dict[str, Any]]:
    """Those that have hit nothing yet."""
    try:
        rules = await telegram.faults()
    except aiohttp.ClientError:  # the outage
        return [{}]
    return [rule for rule in rules if rule["effect"] not in NEVER_COUNTED and not rule["hits"]]


async def _read(address: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(address) as answer:
        return await answer.text()


async def _run(environment: dict[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outbox", *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await process.communicate()
    return out.decode()
