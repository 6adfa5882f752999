import asyncio
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from outbox.operate.commands.simulator import command
from outbox.simulator.run import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_says_where_it_listens_and_ends_cleanly_on_a_signal(number):
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox.simulator", "--port", "0", "--rate", "1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        line = (await asyncio.wait_for(program.stdout.readline(), 20)).decode().strip()
        url = line.rpartition(" ")[2]
        assert line.startswith("simulator: listening on http://127.0.0.1:")
        async with aiohttp.ClientSession() as session:
            for status in (200, 429):
                async with session.get(f"{url}/bot1:x/sendMessage", params={"chat_id": 42, "text": "hi"}) as response:
                    assert response.status == status
            # The session still holds its connection: an idle client may not hold up the end.
            program.send_signal(number)
            assert await asyncio.wait_for(program.wait(), 10) == 0
        assert await program.stderr.read() == b""
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


def test_a_port_that_is_taken_is_said_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--jitter-ms", "30-0"], ["--rate", "-1"], ["--jitter-ms", "some"]])
def test_a_limit_that_makes_no_sense_is_wrong_usage(arguments, capsys):
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert capsys.readouterr().err


def test_the_command_passes_its_options_on_and_shows_help(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "outbox simulator --port 8081" in shown
    assert "Exit: 0" in shown
