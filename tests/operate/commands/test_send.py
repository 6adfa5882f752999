"""outbox send: one message, or a file of them that is checked before anything is stored."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from outbox.operate import store_stream
from tests.invariants.calls import claim, finish, register
from tests.operate.commands.conftest import Outbox


def stored(db: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(db.execute("SELECT chat_id, payload FROM outbox.message ORDER BY id"))


def columns(db: Any, *names: str) -> tuple[Any, ...]:
    [row] = db.execute(f"SELECT {', '.join(names)} FROM outbox.message")
    return tuple(row)


def written(tmp_path: Path, name: str, *lines: str | dict[str, Any]) -> str:
    file = tmp_path / name
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(file)


def messages(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"chat_id": number, "text": f"text {number}"} | more for number in range(1, count + 1)]


def test_a_chat_and_a_text_are_enough(db: Any, outbox: Outbox) -> None:
    done = outbox("send", "42", "hi")
    assert (done.code, done.err) == (0, "")
    [(message_id,)] = db.execute("SELECT id FROM outbox.message")
    assert done.out == f"message {message_id} waits\n"
    assert stored(db) == [("42", {"text": "hi"})]


def test_the_number_of_a_group_is_no_option(db: Any, outbox: Outbox) -> None:
    assert outbox("send", "-1001234567890", "-5", "--tag", "cold").code == 0
    assert stored(db) == [("-1001234567890", {"text": "-5"})]
    assert outbox("send", "42", "--tga").code == 2, "a slip is not sent as a text"


def test_each_column_has_an_option(db: Any, outbox: Outbox) -> None:
    db.execute("SELECT outbox.set_bot('alerts')")
    before = datetime.now(UTC)
    done = outbox(
        *("send", "@News", "--payload", '{"photo": "x"}', "--method", "sendPhoto", "--bot", "alerts"),
        *("--priority", "high", "--tag", "t", "--correlation-id", "c", "--idempotency-key", "k"),
        *("--collapse-key", "l", "--on-uncertain", "hold", "--max-attempts", "3"),
        *("--at", "2h", "--expires", "2099-01-01T00:00", "--json"),
    )
    assert done.code == 0, done.err
    names = ("id", "chat_id", "payload", "method", "bot", "priority", "tag", "correlation_id", "idempotency_key")
    assert columns(db, *names) == (
        *(json.loads(done.out)["id"], "@news", {"photo": "x"}, "sendPhoto", "alerts", 1, "t", "c", "k"),
    )
    assert columns(db, "collapse_key", "on_uncertain", "max_attempts") == ("l", "hold", 3)
    at, expires = columns(db, "next_attempt_at", "expires_at")
    assert timedelta(0) <= at - before - timedelta(hours=2) < timedelta(minutes=1)
    assert expires == datetime(2099, 1, 1, tzinfo=UTC)


def test_a_used_idempotency_key_gives_the_first_ones_id(db: Any, outbox: Outbox) -> None:
    first = outbox("send", "42", "hi", "--idempotency-key", "k", "--json")
    second = outbox("send", "42", "hi", "--idempotency-key", "k", "--json")
    assert first.out == second.out
    assert len(stored(db)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("4 2", "hi"), 1, 'chat_id "4 2" is neither a number nor a @name. Give the chat\'s number'),
        (("42", "hi", "--bot", "nobody"), 1, 'bot "nobody" does not exist. Use the name of a row'),
        (("42", "hi", "--priority", "urgent"), 2, "priority urgent does not exist. Use 0 critical"),
        (("42", "hi", "--at", "soon"), 2, "'soon' is no time. Use 2h, 30min or 7d (from now)"),
        (("42", "--payload", "{"), 2, "--payload is not JSON"),
        (("42", "--payload", "[1]"), 1, "payload is of type list"),
        (("42", "hi", "--payload", "{}"), 2, "both TEXT and --payload are given"),
        (("42",), 2, "send needs a chat and a text"),
        (("42", "--file", "x.csv"), 2, "are of one message"),
        (("--file", "messages.txt"), 2, "messages.txt does not tell its format"),
        (("--file", "not-there.csv"), 2, "not-there.csv cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_stored(
    db: Any, outbox: Outbox, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = outbox("send", *arguments)
    assert says in done.err
    assert (done.code, done.out, stored(db)) == (code, "", [])


def test_a_dry_run_stores_nothing(db: Any, outbox: Outbox, tmp_path: Path) -> None:
    assert outbox("send", "42", "hi", "--dry-run").code == 0
    assert outbox("send", "--file", written(tmp_path, "m.jsonl", *messages(2)), "--dry-run").code == 0
    assert outbox("send", "--file", written(tmp_path, "bad.jsonl", "{}"), "--dry-run").code == 1
    assert stored(db) == []


def _answer(db: Any, outcome: str) -> None:
    """Be the worker of the message that comes: claim it and end it."""
    with db.connect() as connection:
        worker = register(connection)
        connection.execute("LISTEN outbox_wakeup")
        while not (lanes := claim(connection, worker).lanes):
            for _ in connection.notifies(timeout=0.2, stop_after=1):
                pass
        finish(connection, worker, lanes, outcome, error_class="blocked" if outcome == "dead" else None)


@pytest.mark.parametrize(("outcome", "code"), [("sent", 0), ("dead", 1)])
def test_waiting_tells_how_it_ended_and_fails_unless_it_was_sent(
    db: Any, outbox: Outbox, outcome: str, code: int
) -> None:
    telegram = threading.Thread(target=_answer, args=(db, outcome))
    telegram.start()
    done = outbox("send", "42", "hi", "--json", "--wait", "30")
    telegram.join()
    assert done.code == code, done.err
    assert json.loads(done.out)["status"] == outcome


def test_waiting_in_vain_fails_and_says_how_to_find_out_why(db: Any, outbox: Outbox) -> None:
    done = outbox("send", "42", "hi", "--wait", "0")
    assert done.code == 1
    assert "is queued after 0 s. Why: outbox explain" in done.out


def test_json_lines_are_stored_in_their_order_with_what_options_fill_in(
    db: Any, outbox: Outbox, tmp_path: Path
) -> None:
    lines = [
        {"chat_id": 42, "text": "one", "priority": "low", "tag": None},
        "",
        {"chat_id": "42", "payload": {"photo": "x"}, "method": "sendPhoto", "tag": "own"},
        {"chat_id": 42, "text": "later", "next_attempt_at": "2099-01-01T00:00:00+01:00"},
    ]
    done = outbox("send", "--file", written(tmp_path, "m.jsonl", *lines), "--tag", "spring", "--method", "sendMessage")
    assert (done.code, done.out, done.err) == (0, "3 messages stored\n", "")
    assert db.execute("SELECT payload, priority, tag, method FROM outbox.message ORDER BY id") == [
        ({"text": "one"}, 3, "spring", "sendMessage"),
        ({"photo": "x"}, 2, "own", "sendPhoto"),
        ({"text": "later"}, 2, "spring", "sendMessage"),
    ]
    assert db.execute("SELECT next_attempt_at FROM outbox.message WHERE payload ->> 'text' = 'later'") == [
        (datetime(2098, 12, 31, 23, tzinfo=UTC),)
    ]


def test_csv_has_the_columns_of_its_first_line(db: Any, outbox: Outbox) -> None:
    header = "\ufeffchat_id,text,priority,max_attempts,payload"
    text = f'{header}\r\n-100,"a, ""b""\nc",high,3,\r\n\r\n@abc,,,,"{{""photo"": 1}}"\r\n'
    done = outbox("send", "--file", "-", "--format", "csv", input=text)
    assert (done.code, done.out) == (0, "2 messages stored\n"), done.err
    assert stored(db) == [("-100", {"text": 'a, "b"\nc'}), ("@abc", {"photo": 1})]
    assert db.execute("SELECT priority, max_attempts FROM outbox.message ORDER BY id") == [(1, 3), (2, None)]


def test_the_text_may_be_the_options(db: Any, outbox: Outbox) -> None:
    done = outbox(
        "send", "--file", "-", "--format", "csv", "--payload", '{"text": "all"}', input="chat_id;tag\n1;a\n2;b\n"
    )
    assert done.code == 0, done.err
    assert stored(db) == [("1", {"text": "all"}), ("2", {"text": "all"})]


BAD_LINES = [
    ("not json", "line 2: not JSON at column 1"),
    ("[]", "line 2: not an object"),
    ('{"chat_id": 42}', "line 2: payload is missing"),
    ('{"chat_id": 42, "text": "a", "prio": 1}', "line 2: a message has no field 'prio'. Use bot, chat_id"),
    ('{"chat_id": "4 2", "text": "a"}', 'line 2: chat_id "4 2" is neither a number nor a @name. Give'),
    ('{"chat_id": 42.0, "text": "a"}', "line 2: chat_id is of type float"),
    ('{"chat_id": 42, "text": "a", "priority": 9}', "line 2: priority 9 does not exist. Use 0 critical"),
    ('{"chat_id": 42, "text": "a", "payload": {}}', "line 2: both text and payload"),
    ('{"chat_id": 42, "text": "a\\u0000"}', "line 2: payload holds the character U+0000"),
    ('{"chat_id": 42, "text": "a", "expires_at": "2099-01-01T00:00"}', "line 2: expires_at '2099-01-01T00:00' has no"),
    ('{"chat_id": 42, "text": "a", "bot": "nobody"}', "line 2: bot 'nobody' does not exist"),
    ('{"chat_id": 42, "text": NaN}', "line 2: payload cannot be JSON"),
    ("[" * 100_000, "line 2: not JSON"),
    (b'{"chat_id": 42, "text": "\xff"}'.decode("latin-1"), "line 2: not UTF-8"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_LINES, ids=[says[8:40] for _, says in BAD_LINES])
def test_a_bad_line_is_named_with_what_to_change_and_nothing_is_stored(
    db: Any, outbox: Outbox, bad: str, says: str
) -> None:
    lines = f'{{"chat_id": 1, "text": "good"}}\n{bad}\n{{"chat_id": 3, "text": "good"}}\n'
    encoded = lines.encode("latin-1") if "\xff" in bad else lines.encode()
    done = outbox("send", "--file", "-", input=encoded)
    assert says in done.err
    assert done.code == 1
    assert "othing was stored" in done.err
    assert stored(db) == []
    done = outbox("send", "--file", "-", "--skip-bad", input=encoded)
    assert (done.code, done.out) == (0, "2 messages stored, 1 bad line left out\n")
    assert [chat for chat, _ in stored(db)] == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chat_id,text\n1,a\n2,b,c\n", "line 3: has 3 cells, and the header 2"),
        ("chat_id,text\n1,a\n1.00E+12,b\n", 'line 3: chat_id "1.00e+12" is neither'),
        ('chat_id,text,target_id\n1,"a\nb",\n2,b,x\n', "line 4: target_id 'x' is not a number"),
        ("chat_id,payload\n1,a\n", "line 2: payload is not JSON. Use a column text"),
    ],
)
def test_bad_cells_are_named_by_the_line_where_their_row_begins(db: Any, outbox: Outbox, text: str, says: str) -> None:
    done = outbox("send", "--file", "-", "--format", "csv", input=text)
    assert says in done.err
    assert (done.code, stored(db)) == (1, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chat,text\n1,a\n", "line 1: the header names 'chat', no column of a message. Use bot, chat_id"),
        ('chat_id,text\n1,a\n2,"b\n3,c\n', "line 3: not CSV"),
        ("chat_id,text\n1,a\n" + "x" * 2_000_001, "line 3: longer than 2,000,000 bytes"),
    ],
)
def test_what_cannot_be_read_to_its_end_is_not_stored_at_all(db: Any, outbox: Outbox, text: str, says: str) -> None:
    done = outbox("send", "--file", "-", "--format", "csv", "--skip-bad", input=text)
    assert says in done.err
    assert (done.code, stored(db)) == (1, [])


def test_of_many_bad_lines_the_first_are_told_and_all_are_counted(db: Any, outbox: Outbox) -> None:
    done = outbox("send", "--file", "-", "--json", input="{}\n" * 100)
    assert done.code == 1
    assert json.loads(done.out)["bad_lines"] == 100
    assert len(done.err.splitlines()) == 22
    assert "and 80 more bad lines" in done.err


def test_with_keys_a_file_that_is_sent_again_is_not_stored_again(db: Any, outbox: Outbox, tmp_path: Path) -> None:
    lines = [line | {"idempotency_key": f"k{line['chat_id']}"} for line in messages(2500)]
    assert outbox("send", "--file", written(tmp_path, "m.jsonl", *lines[:1200])).code == 0
    done = outbox("send", "--file", written(tmp_path, "m.jsonl", *lines), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["stored"], told["repeated"], told["last_line"]) == (1300, 1200, 2500)
    assert len(stored(db)) == 2500


def test_a_line_that_only_the_database_can_refuse_stops_the_stream_before_its_batch(
    db: Any, outbox: Outbox, tmp_path: Path
) -> None:
    [(other,)] = db.execute('SELECT outbox.send(7, \'{"text": "x"}\')')
    lines = messages(1500)
    lines[1200] |= {"target_id": other, "method": "editMessageText"}
    file = written(tmp_path, "m.jsonl", *lines)
    done = outbox("send", "--file", file)
    assert done.code == 1
    assert done.out == "1,000 messages stored\n"
    assert "line 1201: " in done.err
    assert f"{file} is stored up to line 1000. Go on with the same command and --from-line 1001." in done.err
    done = outbox("send", "--file", file, "--from-line", "1001", "--skip-bad")
    assert (done.code, done.out) == (0, "499 messages stored, 1 bad line left out\n")
    assert len(stored(db)) == 1500


def test_a_stream_that_is_interrupted_says_up_to_where_it_was_stored_and_can_go_on(
    db: Any, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "m.jsonl", *messages(3500))
    enqueue_many = store_stream.enqueue_many
    calls = []

    def interrupted(connection: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return enqueue_many(connection, batch)

    with monkeypatch.context() as patch:
        patch.setattr(store_stream, "enqueue_many", interrupted)
        done = outbox("send", "--file", file)
    assert done.code == 130
    assert f"{file} is stored up to line 2000. Go on with the same command and --from-line 2001." in done.err
    assert len(stored(db)) == 2000
    assert outbox("send", "--file", file, "--from-line", "2001").code == 0
    assert [chat for chat, _ in stored(db)] == [str(number) for number in range(1, 3501)]


def signals_after_commit(monkeypatch: pytest.MonkeyPatch, number: int, count: int) -> None:
    """Have so many SIGINT come right after commit `number`, before anything else is done."""
    transaction = psycopg.Connection.transaction
    commits: list[int] = []

    @contextlib.contextmanager
    def interrupted(self: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
        outermost = self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with transaction(self, *arguments, **named) as inner:
            yield inner
        commits.extend([1] * outermost)
        if outermost and len(commits) == number:
            for _ in range(count):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(psycopg.Connection, "transaction", interrupted)


def test_a_second_ctrl_c_right_after_a_commit_leaves_no_false_certainty(
    db: Any, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "m.jsonl", *messages(3500))
    with monkeypatch.context() as patch:
        signals_after_commit(patch, 2, 2)
        done = outbox("send", "--file", file, "--json")
    assert done.code == 130
    assert len(stored(db)) == 2000
    told = json.loads(done.out)
    assert (told["last_line"], told["unsure_until_line"], told["complete"]) == (1000, 2000, False)
    assert "is stored up to" not in done.err
    assert f"lines 1001 to 2000 of {file} may be stored or not: it was interrupted during the commit." in done.err
    assert "go on with --from-line 1001 or 2001." in done.err


def test_a_stream_that_is_interrupted_in_its_last_batch_is_complete(
    db: Any, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "m.jsonl", *messages(1500))
    with monkeypatch.context() as patch:
        signals_after_commit(patch, 2, 1)
        done = outbox("send", "--file", file, "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert (told["last_line"], told["complete"], len(stored(db))) == (1500, True, 1500)


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("IMMEDIATE", "is stored up to line 1000. Go on with the same command and --from-line 1001."),
        ("DEFERRED", "the connection broke during the commit. Look in outbox.history, then go on with --from-line"),
    ],
)
def test_a_lost_connection_leaves_no_false_certainty(
    db: Any, outbox: Outbox, tmp_path: Path, when: str, says: str
) -> None:
    db.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    )
    db.execute(
        f"CREATE CONSTRAINT TRIGGER die AFTER INSERT ON outbox.message DEFERRABLE INITIALLY {when}"
        " FOR EACH ROW WHEN (NEW.chat_id = '1001') EXECUTE FUNCTION die()"
    )
    done = outbox("send", "--file", written(tmp_path, "m.jsonl", *messages(2500)), "--json")
    assert done.code == 1
    assert says in done.err
    told = json.loads(done.out)
    assert (told["stored"], told["last_line"], told["complete"]) == (1000, 1000, False)
    assert told["unsure_until_line"] == (2000 if when == "DEFERRED" else None)
    assert len(stored(db)) == 1000
