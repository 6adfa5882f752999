"""docs/commands.md is what docs/tour.py makes: each block is the output of the command that stands over it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
BLOCK = re.compile(r"<!-- tour: (.+?) -->\n```\n(.*?)```\n<!-- end -->", re.DOTALL)
HEADS = {
    "outbox stats": ("bots, last minute",),
    "outbox shape": ("priority +total",),
    "outbox show": ("time +what",),
    "outbox explain": ("will be sent",),
    "outbox dead list": ("bot +class",),
    "outbox doctor": ("ok +connection", "ok +release"),
    "outbox bot list": ("bot +state",),
}


@pytest.mark.parametrize(("line", "block"), BLOCK.findall(PAGE), ids=lambda value: value.splitlines()[0])
def test_each_block_is_of_the_command_over_it_and_fits_a_screen(line: str, block: str) -> None:
    first, *rest = block.splitlines()
    assert re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\d+", re.escape(f"$ {line}")), first)
    assert rest
    assert max(map(len, rest)) <= 120
    assert not any("\x1b" in text or "━" in text or text != text.rstrip() for text in rest)
    for command, heads in HEADS.items():
        for head in heads if line.startswith(command) else ():
            assert any(re.match(head, text) for text in rest), f"run docs/tour.py: {head!r} is not printed"


@pytest.mark.parametrize("line", re.findall(r"`(outbox [a-z][^`]*)`", PAGE))
def test_each_command_named_exists_with_its_options(line: str) -> None:
    words = [word for word in line.split()[1:] if word not in ("COMMAND", "BOT", "…", "…,")]
    name, *rest = words or ["show"]
    if name.startswith("-"):
        return
    found = importlib.import_module(f"outbox.operate.commands.{name}").command
    if isinstance(found, click.Group) and rest:
        found = found.commands[rest.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options
