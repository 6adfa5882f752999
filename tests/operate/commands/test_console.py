"""What all commands share with the terminal and the database."""

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import psycopg
import pytest

from outbox.operate import console
from outbox.operate.times import in_utc
from outbox.settings import UsageError


@pytest.fixture
def database(db, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", db.url)
    return db


def test_a_connection_says_which_command_it_is(database):
    with console.connected("dead list") as connection:
        assert connection.execute("SHOW application_name").fetchone() == {"application_name": "outbox dead list"}


@pytest.mark.parametrize("operator", ["ann", r"DOMAIN\ann lee", "o'hara -c x=1"])
def test_what_a_command_does_is_on_record_under_the_name_of_who_ran_it(database, monkeypatch, operator):
    monkeypatch.setenv("SUDO_USER", operator)
    with console.connected("pause") as connection:
        connection.execute("SELECT outbox.pause('default')")
    assert database.execute("SELECT who FROM outbox.audit") == [(f"postgres ({operator})",)]


def test_options_of_the_url_stay_in_force(database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", f"{database.url}?options=-c%20statement_timeout%3D1234")
    with console.connected("stats") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "1234ms"}


def test_behind_a_pooler_that_shares_sessions_no_name_is_left_in_one(database, monkeypatch):
    connect = psycopg.Connection.connect.__func__

    def refuse(cls, url, *, options=None, **rest):
        if options is not None:  # as PgBouncer does
            raise psycopg.OperationalError("unsupported startup parameter: options")
        return connect(cls, url, **rest)

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(refuse))
    with console.connected("stats") as connection:
        [row] = connection.execute("SELECT current_setting('outbox.operator', true) AS operator").fetchall()
    assert not row["operator"]


def test_a_time_beyond_the_year_9999_hides_no_row(database):
    with console.connected("show") as connection:
        [row] = connection.execute(
            "SELECT '12000-01-01'::timestamptz AS a, 'infinity'::timestamptz AS b, '-infinity'::timestamptz AS c,"
            " '0044-03-15 BC'::timestamptz AS d"
        ).fetchall()
    assert [value.year for value in row.values()] == [9999, 9999, 1, 1]


def test_a_server_that_cannot_be_reached_is_asked_once(monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(psycopg.OperationalError), console.connected("stats"):
        pass


def test_no_database_named_is_wrong_usage(monkeypatch, tmp_path):
    monkeypatch.delenv("OUTBOX_DATABASE_URL", raising=False)
    monkeypatch.setenv("OUTBOX_DATA_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="OUTBOX_DATABASE_URL is not set, and stats needs"), console.connected("stats"):
        pass


@pytest.mark.parametrize(
    ("hostile", "visible"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\ud800", r"\ud800"),
        ("\U000e0041tag", r"\U000e0041tag"),
        ("a😀ж", "a😀ж"),
        ("postgresql://app:secret@db/app", "postgresql://app:***@db/app"),
    ],
)
def test_text_that_a_terminal_would_obey_is_shown(hostile, visible, capsys):
    assert console.shown(hostile) == visible
    console.say(hostile)
    console.facts([("name", hostile)])
    console.table("title", ["name"], [[hostile]])
    said = capsys.readouterr().out
    assert said.count(visible) == 3
    assert hostile == visible or hostile not in said


def test_markup_is_text(capsys):
    console.say("[bold]x[/bold] [/] :smile:")
    console.table(None, ["[red]a"], [["[link=http://x]y"]])
    assert capsys.readouterr().out.splitlines() == ["[bold]x[/bold] [/] :smile:", "[red]a", "[link=http://x]y"]


def test_without_a_terminal_a_row_is_a_line_without_colours(capsys):
    console.table(None, ["id", "text"], [[1, "long " * 500], [20, None]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2] == "20"
    assert "\x1b" not in "".join(lines)


def test_numbers_stand_right_and_text_left(capsys):
    console.table(None, ["bot", "waits"], [["a", "1,000"], ["default", "7"]])
    assert capsys.readouterr().out.splitlines() == ["bot      waits", "a        1,000", "default      7"]


@pytest.mark.parametrize(("columns", "expected"), [(9, "ab cd ef"), (8, "ab cd ef"), (10, "ab  cd  ef")])
def test_columns_move_together_where_they_fit_only_so(monkeypatch, columns, expected):
    made = console.screen(io.StringIO())
    made.width = columns
    monkeypatch.setattr(console, "screen", lambda: made)
    made.print(console.make_table(None, ["ab", "cd", "ef"], []))
    assert made.file.getvalue().rstrip() == expected


def test_facts_leave_out_what_is_not_known(capsys):
    console.facts([("bot", "default"), ("tag", None), ("text", "")])
    assert capsys.readouterr().out == "bot  default\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.4, "0 s"), (99, "99 s"), (180, "3 min"), (7200, "2 h"), (3 * 86400, "3 d"), (None, "")],
)
def test_an_age_has_its_largest_sensible_unit(seconds, text):
    assert console.age(seconds) == text


def test_times_are_shown_and_written_in_utc():
    at = datetime(2026, 3, 1, 15, 0, 0, 250000, tzinfo=timezone(timedelta(hours=3)))
    assert in_utc(at) == "2026-03-01 12:00:00 UTC"
    assert json.loads(console.as_json_line({"at": at})) == {"at": "2026-03-01T12:00:00.250000Z"}


def test_a_document_is_json_in_ascii_whatever_it_holds():
    value = {"text": "\x1b\u202e😀\x9b", "n": Decimal("12"), "x": Decimal("0.5"), "wait": timedelta(minutes=1), 1: None}
    written = console.as_json_document(value)
    assert written.isascii()
    assert "\x1b" not in written
    assert json.loads(written) == {"text": "\x1b\u202e😀\x9b", "n": 12, "x": 0.5, "wait": 60.0, "1": None}
    assert datetime.now(UTC).isoformat()[:4] in console.as_json_line([datetime.now(UTC)])


def test_json_has_no_numbers_that_are_none():
    assert json.loads(console.as_json_line([float("inf"), float("nan")])) == [None, None]


def test_a_failed_command_is_one_line_without_secrets(capsys):
    failed = console.CommandFailed("cannot use postgresql://app:secret@db/app")
    failed.show()
    assert (failed.exit_code, capsys.readouterr().err) == (1, "outbox: cannot use postgresql://app:***@db/app\n")


def test_a_note_is_for_the_person_on_stderr(capsys):
    console.note("only 50 are shown.")
    assert capsys.readouterr() == ("", "outbox: only 50 are shown.\n")


def test_nobody_looks_at_a_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not console.on_terminal()


def test_a_reader_that_leaves_early_causes_no_noise(database):
    database.execute(
        "INSERT INTO outbox.message (chat_id, payload, correlation_id)"
        " SELECT 42, '{\"text\": \"hi\"}', repeat('x', 150) || i % 1 FROM generate_series(1, 50) i"
    )
    reading = subprocess.run(
        f"{sys.executable} -m outbox show {'x' * 150}0 | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (reading.stderr.replace("outbox: only the newest 50 are shown.\n", ""), reading.returncode) == ("", 0)
