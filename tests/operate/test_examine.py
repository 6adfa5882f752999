"""outbox.examine of delivery: each thing that can be wrong is made to be wrong, and is found."""

from __future__ import annotations

import psycopg
import pytest

from outbox.operate.doctor.run import EXAMINED
from tests.operate.examined import claim, insert, keep_house, look, only, start_worker, verdicts


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


def test_the_worker_that_lost_its_lease_last_is_named_not_one_of_long_ago(db, clock):
    for name in ("early", "late"):
        db.execute("SELECT outbox.register_worker(%s, ARRAY['default'], 'host', 1, '1.0')", [name])
        clock.advance(600)
        db.execute("SELECT outbox.reap()")
    # Its row says until when it had its lease, and another day it ended well.
    db.execute(
        "UPDATE outbox.worker SET ended_at = ended_at - interval '1 day', lease_until = lease_until + interval '1 h'"
        " WHERE name = 'early'"
    )
    start_worker(db)
    assert only(db, "workers")[1] == "1 lease lost within the last hour, the last one by worker late"


def test_a_lease_that_ran_out_hours_ago_was_not_lost_within_the_last_hour(db, clock):
    start_worker(db)
    clock.advance(5 * 3600)
    start_worker(db)
    assert verdicts(db, "workers") == ["ok"]


@pytest.mark.parametrize(("bot", "source"), [("alerts", "OUTBOX_TOKEN_ALERTS"), ("my-bot", "OUTBOX_TOKENS_FILE")])
def test_the_remedy_for_a_bot_without_a_worker_names_where_its_token_can_stand(db, bot, source):
    start_worker(db)
    db.execute("SELECT outbox.set_bot(%s)", [bot])
    insert(db, bot)
    assert source in only(db, "workers")[2]
    assert "OUTBOX_TOKEN_MY" not in only(db, "workers")[2]


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
