"""The command line turns every error into one line and an exit code, without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest

from outbox.operate import cli
from outbox.operate.explain import explain

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
    return subprocess.run(
        [sys.executable, "-m", "outbox", *arguments],
        cwd=REPOSITORY,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_file_of_commands_is_a_command_with_a_help():
    context = click.Context(cli.outbox)
    for name in cli.outbox.list_commands(context):
        command = cli.outbox.get_command(context, name)
        assert command is not None
        assert command.help, name


def test_help_lists_the_commands():
    done = run("--help")
    assert done.returncode == 0
    assert "migrate" in done.stdout


def test_an_unknown_command_is_wrong_usage():
    assert run("nonsense").returncode == 2


def test_migrate_without_a_database_says_what_to_set():
    done = run("migrate")
    assert done.returncode == 2
    assert done.stderr.startswith("outbox: OUTBOX_DATABASE_URL is not set, and migrate needs your database. Set ")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_not_there_is_one_line_without_its_password():
    done = run("migrate", OUTBOX_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/app")
    assert done.returncode == 1
    assert "outbox: the database cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_only_debug_shows_a_traceback():
    url = "postgresql://u:hunter2@127.0.0.1:1/app"
    done = run("--debug", "migrate", OUTBOX_DATABASE_URL=url)
    assert "Traceback" in done.stderr
    assert "hunter2" not in done.stderr


def test_migrate_prints_where_the_schema_is(empty_db):
    done = run("migrate", OUTBOX_DATABASE_URL=empty_db.url)
    assert done.returncode == 0, done.stderr
    assert "schema outbox is at" in done.stdout


def test_migrate_sql_needs_no_database():
    done = run("migrate", "--sql")
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("COMMIT;")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.UndefinedTable('relation "outbox.message" does not exist'), "run outbox migrate"),
        (psycopg.OperationalError("connection refused\nfor postgresql://u:hunter2@h/x"), "cannot be reached"),
        (RuntimeError("at /bot1:hunter2/getMe"), "outbox --debug"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(error, said):
    text = explain(error)
    assert said in text
    assert "\n" not in text
    assert "hunter2" not in text


@pytest.mark.parametrize(("raised", "code"), [(click.Abort(), 130), (KeyboardInterrupt(), 130), (SystemExit(3), 3)])
def test_a_commands_end_is_the_programs_exit_code(monkeypatch, raised, code):
    @click.command()
    def stop() -> None:
        raise raised

    monkeypatch.setattr(cli, "outbox", stop)
    monkeypatch.setattr(cli.signal, "signal", lambda *handler: None)
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == code
