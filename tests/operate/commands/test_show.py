"""outbox show: one message, why it failed or waits, found by whatever name a person has."""

import json
import re

from psycopg import sql

from tests.invariants.calls import claim, finish, insert, register
from tests.operate.dead_letters import die, unlimited

BLOCKED = "Forbidden: bot was blocked by the user"


def test_why_a_message_failed_stands_in_one_command(connection, outbox):
    unlimited(connection)
    message = die(connection, 42, "blocked", BLOCKED, correlation_id="order-4711")
    shown = outbox("show", str(message))
    assert shown.code == 0
    assert f"blocked: {BLOCKED}" in shown.out.splitlines()[2]
    assert f"outbox dead retry {message}" in shown.out


def test_each_attempt_stands_in_the_timeline(connection, outbox):
    unlimited(connection)
    message = die(connection, 42, "blocked", BLOCKED)
    [document] = json.loads(outbox("show", str(message), "--json").out)["messages"]
    assert sorted(event["what"] for event in document["timeline"]) == ["accepted", "attempt", "ended"]
    assert BLOCKED in outbox("show", str(message)).out.split("attempt ")[-1]


def test_a_waiting_message_says_what_it_waits_for(connection, outbox):
    message = insert(connection, 42)
    connection.execute("SELECT outbox.pause('default')")
    shown = outbox("show", str(message))
    assert "waits because" in shown.out
    assert "outbox resume default" in shown.out


def test_a_message_is_found_by_its_correlation_id(connection, outbox):
    message = insert(connection, 42, correlation_id="order-4711")
    assert outbox("show", "order-4711").out.splitlines()[0].split() == ["message", str(message)]


def test_a_correlation_id_that_is_a_number_is_found_too(connection, outbox):
    message = insert(connection, 42, correlation_id="900000000000000000000000")
    other = insert(connection, 43, correlation_id="4711")
    for name, expected in (("900000000000000000000000", message), ("4711", other)):
        [found] = json.loads(outbox("show", name, "--json").out)["messages"]
        assert found["id"] == expected


def test_a_number_that_is_both_shows_the_id_and_names_the_others(connection, outbox):
    first = insert(connection, 42)
    second = insert(connection, 43, correlation_id=str(first))
    shown = outbox("show", str(first), "--json")
    assert [message["id"] for message in json.loads(shown.out)["messages"]] == [first, second]
    assert f"also with the correlation id {first}" in outbox("show", str(first)).out


def test_several_messages_with_one_correlation_id_are_listed(connection, outbox):
    messages = [insert(connection, chat, correlation_id="order-4711") for chat in (1, 2)]
    shown = outbox("show", "order-4711")
    assert shown.code == 0
    assert [int(line.split()[0]) for line in shown.out.splitlines()[2:]] == sorted(messages, reverse=True)


def test_an_unknown_message_is_one_line_and_exit_1(outbox):
    shown = outbox("show", "17")
    assert (shown.code, shown.out, len(shown.err.splitlines())) == (1, "", 1)
    assert "no message has the id or correlation id 17" in shown.err


def test_bytes_that_are_no_text_are_an_unknown_message(outbox):
    shown = outbox("show", "\udcff")
    assert (shown.code, len(shown.err.splitlines())) == (1, 1)


def test_what_a_message_says_is_shown_only_when_asked_for(connection, outbox):
    message = insert(connection, 42, payload={"text": "the secret"})
    for as_json in ((), ("--json",)):
        assert "the secret" not in outbox("show", str(message), *as_json).out
        assert "the secret" in outbox("show", str(message), "--payload", *as_json).out


def test_who_read_a_payload_is_on_record(connection, outbox):
    message = insert(connection, 42, payload={"text": "the secret"})
    outbox("show", str(message))
    assert connection.execute("SELECT count(*) FROM outbox.audit").fetchone() == (0,)
    outbox("show", str(message), "--payload", SUDO_USER="ann")
    [(who, what, about)] = connection.execute("SELECT who, what, filter FROM outbox.audit").fetchall()
    assert (who.endswith("(ann)"), what, about) == (True, "payload", {"id": message})


def test_a_reader_may_look_but_not_into_the_payload(connection, login, server, db, outbox):
    message = insert(connection, 42, payload={"text": "the secret"})
    reader = login("outbox_reader").info.user
    url = server.url_of(db.url.rpartition("/")[2], user=reader)
    assert outbox("show", str(message), OUTBOX_DATABASE_URL=url).code == 0
    refused = outbox("show", str(message), "--payload", OUTBOX_DATABASE_URL=url)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    assert "outbox_admin" in refused.err


def test_a_hostile_text_cannot_write_to_the_terminal(connection, outbox):
    unlimited(connection)
    message = die(connection, 42, error_text="\x1b]0;owned\x07 \u202eabc [bold]x[/bold]", tag="a\nb\x9b31m")
    connection.execute(
        sql.SQL("UPDATE outbox.dead_letter SET payload = {}").format(sql.Literal('{"text": "\\u001b[2J\u202e😀"}'))
    )
    shown = outbox("show", str(message), "--payload").out
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "[bold]x[/bold]" in shown
    assert "😀" in shown


def test_a_message_that_was_sent_says_when_and_as_what(connection, outbox):
    worker = register(connection)
    message = insert(connection, 42)
    finish(connection, worker, claim(connection, worker).lanes, "sent", telegram_message_id=991)
    shown = outbox("show", str(message)).out
    assert "Telegram's id   991" in shown
    assert "dead letter" not in shown


def test_the_timeline_has_times_of_one_day_without_the_day_and_each_wait_with_its_end(connection, clock, outbox):
    unlimited(connection)
    worker = register(connection)
    message = insert(connection, 42)
    clock.advance(1)  # the attempt is told to have begun 0.05 s before its end
    finish(
        connection,
        worker,
        claim(connection, worker).lanes,
        "wait",
        retry_after_s=1,
        http_status=429,
        error_class="flood",
        error_text="Too Many Requests: retry after 1",
    )
    lines = outbox("show", str(message)).out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.split() in (["time", "what", "details"],))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \(UTC\)", lines[begin - 1])
    accepted, attempt, wait = lines[begin + 1 : begin + 4]
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  accepted", accepted)
    assert re.search(r"attempt +1: wait: flood: Too Many Requests: retry after 1 \[HTTP 429, .*w \(\d+\)\]$", attempt)
    assert re.search(r"wait +429: .*, until \d\d:\d\d:\d\d\.\d{3}$", wait)


def test_what_was_discarded_because_its_chat_refused_says_how_to_lift_that(connection, outbox):
    unlimited(connection)
    insert(connection, 42)
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_class="blocked", meaning="chat_gone")
    connection.execute(
        "UPDATE outbox.chat SET suppressed_until = outbox.clock() + interval '7 d', suppressed_reason = 'blocked'"
    )
    message = insert(connection, 42)
    assert claim(connection, worker).lanes == []
    told = outbox("show", str(message)).out
    assert "chat_suppressed: blocked" in told
    assert "outbox suppress list 42 --bot default, or outbox suppress lift 42 --bot default" in told
