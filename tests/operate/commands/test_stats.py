"""outbox stats: how it goes, once or live."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from psycopg import sql

from tests.invariants.calls import add_bot, claim, finish, insert, register
from tests.operate.dead_letters import die, unlimited

DEADLINE_S = 30


def _stats(outbox, *arguments):
    return json.loads(outbox("stats", "--json", *arguments).out)


def test_depth_and_oldest_age_are_by_bot_and_priority(connection, outbox):
    add_bot(connection, "alerts")
    insert(connection, 1, priority=0)
    insert(connection, 2)
    insert(connection, 3, bot="alerts")
    rows = _stats(outbox, "--exact")["queue"]["rows"]
    assert [(row["bot"], row["priority"], row["depth"]) for row in rows] == [
        ("alerts", 2, 1),
        ("default", 0, 1),
        ("default", 2, 1),
    ]
    assert "3 wait, counted now" in outbox("stats", "--exact").out


def test_depth_is_as_it_was_counted_last_and_says_when(connection, outbox):
    insert(connection, 1)
    connection.execute("SELECT outbox.measure_queue()")
    insert(connection, 2)
    told = _stats(outbox)["queue"]
    assert (told["exact"], sum(row["depth"] for row in told["rows"])) == (False, 1)
    assert told["measured_at"] is not None
    said = outbox("stats").out
    assert "1 wait, counted" in said.splitlines()[0]
    assert said.splitlines()[0].endswith("s ago")


def test_an_outbox_where_nobody_keeps_house_says_so(connection, outbox):
    insert(connection, 1)
    said = outbox("stats").out
    assert "not counted yet: outbox stats --exact counts now" in said
    assert "Nobody keeps house" in said
    assert "No worker is alive" in said


def test_calls_of_the_last_minute_and_ends_of_the_last_quarter_are_counted(connection, clock, outbox):
    unlimited(connection)
    worker = register(connection)
    for chat in (1, 2):
        insert(connection, chat)
    finish(connection, worker, claim(connection, worker).lanes)
    die(connection, 3)
    insert(connection, 4)
    finish(connection, worker, claim(connection, worker).lanes, "wait", retry_after_s=600)
    clock.advance(11)  # only whole steps of 10 s count
    [bot] = _stats(outbox)["bots"]
    assert (bot["sent"], bot["failed"], bot["too_many_requests"]) == (2, 1, 1)
    assert bot["ended"] == {"sent": 2, "dead": 1}
    clock.advance(120)
    [bot] = _stats(outbox)["bots"]
    assert (bot["sent"], bot["ended"]) == (0, {"sent": 2, "dead": 1})


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("UPDATE outbox.bucket SET stopped = true", "paused by an operator: outbox resume default"),
        ("UPDATE outbox.bucket SET unauthorised = true", "bot token refused: set the right one"),
        (
            "UPDATE outbox.bucket SET paused_until = outbox.clock() + interval '5 min', paused_reason = 'flood'",
            "paused by Telegram for 5 min more (flood)",
        ),
        (
            "UPDATE outbox.bucket SET breaker = 'open', breaker_until = outbox.clock() + interval '5 min',"
            " breaker_reason = 'failures'",
            "breaker open for 5 min more (failures)",
        ),
        ("UPDATE outbox.bucket SET breaker = 'half_open'", "breaker half-open"),
        ("UPDATE outbox.bucket SET active_tokens = 15", "sends, slowed down from 30/s after 429s"),
        ("SELECT", "  sends\n"),
    ],
)
def test_what_keeps_a_bot_from_sending_is_named(connection, outbox, change, state):
    register(connection)
    connection.execute(sql.SQL(change))
    assert state in outbox("stats").out


def test_a_bot_that_no_worker_serves_does_not_send(connection, outbox):
    add_bot(connection, "alerts")
    register(connection, "default")
    assert next(line for line in outbox("stats").out.splitlines() if line.startswith("alerts")).endswith("no worker")


def test_a_count_that_got_old_although_house_is_kept_is_pointed_out(connection, clock, outbox):
    insert(connection, 1)
    connection.execute("SELECT outbox.measure_queue(), outbox.note_duty('measure', NULL)")
    clock.advance(61)
    register(connection)
    assert "The depth is not counted any more, although house is kept. Why: outbox doctor" in outbox("stats").out


def test_a_worker_that_was_lost_is_told_from_one_that_lives(connection, clock, outbox):
    lost = register(connection)
    clock.advance(30)
    lives = register(connection)
    connection.execute("SELECT outbox.heartbeat(%s, true)", [lives])
    assert {row["id"]: row["state"] for row in _stats(outbox)["workers"]} == {lost: "lost", lives: "idle"}
    assert "No worker is alive" not in outbox("stats").out


def test_a_broadcast_shows_its_progress(connection, outbox):
    unlimited(connection)
    die(connection, 1, tag="news")
    for chat in (2, 3, 4):
        insert(connection, chat, tag="news")
    [broadcast] = _stats(outbox)["broadcasts"]
    assert (broadcast["tag"], broadcast["waiting"], broadcast["progress"]) == ("news", 3, 0.25)
    assert "25 %" in outbox("stats").out


@pytest.mark.parametrize("command", ["stats", "shape", "show", "explain"])
def test_whoever_may_only_read_can_run_what_looks(connection, login, server, db, outbox, command):
    register(connection)
    arguments = [str(insert(connection, 1, tag="news"))] if command in ("show", "explain") else []
    url = server.url_of(db.url.rpartition("/")[2], user=login("outbox_reader").info.user)
    looked = outbox(command, *arguments, OUTBOX_DATABASE_URL=url)
    assert (looked.code, looked.err) == (0, "")


def test_without_a_terminal_it_prints_once_without_colours(outbox):
    said = outbox("stats")
    assert (said.code, "\x1b" in said.out) == (0, False)


class Terminal:
    """A terminal with `outbox stats` on it."""

    def __init__(self, url):
        self.ours, theirs = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "outbox", "stats", "--exact"],
            env=environment | {"OUTBOX_DATABASE_URL": url, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def shows(self, words):
        """Wait until the words stand on it."""
        deadline = time.monotonic() + DEADLINE_S
        while words not in self.shown:
            assert select.select([self.ours], [], [], max(0, deadline - time.monotonic()))[0], self.shown[-3000:]
            self.shown += os.read(self.ours, 65536).decode(errors="replace")

    def end(self, number):
        """Send a signal; return the exit code and all that was shown until then."""
        self.process.send_signal(number)
        with contextlib.suppress(OSError):  # its end of the terminal is closed
            while read := os.read(self.ours, 65536):
                self.shown += read.decode(errors="replace")
        return self.process.wait(DEADLINE_S), self.shown


@pytest.fixture
def terminal(db):
    made = Terminal(db.url)
    yield made
    made.process.kill()
    made.process.wait()
    os.close(made.ours)


def test_on_a_terminal_it_refreshes_by_itself(connection, terminal):
    insert(connection, 1)
    terminal.shows("1 wait")
    insert(connection, 2)
    terminal.shows("2 wait")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_terminal_as_it_was(terminal, number):
    terminal.shows("nothing waits")
    code, shown = terminal.end(number)
    assert code == 0
    assert "\x1b[?25h" in shown  # the cursor is back
    _, switched, left = shown.rpartition("\x1b[?1049l")  # and the first screen, with the last figures on it
    assert switched
    assert "nothing waits" in left
    assert "Traceback" not in shown


def test_figures_are_called_old_while_the_database_is_away(connection, server, db, terminal):
    terminal.shows("nothing waits")
    name = sql.Identifier(db.url.rpartition("/")[2])
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outbox stats'"
        " AND datname = current_database()"
    )
    terminal.shows("These are the figures of")
    insert(connection, 1)
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    terminal.shows("1 wait")
