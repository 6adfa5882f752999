import asyncio
import json
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What `pip install aiohttp` brings; nothing else may be imported, whatever lies beside it.
PROGRAM = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

AIOHTTP = {"aiohttp", "aiohappyeyeballs", "aiosignal", "attr", "attrs", "frozenlist", "idna", "multidict", "propcache",
           "typing_extensions", "yarl"}


class OnlyAiohttp(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in sys.stdlib_module_names | AIOHTTP | {"outbox"}:
            return super().find_spec(name, path, target)


sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyAiohttp]
from outbox.simulator.run import main

sys.exit(main(sys.argv[1:]))
"""


async def get(url):
    def ask():
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    return await asyncio.to_thread(ask)


async def test_the_simulator_runs_with_aiohttp_and_nothing_else():
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "--port", "0", "--keep-parameters",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT, env={},
    )  # fmt: skip
    try:
        line = (await asyncio.wait_for(program.stdout.readline(), 30)).decode().strip()
        assert line.startswith("simulator: listening on "), line
        url = line.rpartition(" ")[2]
        await get(f"{url}/bot1:x/sendMessage?chat_id=42&text=hi")
        (call,) = await get(f"{url}/_sim/log")
        assert call["parameters"] == {"chat_id": "42", "text": "hi"}
        program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.wait(), 10) == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


@pytest.mark.parametrize(
    "names",
    ["outbox.simulator.fixture, outbox.simulator.__main__", "outbox.operate.commands.simulator, outbox.operate.cli"],
)
async def test_program_command_and_fixture_load_no_database_driver(names):
    loading = (
        f"import sys, {names};"
        "print(sorted({'psycopg', 'psycopg_pool', 'sqlalchemy', 'alembic', 'asyncpg'} & set(sys.modules)))"
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", loading, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    said, _ = await program.communicate()
    assert (program.returncode, said.decode().strip()) == (0, "[]")
