"""outbox dead: what died, and retrying or discarding it as a batch that goes on by itself."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register, status
from tests.operate.commands.conftest import Outbox
from tests.operate.dead_letters import audited, die, unlimited

Keeper = Callable[[], None]


def die_many(connection: Connection, count: int, error_class: str = "timeout") -> None:
    """Let that many messages of different chats die at once."""
    for number in range(1, count + 1):
        insert(connection, number)
    worker = register(connection)
    died = 0
    while died < count:
        lanes = claim(connection, worker, n=200).lanes
        died += finish(connection, worker, lanes, "dead", error_class=error_class, error_text="no answer")
    connection.execute("UPDATE outbox.worker SET ended_at = outbox.clock()")


def run_batches(connection: Connection) -> None:
    """Take each batch a step further."""
    while connection.execute("SELECT outbox.run_batches()").fetchone() != (None,):
        pass


@pytest.fixture
def house(db: Any, connection: Connection) -> Iterator[Keeper]:
    """Start a process that keeps house, as batches need it; in a thread."""
    unlimited(connection)
    leaving = threading.Event()
    threads: list[threading.Thread] = []

    def keep() -> None:
        with db.connect() as own:
            while not leaving.is_set():
                own.execute("SELECT outbox.keep_house('h')")
                own.execute("SELECT outbox.run_batches()")
                leaving.wait(0.02)

    def start() -> None:
        connection.execute("SELECT outbox.keep_house('h')")
        threads.append(threading.Thread(target=keep))
        threads[-1].start()

    yield start
    leaving.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def letters(connection: Connection) -> dict[str, int]:
    """Three dead letters of two classes, the newest last; nobody keeps house."""
    unlimited(connection)
    made = {
        "first": die(connection, 1, "timeout", "no answer in time"),
        "blocked": die(connection, 2, "blocked", "Forbidden: bot was blocked by the user", tag="t"),
        "last": die(connection, 3, "timeout", "no answer in time"),
    }
    connection.execute("UPDATE outbox.worker SET ended_at = outbox.clock()")
    return made


def test_the_list_counts_them_by_class_with_a_sample(outbox: Outbox, letters: dict[str, int]) -> None:
    done = outbox("dead", "list")
    assert done.code == 0, done.err
    timeout, blocked = done.out.splitlines()[1:3]
    assert timeout.split()[:4] == ["default", "timeout", "dead", "2"]
    assert f"{letters['last']}" in timeout
    assert "no answer in time" in timeout
    assert "Forbidden: bot was blocked by the user" in blocked
    assert "3 in all" in done.out
    told = json.loads(outbox("dead", "list", "--json").out)
    assert [(group["error_class"], group["count"]) for group in told["groups"]] == [("timeout", 2), ("blocked", 1)]
    assert told["count"] == 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ["last", "blocked", "first"]),
        (("--class", "timeout"), ["last", "first"]),
        (("--tag", "t"), ["blocked"]),
        (("--text", "BLOCKED BY"), ["blocked"]),
        (("--class", "timeout", "--tag", "t"), []),
        (("--since", "1h"), ["last", "blocked", "first"]),
        (("--until", "1h"), []),
        (("--until", "now", "--bot", "Default"), ["last", "blocked", "first"]),
        (("--status", "uncertain"), []),
        (("--limit", "1"), ["last"]),
    ],
    ids=str,
)
def test_each_can_be_listed_by_every_condition_newest_first(
    outbox: Outbox, letters: dict[str, int], given: tuple[str, ...], expected: list[str]
) -> None:
    done = outbox("dead", "list", "--each", "--json", *given)
    assert [row["id"] for row in json.loads(done.out)["dead_letters"]] == [letters[name] for name in expected], done.err


def test_one_is_shown_with_its_attempts_and_what_is_none_is_named(
    outbox: Outbox, connection: Connection, letters: dict[str, int]
) -> None:
    done = outbox("dead", "show", str(letters["blocked"]))
    assert done.code == 0, done.err
    assert "Forbidden: bot was blocked by the user" in done.out
    waiting = insert(connection, 9)
    done = outbox("dead", "show", str(waiting))
    assert (done.code, done.out) == (1, "")
    assert f"message {waiting} is no dead letter: it is queued" in done.err
    assert outbox("dead", "show", "999").code == 1


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_dry_run_counts_and_changes_nothing(
    outbox: Outbox, connection: Connection, letters: dict[str, int], verb: str
) -> None:
    done = outbox("dead", verb, "--class", "timeout", "--dry-run")
    assert done.code == 0
    assert done.out.startswith("2 dead letters would be ")
    assert json.loads(outbox("dead", verb, "--until", "now", "--dry-run", "--json").out)["count"] == 3
    assert outbox("dead", verb, "--class", "none", "--dry-run").out == "no dead letter is like that; nothing to do\n"
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (0,)
    assert audited(connection) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("retry",), 2, "nothing says which dead letters to retry. Name ids or a condition: outbox dead retry 17"),
        (("discard", "--rate", "5"), 2, "nothing says which dead letters to discard"),
        (("retry", "--bot", "nobody"), 1, "bot 'nobody' does not exist. List them: outbox bot list"),
        (("list", "--bot", "nobody"), 1, "bot 'nobody' does not exist"),
        (("retry", "--since", "yesterday"), 2, "'yesterday' is no time. Use 2h, 30min or 7d (ago)"),
        (("retry", "--until", "now", "--rate", "0"), 2, "'0' is no pace. Use 0.000001 to 1000000, in a second."),
        (("retry", "--until", "now", "--rate", "1e-300"), 2, "'1e-300' is no pace"),
        (("retry", "--until", "now", "--rate", "inf"), 2, "'inf' is no pace"),
        (("retry", "--until", "now", "--rate", "nan"), 2, "'nan' is no pace"),
        (("batches", "--wait"), 2, "--wait is for one batch"),
        (("batches", "7"), 1, "there is no batch 7. List them: outbox dead batches"),
        (("stop", "7"), 1, "there is no batch 7"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_words_that_help(
    outbox: Outbox, connection: Connection, letters: dict[str, int], arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = outbox("dead", *arguments)
    assert says in done.err
    assert (done.code, done.out) == (code, "")
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (0,)


@pytest.mark.parametrize(("verb", "status_then"), [("retry", "queued"), ("discard", "discarded")])
def test_a_batch_is_followed_to_its_end(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper, verb: str, status_then: str
) -> None:
    house()
    done = outbox("dead", verb, "--class", "timeout")
    assert done.code == 0, done.err
    assert f"2 of 2 dead letters {'retried' if verb == 'retry' else 'discarded'}" in done.out
    assert [status(connection, letters[name]) for name in ("first", "blocked", "last")] == [
        status_then,
        "dead",
        status_then,
    ]
    assert [(what, count) for what, _, count in audited(connection)] == [("start_batch", 2), (verb, 2)]
    [(who,)] = connection.execute("SELECT DISTINCT who FROM outbox.audit").fetchall()
    assert "(" in who, "the person at the terminal is on record"


def test_ids_are_retried_and_those_that_are_none_are_told(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper
) -> None:
    house()
    done = outbox("dead", "retry", str(letters["first"]), "--id", str(letters["blocked"]), "--id", "999")
    assert done.code == 1
    assert "1 of the ids is no dead letter that meets all conditions." in done.err
    assert "2 of 2 dead letters retried" in done.out
    assert status(connection, letters["last"]) == "dead"
    done = outbox("dead", "retry", "999")
    assert (done.code, done.out) == (1, "no dead letter is like that; nothing to do\n")


def test_over_a_hundred_nothing_happens_without_a_terminal_or_yes(
    outbox: Outbox, connection: Connection, house: Keeper
) -> None:
    die_many(connection, 101)
    house()
    done = outbox("dead", "retry", "--until", "now")
    assert done.code == 2
    assert "101 dead letters would be retried, and there is no terminal to ask at. Add --yes" in done.err
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (0,)
    done = outbox("dead", "retry", "--until", "now", "--yes", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["state"], told["total"], told["done"], told["progress"]) == ("done", 101, 101, 1)


@pytest.mark.parametrize(("typed", "code"), [("101", 0), ("y", 1), ("", 1), ("100", 1)])
def test_over_a_hundred_the_number_has_to_be_typed(
    outbox: Outbox, connection: Connection, house: Keeper, typed: str, code: int
) -> None:
    die_many(connection, 101)
    house()
    done = outbox("dead", "discard", "--class", "timeout", typed=f"{typed}\n")
    assert done.code == code, done.err
    assert "101 dead letters will be discarded. Type the number to go on" in done.err
    assert "timeout" in done.out, "what it is about is shown before"
    left = connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchone()
    assert left == (0 if code == 0 else 101,)


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_ctrl_c_at_the_question_starts_nothing_and_is_no_batch_that_goes_on(
    outbox: Outbox, connection: Connection, verb: str
) -> None:
    die_many(connection, 101)
    done = outbox("dead", verb, "--until", "now", typed="")  # the end of the input is taken as Ctrl-C is
    assert done.code == 1
    assert done.err.splitlines()[-1] == "outbox: nothing was changed."
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (0,)


def test_what_dies_after_it_was_counted_is_left_alone(
    outbox: Outbox, connection: Connection, letters: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from outbox.operate.commands import dead

    start_batch = dead.start_batch
    later = []

    def late(*arguments: Any) -> int:
        later.append(die(connection, 8, "timeout"))
        return start_batch(*arguments)

    monkeypatch.setattr(dead, "start_batch", late)
    outbox("dead", "retry", "--class", "timeout", "--no-wait")
    assert connection.execute("SELECT total FROM outbox.batch").fetchone() == (2,)
    connection.execute("SELECT outbox.run_batches()")
    assert status(connection, letters["first"]) == "queued"
    assert status(connection, later[0]) == "dead"


def test_those_that_may_have_arrived_are_pointed_out(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper
) -> None:
    house()
    connection.execute("UPDATE outbox.dead_letter SET status = 'uncertain' WHERE id = %s", [letters["blocked"]])
    warning = "1 is uncertain: they may have arrived. --status dead leaves them out."
    assert warning in outbox("dead", "retry", "--until", "now").err
    assert warning not in outbox("dead", "retry", "--until", "now", "--status", "dead").err


def test_without_anybody_to_run_it_the_batch_says_who_will(
    outbox: Outbox, connection: Connection, letters: dict[str, int]
) -> None:
    done = outbox("dead", "retry", "--class", "timeout")
    assert done.code == 3, "it is not done, and a script can tell that from a failure"
    assert "no worker or housekeeper is alive: the first one that starts does batch 1. Start one: outbox up" in done.err
    assert "Follow it: outbox dead batches 1 --wait. Stop it: outbox dead stop 1" in done.out
    assert outbox("dead", "discard", "--class", "blocked", "--no-wait").code == 0
    run_batches(connection)
    assert status(connection, letters["first"]) == "queued"
    assert status(connection, letters["blocked"]) == "discarded"


def test_interrupting_leaves_the_batch_running_and_says_how_to_go_on(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outbox.operate import follow_batch

    connection.execute("SELECT outbox.keep_house('h')")  # alive, and slow
    monkeypatch.setattr(follow_batch.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    done = outbox("dead", "retry", "--class", "timeout")
    monkeypatch.undo()
    assert done.code == 130
    assert "batch 1 goes on without this terminal. Follow it: outbox dead batches 1 --wait." in done.err
    assert json.loads(outbox("dead", "batches", "1", "--json").out)["state"] == "running"


def test_a_batch_can_be_followed_by_its_number_listed_and_stopped(
    db: Any, outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper
) -> None:
    assert outbox("dead", "batches").out.startswith("no batch was ever started")
    outbox("dead", "retry", "--class", "timeout", "--no-wait")
    outbox("dead", "retry", "--class", "blocked", "--no-wait")
    stopped = outbox("dead", "stop", "2")
    assert (stopped.code, stopped.out) == (0, "batch 2 is stopped: 0 of 1 dead letter retried, stopped\n")
    assert json.loads(outbox("dead", "stop", "2", "--json").out)["changed"] is False
    house()
    done = outbox("dead", "batches", "1", "--wait")
    assert (done.code, done.out) == (0, "batch 1: 2 of 2 dead letters retried\n")
    assert outbox("dead", "batches", "2", "--wait").code == 1, "it was stopped"
    listed = outbox("dead", "batches").out.splitlines()
    assert [line.split()[:6] for line in listed[1:]] == [
        ["2", "retry", "stopped", "0", "1", "0"],
        ["1", "retry", "done", "2", "2", "0"],
    ]
    assert listed[2].endswith("class timeout")
    assert status(connection, letters["blocked"]) == "dead"


def test_a_command_run_again_with_its_key_starts_nothing_twice(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper
) -> None:
    again = ("dead", "retry", "--class", "timeout", "--key", "k")
    assert outbox(*again, "--no-wait").code == 0
    second = outbox(*again, "--no-wait")
    assert second.code == 0
    assert "batch 1 was started with this key before: nothing new is started." in second.err
    house()
    assert outbox(*again).code == 0
    done = outbox(*again)  # nothing is left to count
    assert (done.code, done.out) == (0, "batch 1: 2 of 2 dead letters retried\n")
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (1,)


def test_a_lost_answer_tells_the_key_that_makes_a_second_try_safe(
    outbox: Outbox, connection: Connection, letters: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from outbox.operate import dead_letters

    ask = dead_letters._value

    def cut(own: Any, expression: str, *arguments: Any, **named: Any) -> Any:
        found = ask(own, expression, *arguments, **named)
        if "start_batch" in expression:  # done, and the answer never arrives
            own.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return found

    monkeypatch.setattr(dead_letters, "_value", cut)
    done = outbox("dead", "retry", "--class", "timeout")
    monkeypatch.undo()
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    key = re.search(r"The same command with --key (\w+) starts nothing twice\.", done.err)
    assert key is not None
    outbox("dead", "retry", "--class", "timeout", "--no-wait", "--key", key[1])
    assert connection.execute("SELECT count(*) FROM outbox.batch").fetchone() == (1,)


def test_what_could_not_be_moved_is_counted(
    outbox: Outbox, connection: Connection, letters: dict[str, int], house: Keeper
) -> None:
    outbox("dead", "retry", "--class", "timeout", "--no-wait")
    connection.execute(
        "UPDATE outbox.batch SET done = 1, failed = 1, state = 'done', finished_at = outbox.clock(), last_error = 'odd'"
    )
    done = outbox("dead", "batches", "1", "--wait")
    assert done.out == (
        "batch 1: 1 of 2 dead letters retried; 1 could not be retried and stays a dead letter. Last error: odd\n"
    )
    assert done.code == 1, "not all of them are done"
    assert outbox("dead", "batches").out.splitlines()[1].split()[3:6] == ["1", "2", "1"]
    assert "1, and left as they are" in outbox("dead", "batches", "1").out


def test_what_was_not_looked_at_is_said(outbox: Outbox, connection: Connection, letters: dict[str, int]) -> None:
    told = json.loads(outbox("dead", "list", "--json").out)
    assert (told["complete"], told["reached_at"]) == (True, None)
    connection.execute("DROP FUNCTION outbox.dead_letter_reach")
    connection.execute(
        "CREATE FUNCTION outbox.dead_letter_reach(p_since timestamptz, p_until timestamptz,"
        " OUT complete boolean, OUT reached_at timestamptz) LANGUAGE sql STABLE"
        " AS $$ SELECT false, '2026-03-01T12:00Z'::timestamptz $$"
    )
    said = outbox("dead", "list").err
    assert "only deaths since 2026-03-01 12:00:00 UTC were looked at, the newest. For older ones: --until." in said


def test_the_rate_is_the_batches_pace(outbox: Outbox, connection: Connection, letters: dict[str, int]) -> None:
    assert "in about 4 s" in outbox("dead", "retry", "--class", "timeout", "--rate", "0.5", "--dry-run").out
    outbox("dead", "retry", "--class", "timeout", "--rate", "0.5", "--no-wait")
    assert connection.execute("SELECT per_s FROM outbox.batch").fetchone() == (0.5,)
    assert "at most 0.5 a second" in outbox("dead", "batches", "1").out
