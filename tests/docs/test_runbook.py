"""What the runbook says to type can be typed."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bench.fault_alerts import BEGIN, CASES, END
from outbox.operate.cli import outbox
from tests.conftest import Database

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
QUERIES = [" ".join(found.split()) for found in re.findall(r"`(SELECT [^`]+?);?`", TEXT)]
COMMANDS = sorted({" ".join(found.split()) for found in re.findall(r"`(outbox [a-z][^`]*)`", TEXT)})


@pytest.mark.parametrize("query", QUERIES)
def test_its_sql_is_sound(db: Database, query: str) -> None:
    stand_ins = query.replace("= …", "= 1").replace("(pid)", "(1)")
    db.execute(f"EXPLAIN {stand_ins}")


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_and_their_options_exist(line: str) -> None:
    command: click.Command = outbox
    context = click.Context(outbox)
    words = line.split()[1:]
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_fault_has_its_line_and_those_without_an_alert_a_reason() -> None:
    table = TEXT.partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    lines = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[2] for line in table}
    assert list(lines) == [case.name for case in CASES]
    for case in CASES:
        if case.names:
            assert all(f"**{name}**" in lines[case.name] for name in case.names), case.name
        else:
            assert lines[case.name] == f"none: {case.why_none}"
