"""An unmodified grammY under node calls the simulator: tests/clients/grammy.mjs holds the scenarios."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from outbox.simulator.thread import Telegram
from tests.clients.users import press

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def grammy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with grammY and the scenarios."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed on this machine")
    folder = tmp_path_factory.mktemp("grammy")
    for name in ("package.json", "grammy.mjs"):
        shutil.copy(HERE / name, folder)
    installing = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
    subprocess.run(installing, cwd=folder, check=True, timeout=300)
    return folder


async def play(grammy: Path, telegram: Telegram, scenario: str) -> None:
    """Run one scenario; an assertion of its that fails is shown by pytest."""
    program = await asyncio.create_subprocess_exec(
        "node", "grammy.mjs", telegram.url, telegram.token, scenario,
        cwd=grammy, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(program.communicate(), 60)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    assert program.returncode == 0, said.decode()


@pytest.mark.parametrize("scenario", ["text", "photo", "album", "others"])
async def test_what_grammy_sends_comes_back_in_its_shape(grammy, unlimited, scenario):
    await play(grammy, unlimited, scenario)


async def test_grammy_knows_a_refusal_a_wait_and_a_broken_connection(grammy, strict):
    strict.faults.add([
        {"match": {"chat": "400"}, "effect": "chat", "state": "not_found"},
        {"match": {"chat": "403"}, "effect": "chat", "state": "blocked"},
        {"match": {"chat": "500"}, "effect": "reset"},
    ])  # fmt: skip
    await play(grammy, strict, "refusals")


async def test_a_polling_grammy_answers_users_and_stops(grammy, unlimited):
    unlimited.push_message(42, "/start")
    unlimited.push_update(press("y"))
    await play(grammy, unlimited, "polling")
    assert (await unlimited.wait_for("sendMessage", chat_id=42)).text == "Hello User 42"
    assert (await unlimited.wait_for("answerCallbackQuery")).parameters["callback_query_id"] == "9"
    polls = [call for call in unlimited.calls if call.method == "getUpdates"]
    assert len(polls) <= 4, "a bot that polls must not spin"
