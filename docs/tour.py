"""Stage a small situation and write what the commands and the page show of it.

    .venv/bin/python docs/tour.py

It renews the output blocks of docs/commands.md and the pictures in docs/images/. Takes about two minutes; nothing
is sent anywhere: a simulator plays Telegram. Needs Playwright and Chromium.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Any, Final

import psycopg
from playwright.async_api import Browser, async_playwright
from psycopg.conninfo import conninfo_to_dict

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from outbox.operate.page.app import Page, serve
from outbox.operate.page.database import PageDatabase
from outbox.operate.stage import TOKEN, scratch_database, simulator_process, worker_processes
from outbox.settings import Settings

HERE: Final = Path(__file__).parent
IMAGES: Final = HERE / "images"
CHROMIUM: Final = "/usr/bin/chromium"
BLOCK: Final = re.compile(r"(<!-- tour: (.+?) -->\n```\n).*?(```\n<!-- end -->)", re.DOTALL)
LARGEST_BYTES: Final = 200_000
DELIVER_S: Final = 15.0
COLUMNS: Final = 100
ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

SITUATION: Final = """
    SELECT outbox.set_bot('alerts'), outbox.pause('alerts');
    INSERT INTO outbox.message (chat_id, payload, priority, tag, correlation_id)
        SELECT i, '{"text": "Your order is shipped"}', 1, 'shipping', 'order-' || 4700 + i
          FROM generate_series(1, 40) i;
    INSERT INTO outbox.message (chat_id, payload, tag, correlation_id) VALUES
        (5003, '{"text": "Your invoice"}', 'invoice', 'invoice-88'),
        (5004, '{"text": "Your ticket"}', 'ticket', 'ticket-12'),
        (5004, '{"text": "Your seat"}', 'ticket', 'ticket-13');
    INSERT INTO outbox.message (chat_id, payload, tag, correlation_id, next_attempt_at) VALUES
        (17, '{"text": "See you tomorrow"}', 'reminder', 'visit-9', outbox.clock() + interval '1 day');
    INSERT INTO outbox.message (bot, chat_id, payload, priority, tag)
        SELECT 'alerts', 70 + i, '{"text": "Disk is full"}', 0, 'disk' FROM generate_series(1, 3) i;
    INSERT INTO outbox.message (chat_id, payload, priority, tag)
        SELECT 100000 + i, '{"text": "Summer sale"}', 3, 'summer-sale' FROM generate_series(1, 6000) i;
"""
FAULTS: Final[list[dict[str, Any]]] = [
    {"match": {"chat": "5003"}, "status": 403, "description": "Forbidden: bot was blocked by the user"},
    {"match": {"chat": "5004", "count": 1}, "effect": "flood", "retry_after_s": 900},
]
PICTURES: Final = (
    ("overview", "/"),
    ("messages", "/messages"),
    ("message", "/messages/{waiting}"),
    ("dead-letters", "/dead-letters"),
)
LOOKS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("", {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}}),
    ("-dark", {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}}),
    ("-phone", {"color_scheme": "light", "viewport": {"width": 375, "height": 780}}),
)


async def tour(url: str, data: Path) -> None:
    """Stage the situation, take the pictures, then renew the page of commands."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SITUATION.encode())
        with (data / "worker.log").open("wb") as log:
            async with simulator_process("--jitter-ms", "10-40") as telegram:
                await telegram.add_faults(FAULTS)
                os.environ["OUTBOX_API_URL"] = telegram.url
                async with worker_processes(url, telegram.url, log=log):
                    await asyncio.sleep(DELIVER_S)
                    await _show(connection, url, data)


async def _show(connection: psycopg.Connection[Any], url: str, data: Path) -> None:
    ids = {
        "waiting": _id(connection, "ticket-12"),
        "behind": _id(connection, "ticket-13"),
        "dead": _id(connection, "invoice-88"),
    }
    async with serve(Page(Settings(), PageDatabase(url))) as address, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for suffix, look in LOOKS:
            await _take(browser, address.rstrip("/"), suffix, look, ids)
        await browser.close()
    page = HERE / "commands.md"
    text = page.read_text()
    for begin, line, end in BLOCK.findall(text):
        output = await _output(line.format(**ids), url, data)
        text = text.replace(_block(text, line), f"{begin}{output}{end}")
        page.write_text(text)


def _block(text: str, line: str) -> str:
    return next(match[0] for match in BLOCK.finditer(text) if match[2] == line)


def _id(connection: psycopg.Connection[Any], correlation_id: str) -> int:
    [(message_id,)] = connection.execute(
        "SELECT id FROM outbox.history WHERE correlation_id = %s", [correlation_id]
    ).fetchall()
    return int(message_id)


async def _output(line: str, url: str, data: Path) -> str:
    """Return what a person sees who types the line."""
    code, said = await asyncio.to_thread(_on_a_terminal, line.split()[1:])
    text = ESCAPES.sub("", said.decode()).replace(str(data), "/var/lib/outbox")
    text = re.sub(rf"127\.0\.0\.1(:| port ){conninfo_to_dict(url)['port']}", "db:5432", text)
    lines = [line.rstrip() for line in text.splitlines()]
    print(f"{line}: exit {code}")
    return f"$ {line}\n" + "\n".join(lines).strip("\n") + "\n"


def _on_a_terminal(arguments: list[str]) -> tuple[int, bytes]:
    """Run a command on a terminal of COLUMNS, without its progress; return its exit code and what stood there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    line = [sys.executable, "-m", "outbox", *arguments]
    with subprocess.Popen(line, stdout=theirs, stderr=subprocess.PIPE) as process:  # noqa: S603
        os.close(theirs)
        said = bytearray()
        with contextlib.suppress(OSError):  # its end of the terminal is closed
            while read := os.read(ours, 65536):
                said += read
        os.close(ours)
        assert process.stderr is not None
        said += process.stderr.read()
    return process.returncode, bytes(said)


async def _take(browser: Browser, address: str, suffix: str, look: dict[str, Any], ids: dict[str, int]) -> None:
    context = await browser.new_context(**look)
    tab = await context.new_page()
    for name, path in PICTURES:
        await tab.goto(address + path.format(**ids), wait_until="load")
        file = IMAGES / f"{name}{suffix}.png"
        await tab.screenshot(path=file)
        print(f"{file.name}: {file.stat().st_size:,} bytes")
        assert file.stat().st_size < LARGEST_BYTES
    await context.close()


def main() -> None:
    """Run it on a server of its own."""
    IMAGES.mkdir(exist_ok=True)
    with ephemeral_server() as server, scratch_database(server, "app") as url, tempfile.TemporaryDirectory() as data:
        migrate(url)
        for name in [name for name in os.environ if name.startswith("OUTBOX_")]:
            del os.environ[name]
        os.environ |= {
            "OUTBOX_DATABASE_URL": url,
            "OUTBOX_TOKEN": TOKEN,
            "OUTBOX_TOKEN_ALERTS": TOKEN.replace("1000001", "1000002"),
            "OUTBOX_DATA_DIR": data,
            "OUTBOX_ADMIN_ADDR": "127.0.0.1:0",
            "TERM": "xterm",
        }
        asyncio.run(tour(url, Path(data)))


if __name__ == "__main__":
    main()
