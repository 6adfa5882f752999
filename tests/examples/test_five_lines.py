"""The five lines of each language, as examples/README.md and the README show them, run."""

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.operate.stage import simulator_process, worker_processes
from tests.conftest import Database
from tests.examples.conftest import Shop
from tests.examples.shop import EXAMPLES, blocks, calls_to, java, psql, run

DEADLINE_S = 30.0
PYTHON = """
import os
import psycopg
import outbox
url = os.environ["OUTBOX_DATABASE_URL"]
"""
NODE = """
import pg from 'pg';
const client = new pg.Client({ connectionString: process.env.OUTBOX_DATABASE_URL });
await client.connect();
%s
await client.end();
"""
JAVA = """
import java.sql.*;
class FiveLines {
    public static void main(String[] args) throws Exception {
        try (Connection connection = DriverManager.getConnection(args[0])) {
%s
        }
    }
}
"""


@pytest.fixture
def as_shop(db: Database, shop: Shop) -> Iterator[Database]:
    """The shop's own view of a database in which order 17 waits to be shipped."""
    with shop(db) as as_shop:
        as_shop.execute("CREATE TABLE orders (id bigint PRIMARY KEY, state text NOT NULL)")
        as_shop.execute("INSERT INTO orders VALUES (17, 'paid')")
        yield as_shop


async def _ship(command: list[str], db: Database, as_shop: Database) -> str:
    """Run the command and see its message arrive. Returns what it said."""
    async with simulator_process() as telegram, worker_processes(db.url, telegram.url):
        done = await asyncio.to_thread(run, command, as_shop.url)
        assert done.returncode == 0, done.stderr
        async with asyncio.timeout(DEADLINE_S):
            while not (calls := await calls_to(telegram, "42")):
                await asyncio.sleep(0.05)
    assert [(call["method"], call["text"]) for call in calls] == [("sendMessage", "Order 17 is shipped")]
    assert as_shop.execute("SELECT state FROM orders") == [("shipped",)]
    return done.stdout


def _five_lines(language: str, page: Path = EXAMPLES / "README.md") -> str:
    [lines] = [block for block in blocks(language, page.read_text()) if "Order 17 is shipped" in block]
    assert len(lines.splitlines()) == 5
    return lines


@pytest.mark.parametrize("language", ["sql", "python", "js", "java"])
def test_the_readme_shows_the_same_five_lines(language: str) -> None:
    assert _five_lines(language, EXAMPLES.parent / "README.md") == _five_lines(language)


async def test_five_lines_of_sql_ship_an_order_and_tell_it(db: Database, as_shop: Database, tmp_path: Path) -> None:
    file = tmp_path / "five.sql"
    file.write_text(_five_lines("sql"))
    said = await _ship(psql("-v", "ON_ERROR_STOP=1", "-f", str(file)), db, as_shop)
    assert any(status in said for status in ("queued", "sending", "sent"))


async def test_five_lines_of_python_ship_an_order_and_tell_it(db: Database, as_shop: Database) -> None:
    said = await _ship([sys.executable, "-c", PYTHON + _five_lines("python")], db, as_shop)
    assert said == "sent\n"


async def test_five_lines_of_node_ship_an_order_and_tell_it(db: Database, as_shop: Database, node_folder: Path) -> None:
    file = node_folder / "five.js"
    file.write_text(NODE % _five_lines("js"))
    await _ship(["node", str(file)], db, as_shop)


async def test_five_lines_of_java_ship_an_order(db: Database, as_shop: Database, tmp_path: Path) -> None:
    file = tmp_path / "FiveLines.java"
    file.write_text(JAVA % textwrap.indent(_five_lines("java"), " " * 12))
    login, _, place = as_shop.url.removeprefix("postgresql://").rpartition("@")
    await _ship([*java(), str(file), f"jdbc:postgresql://{place}?user={login}"], db, as_shop)
