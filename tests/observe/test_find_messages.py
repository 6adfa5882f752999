"""find_messages, count_messages and find_in_payloads: every condition, pages, what it may cost, who may look where."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from tests.conftest import Clock, Database
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register
from tests.observe.filled import fill_history
from tests.observe.test_find_chats import read_one_page
from tests.operate.dead_letters import die, unlimited

SMALL = {"finished": 4000, "dead": 300, "waiting": 500, "chats": 400}


def find(connection: Connection, function: str = "find_messages", **conditions: Any) -> list[dict[str, Any]]:
    """Call a function of the family with named arguments; return its rows."""
    named = [sql.SQL("p_{} => {}").format(sql.SQL(name), sql.Literal(value)) for name, value in conditions.items()]
    query = sql.SQL("SELECT * FROM outbox.{}({})").format(sql.SQL(function), sql.SQL(", ").join(named))
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


@pytest.fixture
def lives(connection: Connection) -> dict[str, int]:
    """One message in each place: queued, sending, sent, dead, discarded."""
    unlimited(connection)
    add_bot(connection, "alerts")
    made = {"dead": die(connection, 1, "timeout", "Read TIMED out", tag="sale", correlation_id="order-1")}
    worker = register(connection)
    made["sent"] = insert(connection, 2, {"text": "Hello Ann"}, tag="sale", correlation_id="order-2")
    finish(connection, worker, claim(connection, worker).lanes, "sent", telegram_message_id=77)
    made["discarded"] = die(connection, 3, "blocked", "Forbidden: bot was blocked by the user")
    connection.execute("SELECT outbox.discard(%s)", [made["discarded"]])
    made["sending"] = insert(connection, 4)
    assert claim(connection, worker).message_ids == [made["sending"]]
    made["queued"] = insert(connection, -5, bot="alerts", tag="100%_sure", correlation_id="Order-5")
    return made


def test_a_message_is_found_wherever_it_is_newest_first(connection: Connection, lives: dict[str, int]) -> None:
    assert ids(find(connection)) == sorted(lives.values(), reverse=True)
    for status, message in lives.items():
        assert ids(find(connection, status=[status])) == [message]
    assert ids(find(connection, status=["sent", "queued"])) == [lives["queued"], lives["sent"]]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"bot": "Alerts"}, ["queued"]),
        ({"bot": "nobody"}, []),
        ({"chat_id": "3"}, ["discarded"]),
        ({"chat_id": "-5"}, ["queued"]),
        ({"tag": "sale"}, ["sent", "dead"]),
        ({"correlation_id": "order-2"}, ["sent"]),
        ({"class": "timeout"}, ["dead"]),
        ({"class": "discarded_by_operator"}, ["discarded"]),
        ({"tag": "sale", "status": ["dead"], "bot": "default"}, ["dead"]),
        ({"tag": "sale", "chat_id": "3"}, []),
        ({"priority": 0}, []),
        ({"priority": 2, "tag": "sale"}, ["sent", "dead"]),
        ({"text": "timed OUT"}, ["dead"]),
        ({"text": "ORDER-"}, ["queued", "sent", "dead"]),
        ({"text": "%_"}, ["queued"]),
        ({"text": "order_"}, []),
        ({"text": ""}, ["queued", "sending", "discarded", "sent", "dead"]),
        ({"text": "Ann"}, []),
    ],
)
def test_every_condition_given_must_hold(
    connection: Connection, lives: dict[str, int], conditions: dict[str, Any], found: list[str]
) -> None:
    assert ids(find(connection, **conditions)) == [lives[name] for name in found]
    assert find(connection, "count_messages", **conditions) == [{"count_messages": len(found)}]


def test_a_row_says_what_history_says(connection: Connection, lives: dict[str, int]) -> None:
    with connection.cursor(row_factory=dict_row) as cursor:
        history = cursor.execute("SELECT * FROM outbox.history ORDER BY id DESC").fetchall()
    assert find(connection) == history
    assert find(connection, "find_in_payloads") == history


def test_text_in_payloads_is_found_by_the_other_function_alone(connection: Connection, lives: dict[str, int]) -> None:
    assert ids(find(connection, "find_in_payloads", text="hello ann")) == [lives["sent"]]
    assert ids(find(connection, "find_in_payloads", text="timed out")) == [lives["dead"]]


def test_a_reader_may_find_messages_and_may_not_search_payloads(db: Database, connection: Connection) -> None:
    insert(connection, 1, {"text": "secret"})
    connection.execute("SET ROLE outbox_reader")
    assert len(find(connection)) == 1
    assert find(connection, "count_messages") == [{"count_messages": 1}]
    assert find(connection, text="secret") == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        find(connection, "find_in_payloads", text="secret")
    connection.execute("RESET ROLE")
    assert (
        connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace"
            "   AND proname IN ('find_in_payloads', 'search_in_payloads', 'match_messages', 'show_messages',"
            "                   'walk_message', 'walk_finished')"
            "   AND has_function_privilege('outbox_reader', oid, 'EXECUTE')"
        ).fetchall()
        == []
    )


@pytest.mark.parametrize("conditions", [{"status": ["gone"]}, {"limit": 0}])
def test_nonsense_is_refused_with_what_to_do(connection: Connection, conditions: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        find(connection, **conditions)
    assert refused.value.diag.message_hint


def test_pages_hold_each_message_once(db: Database, connection: Connection) -> None:
    fill_history(db, **SMALL)
    seen: list[int] = []
    while page := ids(find(connection, limit=700, **({"before_id": seen[-1]} if seen else {}))):
        seen += page
    assert seen == sorted(set(seen), reverse=True)
    assert [(len(seen),)] == connection.execute("SELECT count(*) FROM outbox.history").fetchall()


def test_whatever_leads_to_them_the_same_are_found_as_by_reading_everything(
    db: Database, connection: Connection
) -> None:
    """All pairs of conditions, against history: each picks an index of its own."""
    fill_history(db, **SMALL)
    now = datetime.now(UTC)
    conditions: list[tuple[str, Any, str]] = [
        ("status", ["queued"], "status = 'queued'"),
        ("status", ["sending"], "status = 'sending'"),
        ("status", ["sent"], "status = 'sent'"),
        ("status", ["expired", "discarded", "dead"], "status IN ('expired', 'discarded', 'dead')"),
        ("bot", "alerts", "bot = 'alerts'"),
        ("chat_id", "7", "chat_id = '7'"),
        ("tag", "sale", "tag = 'sale'"),
        ("correlation_id", "order-53000", "correlation_id = 'order-53000'"),
        ("class", "expired", "error_class = 'expired'"),
        ("class", "timeout", "error_class = 'timeout'"),
        ("since", now - timedelta(minutes=2), "created_at >= %(since)s"),
        ("until", now - timedelta(minutes=1), "created_at < %(until)s"),
        ("text", "der-53", "concat_ws(' ', tag, correlation_id, error_text) ILIKE '%%der-53%%'"),
        ("before_id", 53_500_000, "id < 53500000"),
        ("priority", 3, "priority = 3"),
    ]
    times = {name: value for name, value, _ in conditions if name in ("since", "until")}
    for one, two in itertools.combinations_with_replacement(conditions, 2):
        if one[0] == two[0] and one is not two:
            continue
        expected = connection.execute(
            f"SELECT id FROM outbox.history WHERE {one[2]} AND {two[2]} ORDER BY id DESC LIMIT 300", times
        ).fetchall()
        found = find(connection, limit=300, **{one[0]: one[1], two[0]: two[1]})
        assert ids(found) == [id_ for (id_,) in expected], (one, two)


def test_a_time_long_ago_is_found_without_walking_to_it(db: Database, connection: Connection) -> None:
    fill_history(db, **SMALL | {"finished": 60_000})
    until = datetime.now(UTC) - timedelta(days=15)
    query = "SELECT sum(idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname ~ '^finished_'"
    with connection.transaction():
        rows = find(connection, until=until, limit=10)
        [(read,)] = connection.execute(query).fetchall()
    assert [row["created_at"] < until for row in rows] == [True] * 10
    assert read < 3000


def test_long_transactions_among_short_ones_hide_nothing_since_a_time(connection: Connection) -> None:
    """Many ids of the second half were written by a transaction that began long before."""
    connection.execute(
        "INSERT INTO outbox.message (id, chat_id, payload, created_at) OVERRIDING SYSTEM VALUE"
        " SELECT i, '1', '{}', now() - CASE WHEN i > 500 AND mod(i, 4) <> 0 THEN interval '2 h'"
        "                                   ELSE (1000 - i) * interval '5 s' END FROM generate_series(1, 1000) i"
    )
    found = find(connection, since=datetime.now(UTC) - timedelta(seconds=502), limit=1000)
    assert ids(found) == list(range(1000, 899, -4))


def test_counting_stops_where_it_is_told_to(db: Database, connection: Connection) -> None:
    fill_history(db, **SMALL)
    assert find(connection, "count_messages", most=100) == [{"count_messages": 100}]
    [(queued,)] = connection.execute("SELECT count(*) FROM outbox.history WHERE status = 'queued'").fetchall()
    assert find(connection, "count_messages", status=["queued"]) == [{"count_messages": queued}]


def test_text_is_looked_for_in_the_newest_20_000(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, correlation_id)"
        " SELECT '1', '{}', 'number ' || i FROM generate_series(1, 20001) i"
    )
    assert find(connection, text="number 2", limit=20000)[-1]["correlation_id"] == "number 2"
    assert find(connection, text="number 1", limit=20000)[-1]["correlation_id"] == "number 10"


@pytest.mark.parametrize("analysed", [False, True])
def test_no_search_walks_through_history(db: Database, connection: Connection, analysed: bool) -> None:
    """What an index leads to reads a page of rows, whatever statistics say, and whatever else is kept."""
    fill_history(db, finished=60_000, dead=300, waiting=500, chats=400)
    if analysed:
        db.execute("ANALYZE")
    query = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_xact_user_tables"
    searches: list[dict[str, Any]] = [
        {"chat_id": "9999"},
        {"class": "blocked"},
        {"tag": "rare"},
        {"bot": "quiet"},
        {"bot": "nobody"},
        {"status": ["cancelled"]},
        {"status": ["superseded", "cancelled"], "before_id": 20_000_000},
        {"correlation_id": "order-777"},
        {"tag": "sale", "class": "blocked"},
        {"before_id": 30_000_000},
    ]
    for conditions in searches:
        with connection.transaction():
            find(connection, limit=10, **conditions)
            [(read,)] = connection.execute(query).fetchall()
        assert read < 6000, conditions


def test_what_is_sending_is_found_without_reading_what_waits(
    db: Database, connection: Connection, clock: Clock
) -> None:
    for chat in range(1, 4):
        insert(connection, chat)
    worker = register(connection)
    lanes = claim(connection, worker, n=2).lanes
    assert sorted(ids(find(connection, status=["sending"]))) == sorted(lane.message_id for lane in lanes)
    assert len(find(connection, status=["queued"])) == 1


def reach(connection: Connection, **conditions: Any) -> dict[str, Any]:
    [row] = find(connection, "search_reach", **conditions)
    return row


COMPLETE = {"complete": True, "reached_id": None, "reached_at": None}


def test_a_search_that_looked_at_all_says_so(db: Database, connection: Connection) -> None:
    fill_history(db, **SMALL)
    for conditions in (
        {},
        {"bot": "alerts"},
        {"text": "order-5"},
        {"tag": "sale", "status": ["sent"]},
        {"priority": 3},
    ):
        rows = find(connection, "search_messages", **conditions)
        plain = find(connection, **conditions)
        assert rows == [row | COMPLETE for row in plain], conditions
        assert rows
        assert (
            reach(connection, **conditions)
            == {"found": find(connection, "count_messages", **conditions)[0]["count_messages"]} | COMPLETE
        )
    assert find(connection, "search_messages", text="never written") == []
    assert reach(connection, tag="never used") == {"found": 0} | COMPLETE


def test_a_text_beyond_the_newest_20_000_is_not_found_and_the_search_says_how_far_it_looked(
    connection: Connection,
) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, correlation_id, created_at)"
        " SELECT '1', '{}', 'number ' || i, now() - (20005 - i) * interval '1 s' FROM generate_series(1, 20005) i"
    )
    [(end_id, end_at)] = connection.execute(
        "SELECT id, created_at FROM outbox.message WHERE correlation_id = 'number 6'"
    ).fetchall()
    limit = {"complete": False, "reached_id": end_id, "reached_at": end_at}
    [row] = find(connection, "search_messages", text="number 5 or so")
    assert (row["id"], row["complete"], row["reached_id"], row["reached_at"]) == (None, False, end_id, end_at)
    assert find(connection, text="number 5 or so") == []
    [row] = find(connection, "search_messages", text="number 20001")
    assert row["id"] is not None
    assert {name: row[name] for name in limit} == limit
    assert reach(connection, text="number 20001") == {"found": 1} | limit
    # A full page stands before the end, and there is another one behind it.
    assert all(row["complete"] for row in find(connection, "search_messages", text="number"))
    assert [row["correlation_id"] for row in find(connection, text="number 4", before_id=end_id)] == ["number 4"]


def test_of_what_no_index_leads_to_the_newest_100_000_are_looked_at_and_the_search_says_so(
    connection: Connection,
) -> None:
    add_bot(connection, "rare")
    connection.execute(
        "INSERT INTO outbox.message (id, bot, chat_id, payload, tag) OVERRIDING SYSTEM VALUE"
        " SELECT i, CASE WHEN i IN (5, 90000) THEN 'rare' ELSE 'default' END, (1 + i % 7)::text, '{}',"
        "        CASE WHEN i = 5 THEN 'first' END FROM generate_series(1, 100010) i"
    )
    rows = find(connection, "search_messages", bot="rare")
    assert [(row["id"], row["complete"], row["reached_id"]) for row in rows] == [(90000, False, 11)]
    assert reach(connection, bot="rare")["reached_id"] == 11
    assert reach(connection, priority=0)["complete"] is False
    assert find(connection, "search_messages", bot="rare", limit=1)[0]["complete"]
    [row] = find(connection, "search_messages", bot="rare", before_id=11)
    assert (row["id"], row["complete"]) == (5, True)
    [row] = find(connection, "search_messages", tag="first")
    assert (row["id"], row["complete"]) == (5, True)
    # Older ones of another table stand behind the end: between them and the newer ones something may be missing.
    connection.execute("DELETE FROM outbox.message WHERE id = 90000")
    connection.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        "                             scheduled_for, finished_at, attempts)"
        " VALUES (3, 'rare', '1', 'sendMessage', 2, 'sent', 'x', now(), now(), now(), 1)"
    )
    [row] = find(connection, "search_messages", bot="rare", limit=1)
    assert (row["id"], row["complete"], row["reached_id"]) == (3, False, 10)


def test_where_not_all_chats_are_read_a_search_for_what_is_being_sent_says_so(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, in_flight)"
        " SELECT i::text, 'default', CASE WHEN i IN (1, 500) THEN i END FROM generate_series(1, 500) i"
    )
    connection.execute(
        "INSERT INTO outbox.message (id, chat_id, payload) OVERRIDING SYSTEM VALUE"
        " SELECT i, i::text, '{}' FROM generate_series(1, 500) i"
    )
    rows = find(connection, "search_messages", status=["sending"])
    assert [(row["id"], row["complete"]) for row in rows] == [(500, True), (1, True)]
    read_one_page(connection)
    rows = find(connection, "search_messages", status=["sending"])
    assert [(row["id"], row["complete"], row["reached_id"]) for row in rows] == [(1, False, None)]
    assert reach(connection, status=["sending"]) == {"found": 1} | COMPLETE | {"complete": False}
    # Nothing found is no answer either.
    [row] = find(connection, "search_messages", status=["sending"], bot="default", before_id=1)
    assert (row["id"], row["complete"]) == (None, False)
    assert reach(connection, status=["queued", "sending"])["complete"]


def test_20_mb_of_payloads_are_searched_and_the_search_says_how_far(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.message (id, chat_id, payload) OVERRIDING SYSTEM VALUE"
        " SELECT i, '1', jsonb_build_object('text', CASE WHEN i IN (3, 250) THEN 'needle' END, 'x', x.text)"
        "   FROM generate_series(1, 300) i,"
        "        (SELECT string_agg(md5(j::text), '') AS text FROM generate_series(1, 3000) j) x"
    )
    rows = find(connection, "search_in_payloads", text="needle")
    assert [(row["id"], row["complete"]) for row in rows] == [(250, False)]
    assert 3 < rows[0]["reached_id"] < 250
    assert ids(find(connection, "find_in_payloads", text="needle")) == [250]
    assert ids(find(connection, "search_in_payloads", text="needle", before_id=rows[0]["reached_id"])) == [3]


def test_a_chat_is_named_as_whoever_wrote_to_it_may_have_named_it(connection: Connection) -> None:
    message = insert(connection, "@Channel_I")
    assert ids(find(connection, chat_id="@CHANNEL_I")) == [message]


def test_a_priority_that_does_not_exist_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="priority 4 does not exist"):
        find(connection, priority=4)
