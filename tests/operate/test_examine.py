"""outbox.examine: each thing that can be wrong is made to be wrong, and is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from outbox.operate.doctor.run import EXAMINED
from tests.conftest import Database

Rows = list[tuple[str, str, str]]


def look(db: Database, check: str) -> Rows:
    return db.execute("SELECT verdict, finding, remedy FROM outbox.examine(%s)", [check])


def verdicts(db: Database, check: str) -> list[str]:
    return [row[0] for row in look(db, check)]


def only(db: Database, check: str) -> tuple[str, str, str]:
    [row] = look(db, check)
    return row


def insert(db: Database, bot: str = "default", chat_id: int = 1, **columns: Any) -> None:
    names = ["bot", "chat_id", "payload", *columns]
    db.execute(
        f"INSERT INTO outbox.message ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})",
        [bot, str(chat_id), '{"text": "x"}', *columns.values()],
    )


def start_worker(db: Database, *bots: str, version: str = "1.0") -> int:
    [(worker,)] = db.execute(
        "SELECT outbox.register_worker('w', %s, 'host', 1, %s)", [list(bots or ("default",)), version]
    )
    return int(worker)


def keep_house(db: Database) -> None:
    db.execute("SELECT outbox.keep_house('house')")
    for duty in ("make_partitions", "drop_history", "measure", "repair"):
        db.execute("SELECT outbox.note_duty(%s, NULL)", [duty])


def claim(db: Database, worker: int) -> None:
    rows = db.execute("SELECT message_id FROM outbox.claim(%s, ARRAY['default'], 8, '[]'::jsonb)", [worker])
    assert rows != []


def test_where_all_is_well_every_check_says_ok_and_asks_for_nothing(db):
    start_worker(db)
    keep_house(db)
    insert(db)
    rows = db.execute("SELECT name, verdict, remedy FROM outbox.examine()")
    assert [(name, verdict, remedy) for name, verdict, remedy in rows if (verdict, remedy) != ("ok", "")] == []
    assert tuple(name for name, *_ in rows) == EXAMINED


def test_a_check_that_does_not_exist_is_refused_with_those_that_do(db):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        look(db, "weather")
    assert "housekeeping" in (caught.value.diag.message_hint or "")


def test_a_check_that_fails_is_a_row_and_the_rest_go_on(db):
    db.execute("DROP FUNCTION outbox.examine_bots()")
    rows = {name: finding for name, _, finding, _ in db.execute("SELECT * FROM outbox.examine()")}
    assert rows["bots"].startswith("not checked: ")
    assert rows["lanes"] == "0 chats in flight, none is stuck"


def test_a_reader_may_ask_everything(db, login):
    insert(db)
    rows = login("outbox_reader").execute("SELECT name, finding FROM outbox.examine()").fetchall()
    assert [row for row in rows if "not checked" in row[1]] == []


# --- workers ----------------------------------------------------------------------------------------------------------


def test_no_worker_is_a_warning_until_messages_wait(db):
    assert verdicts(db, "workers") == ["warn"]
    insert(db)
    assert only(db, "workers")[:2] == ("fail", "no worker is alive, and messages wait for default")


def test_a_bot_without_a_worker_is_found_once_something_waits_for_it(db):
    start_worker(db)
    db.execute("SELECT outbox.set_bot('alerts')")
    assert verdicts(db, "workers") == ["ok"]
    insert(db, "alerts")
    verdict, finding, remedy = only(db, "workers")
    assert (verdict, finding) == ("fail", "no worker serves bot alerts, and messages wait for it")
    assert "OUTBOX_TOKEN_ALERTS" in remedy


def test_a_bot_whose_messages_are_for_later_is_a_warning(db):
    start_worker(db)
    db.execute("SELECT outbox.set_bot('alerts')")
    db.execute(
        "INSERT INTO outbox.message (bot, chat_id, payload, next_attempt_at) "
        "VALUES ('alerts', '1', '{}', now() + interval '1 hour')"
    )
    assert verdicts(db, "workers") == ["warn"]


def test_workers_of_two_versions_are_a_warning(db):
    start_worker(db, version="1.0")
    start_worker(db, version="1.1")
    assert only(db, "workers")[:2] == ("warn", "workers of versions 1.0 and 1.1 run side by side")


def test_a_worker_that_lost_its_lease_is_a_warning_for_an_hour(db, clock):
    start_worker(db)
    clock.advance(120)
    start_worker(db)
    assert only(db, "workers")[1].startswith("1 lease lost within the last hour")
    db.execute("SELECT outbox.reap()")
    assert verdicts(db, "workers") == ["warn"]
    clock.advance(2 * 3600)
    start_worker(db)
    db.execute("SELECT outbox.reap()")
    db.execute("UPDATE outbox.worker SET reaped = false, ended_at = NULL, lease_until = outbox.clock() WHERE id = 2")
    db.execute("SELECT outbox.leave(2)")
    assert verdicts(db, "workers") == ["ok"]


# --- bots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happens", "verdict", "says"),
    [
        ("SELECT outbox.pause('default')", "warn", "bot default is paused by an operator"),
        ("UPDATE outbox.bucket SET unauthorised = true", "fail", "Telegram refused the token of bot default"),
        (
            "UPDATE outbox.bucket SET paused_until = now() + interval '2 min', paused_reason = 'too_many_requests'",
            "warn",
            "bot default waits another 2 min, as Telegram asked (too_many_requests)",
        ),
        (
            "UPDATE outbox.bucket SET breaker = 'open', breaker_reason = 'failures',"
            " breaker_until = now() + interval '30 s'",
            "fail",
            "the breaker of bot default is open (failures)",
        ),
        ("UPDATE outbox.bucket SET breaker = 'half_open'", "warn", "the breaker of bot default is half open"),
    ],
)
def test_a_bot_that_does_not_send_is_found(db, happens, verdict, says):
    assert verdicts(db, "bots") == ["ok"]
    db.execute(happens)
    found, finding, remedy = only(db, "bots")
    assert found == verdict
    assert finding.startswith(says)
    assert remedy


def test_the_remedy_for_a_paused_bot_resumes_it(db):
    db.execute("SELECT outbox.pause('default')")
    assert only(db, "bots")[2].startswith("outbox resume default")
    db.execute("SELECT outbox.resume('default')")
    assert verdicts(db, "bots") == ["ok"]


# --- lanes and wakeups ------------------------------------------------------------------------------------------------


def test_a_chat_in_flight_for_a_worker_that_ended_is_a_failure_that_repair_mends(db):
    insert(db)
    worker = start_worker(db)
    claim(db, worker)
    assert only(db, "lanes") == ("ok", "1 chat in flight, none is stuck", "")
    db.execute("UPDATE outbox.worker SET ended_at = outbox.clock()")
    verdict, finding, remedy = only(db, "lanes")
    assert (verdict, finding) == ("fail", "1 chat in flight for a worker that has ended, such as chat 1 of bot default")
    db.execute(remedy.partition(";")[0])
    assert verdicts(db, "lanes") == ["ok"]


def test_a_chat_in_flight_for_a_worker_that_nobody_knows_is_one_finding(db):
    insert(db)
    claim(db, start_worker(db))
    db.execute("DELETE FROM outbox.worker")
    assert only(db, "lanes")[1].startswith("1 chat in flight for a worker that has ended")


def test_a_chat_in_flight_for_a_worker_whose_lease_ran_out_is_a_failure_that_reap_mends(db, clock):
    insert(db)
    claim(db, start_worker(db))
    clock.advance(120)
    assert only(db, "lanes")[1].startswith("1 chat in flight for a worker whose lease ran out")
    db.execute("SELECT outbox.reap()")
    assert verdicts(db, "lanes") == ["ok"]


def test_a_worker_that_lives_but_does_not_answer_for_ten_minutes_is_a_warning(db, clock):
    insert(db)
    worker = start_worker(db)
    claim(db, worker)
    clock.advance(700)
    db.execute("SELECT outbox.heartbeat(%s, false)", [worker])
    assert only(db, "lanes")[:2] == ("warn", "1 chat with worker w for more than 10 min, such as chat 1 of bot default")


def test_missing_wakeups_are_a_failure_that_repair_mends_and_the_look_changes_nothing(db):
    insert(db)
    db.execute("DELETE FROM outbox.wakeup")
    verdict, finding, remedy = only(db, "wakeups")
    assert (verdict, finding[:16]) == ("fail", "1 wakeup missing")
    assert db.execute("SELECT count(*) FROM outbox.wakeup") == [(0,)]
    db.execute(remedy.partition(";")[0])
    assert verdicts(db, "wakeups") == ["ok"]


# --- upkeep -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["attempt", "finished"])
def test_a_missing_partition_is_found_and_its_remedy_makes_it(db, parent):
    for days, verdict in ((1, "warn"), (0, "fail")):
        [(name,)] = db.execute("SELECT to_char((now() AT TIME ZONE 'UTC')::date + %s, 'YYYYMMDD')", [days])
        db.execute(f"DROP TABLE outbox.{parent}_{name}")
        found, finding, remedy = only(db, "partitions")
        assert (found, f"outbox.{parent}_{name} is missing" in finding) == (verdict, True)
        db.execute(remedy.partition(";")[0])
        assert verdicts(db, "partitions") == ["ok"]


def test_no_default_partition_is_a_failure(db):
    db.execute("DROP TABLE outbox.finished_default")
    assert only(db, "partitions")[:2] == (
        "fail",
        "partition outbox.finished_default is missing: on a day without its own nothing can be completed",
    )


def test_rows_in_a_default_partition_are_a_warning(db):
    db.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
        " VALUES (1, 1, 'default', '1', now() - interval '9 days', 'sent')"
    )
    assert only(db, "partitions")[:2] == ("warn", "outbox.attempt_default holds 1 row of days without a partition")


def test_housekeeping_that_nobody_does_is_a_failure_once_a_worker_lives_that_should(db, clock):
    assert verdicts(db, "housekeeping") == ["warn"]
    worker = start_worker(db)
    keep_house(db)
    assert verdicts(db, "housekeeping") == ["ok"]
    clock.advance(100)
    db.execute("SELECT outbox.heartbeat(%s, true)", [worker])
    verdict, finding, _ = only(db, "housekeeping")
    assert (verdict, finding[:39]) == ("fail", "nobody keeps house: house stopped 85 s ")


def test_a_duty_that_is_late_or_failed_is_a_failure(db, clock):
    start_worker(db)
    keep_house(db)
    clock.advance(1000)
    db.execute("SELECT outbox.keep_house('house')")
    assert {finding.split()[1] for _, finding, _ in look(db, "housekeeping")} == {"drop_history", "measure"}
    keep_house(db)
    db.execute("SELECT outbox.note_duty('sweep', 'disk full')")
    assert only(db, "housekeeping")[:2] == ("fail", "duty sweep failed: disk full")


def test_a_duty_that_never_ran_is_late_only_when_the_first_worker_is_older_than_that(db, clock):
    worker = start_worker(db)
    db.execute("SELECT outbox.keep_house('house')")
    assert verdicts(db, "housekeeping") == ["ok"]
    clock.advance(3 * 3600)
    db.execute("SELECT outbox.heartbeat(%s, true), outbox.keep_house('house')", [worker])
    assert verdicts(db, "housekeeping") == ["fail"] * 4


def test_wakeups_that_were_repaired_are_a_warning(db):
    start_worker(db)
    insert(db)
    db.execute("DELETE FROM outbox.wakeup")
    db.execute("SELECT outbox.repair()")
    keep_house(db)
    assert only(db, "housekeeping")[1].startswith("1 missing wakeup had to be filed")


def test_dead_letters_near_their_retention_are_a_warning(db):
    insert(db)
    died = "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
    died += " on_uncertain, created_at, scheduled_for, died_at, attempts, calls) VALUES (%s, 'default', '1',"
    died += " 'sendMessage', '{}', 2, 'dead', 'c', 'retry', now(), now(), now() - make_interval(days => %s), 1, 1)"
    db.execute(died, [1001, 0])
    db.execute(died, [1002, 82])
    assert only(db, "dead letters")[:2] == ("ok", "1 dead letter of the last day, none near its retention of 90 days")
    db.execute(died, [1003, 85])
    assert only(db, "dead letters")[:2] == ("warn", "retention takes 1 dead letter within 7 days, the first in 5 days")
    db.execute(died, [1004, 91])
    assert only(db, "dead letters")[1].endswith("the first any moment")


def test_many_more_suppressed_chats_than_usual_are_a_warning(db):
    suppress = "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_at, suppressed_reason)"
    suppress += " SELECT (g + %s)::text, 'default', now() + interval '1 day',"
    suppress += " now() - make_interval(hours => g %% %s), 'blocked'"
    suppress += " FROM generate_series(1, %s) g"
    db.execute(suppress, [1000, 1, 60])
    verdict, finding, _ = only(db, "suppressed chats")
    assert (verdict, finding) == (
        "warn",
        "60 chats were suppressed within the last hour, 0 in the 24 hours before; most often: blocked",
    )
    db.execute(suppress, [2000, 25, 25 * 60])
    assert verdicts(db, "suppressed chats") == ["ok"]


# --- the server -------------------------------------------------------------------------------------------------------


def hold(connection: psycopg.Connection[Any], *statements: str) -> int:
    """Open a transaction, and leave it so."""
    connection.execute("BEGIN")
    for statement in statements:
        connection.execute(statement)
    return connection.info.backend_pid


def test_a_long_transaction_is_named_with_its_pid_and_its_remedy_ends_it(db, clock):
    with db.connect(application_name="report") as other:
        pid = hold(other, "SELECT pg_current_xact_id()")
        clock.advance(240)
        assert verdicts(db, "transactions") == ["ok"]
        clock.advance(360)
        verdict, finding, remedy = only(db, "transactions")
        assert verdict == "warn"
        assert finding.startswith(f"pid {pid} (report, user ")
        assert "idle in transaction): its transaction is open for 10 min" in finding
        assert "it holds the horizon" in finding
        clock.advance(3600)
        assert verdicts(db, "transactions") == ["fail"]
        db.execute(remedy)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert verdicts(db, "transactions") == ["ok"]


def test_a_transaction_that_only_reads_and_waits_holds_locks_and_no_horizon(db, clock):
    with db.connect() as other:
        hold(other, "SELECT count(*) FROM outbox.bot")
        clock.advance(2 * 3600)
        verdict, finding, _ = only(db, "transactions")
    assert verdict == "warn"
    assert finding.endswith("it keeps its locks")


def test_sessions_that_the_login_may_not_see_are_said_to_be_hidden(db, login):
    with db.connect() as other:
        other.execute("SELECT 1")
        rows = (
            login("outbox_reader")
            .execute("SELECT verdict, finding, remedy FROM outbox.examine('transactions')")
            .fetchall()
        )
        assert rows[0][0] == "warn"
        assert "sessions of other users are hidden" in rows[0][1]
        assert rows[0][2].startswith("GRANT pg_monitor TO ")
        monitor = login("outbox_reader", "pg_monitor")
        assert monitor.execute("SELECT verdict FROM outbox.examine('transactions')").fetchall() == [("ok",)]


def counted(db: Database, *statements: str) -> None:
    """Run these in one session, whose statistics the server has when it returns."""
    with db.connect() as connection:
        for statement in (*statements, "SELECT pg_stat_force_next_flush()"):
            connection.execute(statement)


def test_dead_rows_that_pile_up_are_a_warning(db):
    with db.connect() as reader:
        hold(reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")  # so that no vacuum takes them
        counted(
            db,
            "INSERT INTO outbox.wakeup (bot, priority, due_at, chat_id)"
            " SELECT 'default', 2, now(), g::text FROM generate_series(1, 30000) g",
            "DELETE FROM outbox.wakeup",
        )
        verdict, finding, remedy = only(db, "vacuum")
    assert verdict == "warn"
    assert finding.startswith("outbox.wakeup has about 30000 dead rows beside 0 living ones")
    assert "VACUUM (VERBOSE) outbox.wakeup" in remedy


def test_a_table_far_larger_than_its_rows_is_a_warning(db):
    db.execute("ALTER TABLE outbox.request SET (fillfactor = 10)")
    db.execute(
        "INSERT INTO outbox.request (chat_id, bot, message_id, requested_by)"
        " SELECT '1', 'default', g, repeat(md5(g::text), 24) FROM generate_series(1, 9000) g"
    )
    db.execute("DELETE FROM outbox.request WHERE message_id < 9000")
    db.execute("VACUUM ANALYZE outbox.request")
    verdict, finding, remedy = only(db, "vacuum")
    assert verdict == "warn"
    assert finding.startswith("outbox.request takes 70 MB for about 1 rows")
    db.execute(remedy.rpartition(": ")[2])
    assert verdicts(db, "vacuum") == ["ok"]


def test_a_table_without_autovacuum_is_a_warning_whose_remedy_brings_it_back(db):
    db.execute("ALTER TABLE outbox.chat SET (autovacuum_enabled = off)")
    verdict, finding, remedy = only(db, "vacuum")
    assert (verdict, finding[:50]) == ("warn", "outbox.chat has its autovacuum switched off (last ")
    db.execute(remedy)
    assert verdicts(db, "vacuum") == ["ok"]


def test_a_role_that_lacks_its_rights_is_a_failure(db):
    db.execute("REVOKE USAGE ON SCHEMA outbox FROM outbox_reader, outbox_worker, outbox_admin")
    found = {finding for verdict, finding, _ in look(db, "roles") if verdict == "fail"}
    assert "role outbox_reader lacks rights in schema outbox" in found


def test_rows_that_keep_a_partition_from_being_made_move_as_the_documentation_says(db):
    [(today,)] = db.execute("SELECT to_char((now() AT TIME ZONE 'UTC')::date, 'YYYYMMDD')")
    db.execute(f"DROP TABLE outbox.finished_{today}")
    db.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        " scheduled_for, finished_at, attempts) VALUES (1, 'default', '1', 'sendMessage', 2, 'sent', 'c', now(), now(),"
        " now(), 1)"
    )
    db.execute("SELECT outbox.make_partitions()")
    assert verdicts(db, "partitions") == ["fail", "warn"]
    text = (Path(__file__).parents[2] / "docs" / "operations" / "doctor.md").read_text()
    db.execute("BEGIN" + text.partition("```sql\nBEGIN")[2].partition("```")[0])
    assert verdicts(db, "partitions") == ["ok"]
    assert db.execute(f"SELECT id FROM outbox.finished_{today}") == [(1,)]
