"""The help of every command, how errors are told, and completion with Tab."""

import json
import os
import re
import subprocess
import sys

import click
import pytest

from outbox.operate.cli import PURPOSES
from outbox.operate.cli import outbox as group

PSQL = ("db", "psql")  # has formats of its own


def _walk(command, path=()):
    """Return the path of every command beneath, and the command."""
    context = click.Context(command, info_name="outbox")
    found = []
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        found.append(((*path, name), below))
        if isinstance(below, click.Group):
            found += _walk(below, (*path, name))
    return found


COMMANDS = _walk(group)
LEAVES = [(path, command) for path, command in COMMANDS if not isinstance(command, click.Group)]


def _ids(commands):
    return [" ".join(path) for path, _ in commands]


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=_ids(COMMANDS))
def test_every_command_has_help_with_an_example_and_its_exit_codes(outbox, path):
    shown = outbox(*path, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"Exit: \S", shown.out)
    # A line of its own that can be typed, beside the usage; variables may stand before it.
    assert re.search(rf"^ +(?!Usage)(\S.*)?\boutbox {' '.join(path)}\b", shown.out, re.MULTILINE)


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=_ids(LEAVES))
def test_every_command_can_tell_what_it_tells_as_json(outbox, path):
    if path != PSQL:
        assert re.search(r"--json\b", outbox(*path, "--help").out)


def test_completion_as_json_holds_the_script(outbox):
    told = json.loads(outbox("completion", "fish", "--json").out)
    assert (told["shell"], told["script"].strip()) == ("fish", outbox("completion", "fish").out.strip())


def test_the_help_names_every_command_once_under_its_purpose(outbox):
    lines = outbox("--help").out.splitlines()
    for path, _ in COMMANDS:
        if len(path) == 1:
            assert sum(line.startswith(f"  {path[0]} ") for line in lines) == 1
    assert [line.rstrip(":") for line in lines if line.rstrip(":") in PURPOSES] == list(PURPOSES)


def test_the_help_fits_a_terminal_of_100_columns(outbox):
    for path, _ in [((), group), *COMMANDS]:
        if path[:1] != ("simulator",):
            widest = max(outbox(*path, "--help", COLUMNS="80").out.splitlines(), key=len)
            assert len(widest) <= 100, (path, widest)


@pytest.mark.parametrize(
    "arguments",
    [("shw", "17"), ("show",), ("show", "17", "18"), ("stats", "--nope"), ("shape", "--by"), ("tail", "--status", "x")],
)
def test_wrong_usage_is_one_line_that_says_where_the_help_is(outbox, arguments):
    refused = outbox(*arguments)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert refused.err.startswith("outbox: ")
    assert "--help" in refused.err


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_traceback_is_shown_only_with_debug(outbox, debug):
    failed = outbox(*debug, "stats", OUTBOX_DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/none")
    assert failed.code == 1
    assert ("Traceback" in failed.err) == bool(debug)
    assert failed.err.splitlines()[-1].startswith("outbox: the database cannot be reached")
    assert "secret" not in failed.err


def test_an_older_schema_says_what_to_run(db, outbox):
    db.execute("DROP FUNCTION outbox.shape")
    failed = outbox("shape")
    assert (failed.code, len(failed.err.splitlines())) == (1, 1)
    assert "run outbox migrate" in failed.err


def test_no_command_prints_the_help(outbox):
    shown = outbox()
    assert shown.code == 2
    assert "Put it right:" in shown.out + shown.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(outbox, shell):
    shown = outbox("completion", shell)
    assert shown.code == 0
    assert f"_OUTBOX_COMPLETE={shell}_complete" in shown.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("outbox expl", "explain"), ("outbox stats --ex", "--exact"), ("outbox shape --by chat", "chat-kind")],
)
def test_tab_offers_commands_options_and_choices(typed, offered):
    completed = subprocess.run(
        [sys.executable, "-m", "outbox"],
        env=os.environ
        | {"_OUTBOX_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert [line.partition(",")[2] for line in completed.stdout.splitlines()] == [offered]


def test_json_is_one_document_on_stdout_and_nothing_else(outbox):
    for arguments in (("stats",), ("shape",)):
        told = outbox(*arguments, "--json")
        assert told.err == ""
        assert isinstance(json.loads(told.out), dict)
