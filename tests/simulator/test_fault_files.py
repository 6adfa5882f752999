"""Rules that are in force from the start."""

import asyncio
import json
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from outbox.simulator.faults import parse_rule, read_toml
from outbox.simulator.run import main

ROOT = Path(__file__).parents[2]
RULES = """
[[fault]]
match = { chat = 42, count = 1 }
effect = "flood"
retry_after_s = [2, 35]

[[fault]]
effect = "chat"
state = "kicked"
[fault.match]
chats = [-5, "@news"]
"""


async def test_the_program_takes_rules_from_a_file(tmp_path):
    path = tmp_path / "faults.toml"
    path.write_text(RULES)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outbox.simulator", "--port", "0", "--faults", str(path),
        "--connection-age-s", "39", "--connection-idle-s", "10",
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        line = (await asyncio.wait_for(program.stdout.readline(), 20)).decode()
        url = line.split()[-1]
        statuses = []
        async with aiohttp.ClientSession() as session:
            for chat in ("42", "@news", "43"):
                parameters = {"chat_id": chat, "text": "hi"}
                async with session.post(f"{url}/bot1:x/sendMessage", json=parameters) as response:
                    statuses.append(response.status)
            async with session.get(f"{url}/_sim/faults") as response:
                assert [rule["hits"] for rule in await response.json()] == [1, 1]
        assert statuses == [429, 403, 200]
    finally:
        program.terminate()
        await program.wait()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]\n", "no TOML"),
        ("[[fault]]\neffect = 'nonsense'", "effect is 'nonsense'"),
        ("[fault]\neffect = 'revoked'", "with two brackets"),
        ("rules = []", "[[fault]] tables"),
        (None, "cannot read"),
    ],
)
def test_a_bad_file_is_wrong_usage_in_one_line(tmp_path, capsys, text, words):
    path = tmp_path / "faults.toml"
    if text is not None:
        path.write_text(text)
    assert main(["--port", "0", "--faults", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_every_rule_in_the_documentation_is_one(tmp_path):
    text = (ROOT / "docs" / "simulator.md").read_text()
    path = tmp_path / "faults.toml"
    path.write_text("".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)))
    rules = read_toml(path)
    rules += [json.loads(rule) for rule in re.findall(r"`(\{.*?\})`", text)]
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        rules += json.loads(block)
    assert len(rules) > 20
    for rule in rules:
        parse_rule(rule)
