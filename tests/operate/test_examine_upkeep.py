"""outbox.examine of upkeep: partitions, housekeeping, batches, what piles up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Database
from tests.operate.examined import insert, keep_house, look, only, start_worker, verdicts


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


@pytest.mark.parametrize(
    "duty", ["make_partitions", "drop_history", "measure", "repair", "sweep", "batches", "index_history"]
)
def test_the_error_of_any_duty_is_shown(db, duty):
    start_worker(db)
    keep_house(db)
    start_batch(db)
    db.execute("SELECT outbox.note_duty(%s, 'disk full')", [duty])
    assert only(db, "housekeeping")[:2] == ("fail", f"duty {duty} failed: disk full")
    db.execute("SELECT outbox.note_duty(%s, NULL)", [duty])
    assert verdicts(db, "housekeeping") == ["ok"]


def start_batch(db: Database) -> None:
    db.execute("SELECT outbox.start_batch('retry', p_bot => 'default')")


def test_the_error_of_batches_is_over_when_none_runs_any_more(db):
    start_worker(db)
    keep_house(db)
    start_batch(db)
    db.execute("SELECT outbox.note_duty('batches', 'disk full')")
    assert verdicts(db, "housekeeping") == ["fail"]
    db.execute("SELECT outbox.stop_batch(1)")
    assert verdicts(db, "housekeeping") == ["ok"]


def test_a_batch_that_fails_is_a_warning_until_it_goes_on(db):
    assert only(db, "batches") == ("ok", "no batch is running, none fails", "")
    start_batch(db)
    assert only(db, "batches") == ("ok", "1 batch is running, none fails", "")
    db.execute("UPDATE outbox.batch SET last_error = 'disk full', requested_by = 'ann'")
    verdict, finding, remedy = only(db, "batches")
    assert (verdict, finding) == (
        "warn",
        "batch 1 (retry, asked for by ann) fails, and is tried again: disk full",
    )
    assert "outbox dead stop 1" in remedy
    db.execute("UPDATE outbox.batch SET last_error = NULL")
    assert verdicts(db, "batches") == ["ok"]


def test_a_batch_that_left_dead_letters_out_is_a_warning_for_a_day(db, clock):
    start_batch(db)
    db.execute(
        "UPDATE outbox.batch SET failed = 1, state = 'done', finished_at = outbox.clock(), last_error = 'too long'"
    )
    verdict, finding, remedy = only(db, "batches")
    assert (verdict, finding.partition(") ")[2]) == ("warn", "left out 1 dead letter: too long")
    assert "outbox dead retry" in remedy
    clock.advance(86401)
    assert verdicts(db, "batches") == ["ok"]


def test_a_batch_that_nobody_takes_further_is_a_warning(db, clock):
    start_batch(db)
    clock.advance(400)
    verdict, finding, _ = only(db, "batches")
    assert (verdict, finding.partition(") ")[2]) == ("warn", "was not taken further for 7 min")


def test_a_duty_that_never_ran_is_late_only_when_the_first_worker_is_older_than_that(db, clock):
    worker = start_worker(db)
    db.execute("SELECT outbox.keep_house('house')")
    assert verdicts(db, "housekeeping") == ["ok"]
    clock.advance(3 * 3600)
    db.execute("SELECT outbox.heartbeat(%s, true), outbox.keep_house('house')", [worker])
    assert verdicts(db, "housekeeping") == ["fail"] * 5


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
