"""find_chats: chats in a state, and one chat in whatever state."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.operate.dead_letters import unlimited


def find(connection: Connection, state: str | None = None, **named: Any) -> list[dict[str, Any]]:
    values = [state, named.get("bot"), named.get("chat_id"), named.get("after"), named.get("limit", 50)]
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM outbox.find_chats(%s, %s, %s, %s, %s)", values).fetchall()


@pytest.fixture
def chats(connection: Connection, frozen: FrozenClock) -> Connection:
    """One chat of each kind, by name."""
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, last_sent_at, next_send_at) VALUES"
        " ('@cool', 'default', %(at)s, %(at)s + interval '1 s'), ('@lapsed', 'default', NULL, %(at)s - interval '1 s'),"
        " ('@back', 'default', NULL, NULL), ('@fly', 'default', NULL, NULL), ('@supp', 'default', NULL, NULL),"
        " ('@gone', 'default', NULL, NULL)",
        {"at": frozen.at},
    )
    connection.execute(
        "UPDATE outbox.chat"
        "   SET backoff_until[3] = %(at)s + CASE chat_id WHEN '@back' THEN interval '9 s' ELSE '-1 s' END"
        " WHERE chat_id IN ('@back', '@lapsed')",
        {"at": frozen.at},
    )
    connection.execute(
        "UPDATE outbox.chat SET suppressed_reason = 'blocked',"
        "       suppressed_until = %(at)s + CASE chat_id WHEN '@supp' THEN interval '1 d' ELSE '-1 s' END"
        " WHERE chat_id IN ('@supp', '@lapsed')",
        {"at": frozen.at},
    )
    connection.execute("UPDATE outbox.chat SET moved_to = '-100123' WHERE chat_id = '@gone'")
    connection.execute(
        "UPDATE outbox.chat SET in_flight = 17, worker = 3, attempt = 2, claimed_at = %(at)s WHERE chat_id = '@fly'",
        {"at": frozen.at},
    )
    return connection


@pytest.mark.parametrize(
    ("state", "chat_id", "until_s", "reason"),
    [
        ("cooling", "@cool", 1, "was sent to"),
        ("backing_off", "@back", 9, "waits after a failed attempt"),
        ("in_flight", "@fly", None, "message 17 is on its way, attempt 2"),
        ("suppressed", "@supp", 86400, "blocked"),
        ("moved", "@gone", None, "the chat has become -100123"),
    ],
)
def test_a_state_finds_the_chats_that_are_in_it_now(
    chats: Connection, frozen: FrozenClock, state: str, chat_id: str, until_s: float | None, reason: str
) -> None:
    [row] = find(chats, state)
    assert (row["chat_id"], row["state"]) == (chat_id, state)
    assert row["until_at"] == (None if until_s is None else frozen.at + timedelta(seconds=until_s))
    assert reason in row["reason"]
    [alone] = find(chats, chat_id=chat_id)
    assert alone == row
    assert find(chats, state, bot="other") == []


def test_a_chat_in_none_of_them_is_ready(chats: Connection) -> None:
    [row] = find(chats, chat_id="@Lapsed")
    assert (row["state"], row["until_at"], row["reason"]) == ("ready", None, None)


def test_a_chat_that_was_never_sent_to_is_found_by_what_waits_for_it(connection: Connection) -> None:
    insert(connection, 42)
    [row] = find(connection, chat_id="42")
    assert (row["bot"], row["state"], row["waiting"], row["last_sent_at"]) == ("default", "ready", 1, None)
    assert find(connection, chat_id="43") == []


def test_what_waits_is_counted_up_to_a_thousand(connection: Connection) -> None:
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 1500)")
    assert [row["waiting"] for row in find(connection, chat_id="1")] == [1000]


def test_pages_hold_every_chat_once_and_all_bots_of_one_together(connection: Connection) -> None:
    add_bot(connection, "alerts")
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, in_flight, moved_to)"
        " SELECT i::text, b, now() + interval '1 d', 1, '5' FROM generate_series(1, 20) i,"
        "        unnest(ARRAY['default', 'alerts']) b"
    )
    for state in ("suppressed", "moved", "in_flight", None):
        seen: list[tuple[str, str]] = []
        while page := find(connection, state, limit=3, after=seen[-1][0] if seen else None):
            seen += [(row["chat_id"], row["bot"]) for row in page]
        assert len(seen) == len(set(seen)) == 40


def test_the_chats_of_a_real_life_are_in_their_states(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, backoff_initial_s=30)
    worker = register(connection)
    for chat in (1, 2, 3):
        insert(connection, chat)
        insert(connection, chat)
    lanes = {lane.chat_id: lane for lane in claim(connection, worker).lanes}
    finish(connection, worker, [lanes["1"]], "sent")
    finish(connection, worker, [lanes["2"]], "retry", error_class="timeout")
    states = {row["chat_id"]: row["state"] for chat in "123" for row in find(connection, chat_id=chat)}
    assert states == {"1": "cooling", "2": "backing_off", "3": "in_flight"}


def test_nonsense_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='no chat is "asleep"'):
        find(connection, "asleep")


def test_sending_stays_a_hot_update(connection: Connection) -> None:
    """The indexes of chat are on columns that no send changes."""
    unlimited(connection)
    worker = register(connection)
    for _ in range(30):
        insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes)
    counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'outbox.chat'::regclass"
    connection.execute("SELECT pg_stat_force_next_flush()")
    [(updates, hot)] = connection.execute(counted).fetchall()
    for _ in range(20):
        finish(connection, worker, claim(connection, worker).lanes)
    connection.execute("SELECT pg_stat_force_next_flush()")
    [(updates_now, hot_now)] = connection.execute(counted).fetchall()
    assert updates_now - updates == hot_now - hot >= 40


def test_the_chats_of_one_bot_are_found_behind_a_hundred_thousand_of_others(connection: Connection) -> None:
    add_bot(connection, "alerts")
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot) SELECT (1000000 + i)::text, 'default' FROM generate_series(1, 100000) i"
    )
    # Of two bots, at the end of the first slice, behind it, and in the middle.
    for chat in ("1050000", "1100000", "2000001", "2000002"):
        connection.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES (%s, 'alerts')", [chat])
    seen: list[str] = []
    while page := find(connection, None, bot="alerts", limit=2, after=seen[-1] if seen else None):
        seen += [row["chat_id"] for row in page]
    assert seen == ["1050000", "1100000", "2000001", "2000002"]
    assert [row["chat_id"] for row in find(connection, None, bot="alerts")] == seen


@pytest.mark.parametrize("state", ["suppressed", "moved"])
def test_of_one_bot_s_chats_in_a_state_only_the_keys_of_others_are_read(connection: Connection, state: str) -> None:
    add_bot(connection, "alerts")
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, moved_to)"
        " SELECT (10000 + i)::text, CASE WHEN i > 2995 THEN 'alerts' ELSE 'default' END, now() + interval '1 d', '5'"
        "   FROM generate_series(1, 3000) i"
    )
    connection.execute("VACUUM outbox.chat")  # as autovacuum does: the index says by itself that a row is there
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'outbox.chat'::regclass"
    with connection.transaction():
        assert [row["bot"] for row in find(connection, state, bot="alerts", limit=3)] == ["alerts"] * 3
        [(read,)] = connection.execute(query).fetchall()
    assert read < 100
    # A walk that finds nothing ends as well: after two million, here ten.
    [(walk,)] = connection.execute("SELECT pg_get_functiondef('outbox.chats_by_index'::regproc)").fetchall()
    connection.execute(walk.replace("LIMIT 2000000", "LIMIT 10"))
    assert find(connection, state, bot="alerts") == []
    assert len(find(connection, state, bot="alerts", after="12995")) == 5


@pytest.mark.parametrize("state", ["in_flight", "backing_off", "cooling"])
def test_whether_all_chats_are_read_for_a_state_is_told(connection: Connection, state: str) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, in_flight, next_send_at, backoff_until)"
        " SELECT i::text, 'default', i, now() + interval '1 d', array_fill(now() + interval '1 d', ARRAY[4])"
        "   FROM generate_series(1, 500) i"
    )
    told = "SELECT outbox.chats_are_read_whole()"
    assert len(find(connection, state, limit=1000)) == 500
    assert connection.execute(told).fetchall() == [(True,)]
    read_one_page(connection)
    assert 0 < len(find(connection, state, limit=1000)) < 500
    connection.execute("SET ROLE outbox_reader")
    assert connection.execute(told).fetchall() == [(False,)]


def read_one_page(connection: Connection) -> None:
    """As if 400 MB of chat were one page."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION outbox.chat_pages_read() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
    )


def test_what_waits_is_counted_by_index_whatever_statistics_say(connection: Connection) -> None:
    # As if everything were of one chat.
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' FROM generate_series(1, 5000)")
    connection.execute("ANALYZE outbox.message")
    connection.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '7', '{}' FROM generate_series(1, 10)")
    query = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = 'outbox.message'::regclass"
    with connection.transaction():
        [row] = find(connection, chat_id="7")
        [(read,)] = connection.execute(query).fetchall()
    assert (row["waiting"], read) == (10, 0)
