"""outbox check alerts: what fires is said, and the exit code is what a monitor reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from outbox.observe.thresholds import read_thresholds
from tests.conftest import Database

QUIET = "SELECT outbox.make_partitions(), outbox.measure_queue(), outbox.measure_broadcasts()"


def keep_house(db: Database) -> None:
    db.execute(QUIET)
    for duty in ("measure", "make_partitions", "drop_history", "repair", "count_astray"):
        db.execute("SELECT outbox.note_duty(%s, NULL)", [duty])


def test_nothing_fires_where_all_is_well(db: Database, outbox: Any) -> None:
    keep_house(db)
    result = outbox("check", "alerts")
    assert (result.code, result.out.split(":")[0]) == (0, "OK")


def test_a_warning_exits_with_1_and_names_its_page_of_the_runbook(db: Database, outbox: Any) -> None:
    keep_house(db)
    db.execute("SELECT outbox.pause('default')")
    result = outbox("check", "alerts")
    assert result.code == 1
    assert result.out.splitlines() == ["WARNING BotPaused: Bot default is paused (docs/runbook.md#botpaused)"]


def test_a_critical_one_exits_with_2_and_comes_first(db: Database, outbox: Any) -> None:
    db.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('1', '{\"text\": \"x\"}')")
    keep_house(db)
    db.execute("SELECT outbox.pause('default')")
    result = outbox("check", "alerts", "--json")
    assert result.code == 2
    assert [(one["severity"], one["alert"]) for one in json.loads(result.out)["firing"]] == [
        ("critical", "NoWorker"),
        ("warning", "BotPaused"),
    ]


def test_a_duty_that_never_ran_fires(db: Database, outbox: Any) -> None:
    db.execute(QUIET)
    db.execute("UPDATE outbox.release SET applied_at = outbox.clock()")
    assert outbox("check", "alerts").code == 0
    db.execute("UPDATE outbox.release SET applied_at = applied_at - interval '1 day'")
    result = outbox("check", "alerts")
    assert result.code == 1
    assert "HousekeepingStale" in result.out


def test_what_cannot_be_asked_is_neither_well_nor_ill(db: Database, outbox: Any, tmp_path: Path) -> None:
    file = tmp_path / "values.toml"
    file.write_text("[general]\n")
    for arguments in (("--values", str(file)), ("--values", str(tmp_path / "none.toml"))):
        result = outbox("check", "alerts", *arguments)
        assert (result.code, result.out.split(":")[0]) == (3, "UNKNOWN")


def test_each_alert_is_asked_but_those_that_only_a_scrape_sees(db: Database, outbox: Any) -> None:
    keep_house(db)
    db.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
        " SELECT n, 1, 'default', '1', outbox.clock(), o FROM generate_series(1, 30) n,"
        " (VALUES ('sent'), ('wait')) v (o)"
    )
    asked = set(json.loads(outbox("check", "alerts", "--json").out)["asked"])
    values = read_thresholds()
    assert set(values) - {"general"} - asked == {"SpoolFull", "DatabaseAway", "ExporterMissing"}
    rows = db.execute("SELECT alert FROM outbox.check_alerts(%s::jsonb)", [json.dumps(values)])
    assert {alert for (alert,) in rows} == asked


def test_a_login_that_may_only_read_may_ask(db: Database) -> None:
    keep_house(db)
    values = json.dumps(read_thresholds())
    with db.connect() as connection:
        connection.execute("SET ROLE outbox_reader")
        alerts = connection.execute("SELECT alert FROM outbox.check_alerts(%s::jsonb)", [values]).fetchall()
        assert len({alert for (alert,) in alerts}) > 15
        assert connection.execute("SELECT * FROM outbox.find_astray()").fetchall() == []
        assert connection.execute("SELECT count(*) > 30 FROM outbox.gauges()").fetchall() == [(True,)]


def test_429s_are_told_when_they_go_on_for_two_windows(db: Database, outbox: Any) -> None:
    keep_house(db)
    one = (
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
        " VALUES (1, 1, 'default', '1', outbox.clock() - %s::interval, 'wait')"
    )
    db.execute(one, ["10 s"])
    assert outbox("check", "alerts").code == 0
    db.execute(one, ["7 min"])
    result = outbox("check", "alerts")
    assert result.code == 1
    assert "TooManyRequests" in result.out
