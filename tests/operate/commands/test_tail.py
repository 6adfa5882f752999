"""outbox tail: follow what ends, whatever happens to the database or the reader."""

import asyncio
import json
import os
import signal
import sys

import pytest
from psycopg import sql

from tests.invariants.calls import claim, finish, insert, register
from tests.operate.dead_letters import die, unlimited

DEADLINE_S = 30


class Tail:
    """A running `outbox tail`."""

    def __init__(self, process):
        self.process = process
        self.said = ""

    async def line(self):
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def row(self):
        return json.loads(await self.line())

    async def says(self, words):
        async with asyncio.timeout(DEADLINE_S):
            while words not in self.said:
                read = await self.process.stderr.readline()
                assert read, f"ended without saying {words!r}: {self.said}"
                self.said += read.decode()

    async def end(self, number=signal.SIGINT):
        """Return its exit code and what it still said on stderr."""
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            said = await self.process.stderr.read()
            return await self.process.wait(), said.decode()


@pytest.fixture
async def tail(db):
    running = []

    async def start(*arguments, stdout=asyncio.subprocess.PIPE):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", "tail", *arguments),
            env=environment | {"OUTBOX_DATABASE_URL": db.url},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )
        running.append(process)
        started = Tail(process)
        if "--from-start" not in arguments and "--cursor" not in arguments:
            await started.says("following")
        return started

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _send(connection, chat_id, **columns):
    message = insert(connection, chat_id, **columns)
    worker = register(connection, columns.get("bot", "default"))
    finish(connection, worker, claim(connection, worker, bots=[columns.get("bot", "default")]).lanes)
    return message


async def test_what_ends_from_now_on_is_told_in_order(connection, tail):
    unlimited(connection)
    die(connection, 1)
    following = await tail("--json")
    ended = [_send(connection, 2), die(connection, 3, "blocked", "Forbidden: bot was blocked by the user")]
    rows = [await following.row() for _ in ended]
    assert [(row["id"], row["status"]) for row in rows] == list(zip(ended, ["sent", "dead"], strict=True))


async def test_a_line_says_what_ended_how_and_why(connection, tail):
    unlimited(connection)
    following = await tail()
    message = die(connection, -3, "blocked", "Forbidden:\nblocked \x1b[2J", tag="news")
    line = await following.line()
    for words in (f"dead {message:>14}", "bot=default", "chat=-3", "tag=news", r"blocked: Forbidden:\nblocked \x1b[2J"):
        assert words.replace(" ", "") in line.replace(" ", "")


async def test_from_start_tells_what_is_kept_and_a_cursor_goes_on_after_a_line(connection, tail):
    unlimited(connection)
    ended = [die(connection, chat) for chat in (1, 2, 3)]
    following = await tail("--from-start", "--json")
    rows = [await following.row() for _ in ended]
    assert [row["id"] for row in rows] == ended
    later = await tail("--json", "--cursor", rows[1]["cursor"])
    assert (await later.row())["id"] == ended[2]


async def test_only_what_was_asked_for_is_told(connection, tail):
    unlimited(connection)
    unlimited(connection, "alerts")
    following = await tail("--json", "--status", "dead", "--status", "sent", "--bot", "ALERTS", "--tag", "news")
    die(connection, 1, tag="news")
    die(connection, 2, bot="alerts", tag="other")
    wanted = [die(connection, 3, bot="alerts", tag="news"), _send(connection, 4, bot="alerts", tag="news")]
    assert [(await following.row())["id"] for _ in wanted] == wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_cleanly(tail, number):
    following = await tail()
    assert await following.end(number) == (0, "")


async def test_a_reader_that_left_ends_it_cleanly_before_anything_ends(tail):
    reading, writing = os.pipe()
    following = await tail(stdout=writing)
    os.close(writing)
    os.close(reading)
    async with asyncio.timeout(DEADLINE_S):
        assert (await following.process.stderr.read(), await following.process.wait()) == (b"", 0)


async def test_it_goes_on_where_it_was_when_the_database_comes_back(connection, server, db, tail):
    unlimited(connection)
    following = await tail("--json")
    first = die(connection, 1)
    assert (await following.row())["id"] == first
    name = sql.Identifier(db.url.rpartition("/")[2])
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outbox tail'"
        " AND datname = current_database()"
    )
    await following.says("Trying again.")
    meanwhile = die(connection, 2)
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    assert (await following.row())["id"] == meanwhile
    await following.says("the database is back")


def test_a_database_that_was_never_there_is_one_line_and_exit_1(outbox):
    refused = outbox("tail", OUTBOX_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--from-start", "--cursor", "1:1:1:1"), 2),
        (("--status", "queued"), 2),
        (("--cursor", "nonsense"), 1),
        (("--cursor", "17:1:1:1"), 1),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(outbox, arguments, code):
    refused = outbox("tail", *arguments)
    assert (refused.code, len(refused.err.splitlines())) == (code, 1)
