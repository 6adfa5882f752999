"""outbox shape: what waits, by age."""

import json
from datetime import UTC, datetime, timedelta

from tests.invariants.calls import add_bot, insert


def _ago(**time):
    return datetime.now(UTC) - timedelta(**time)


def test_each_message_stands_in_the_column_of_its_age(connection, outbox):
    for age in ({"seconds": 3}, {"minutes": 2}, {"hours": 2}, {"days": 3}):
        insert(connection, 42, next_attempt_at=_ago(**age))
    insert(connection, 42, next_attempt_at=_ago(hours=-1))
    document = json.loads(outbox("shape", "--json").out)
    [row] = document["rows"]
    assert (row["total"], row["scheduled"]) == (5, 1)
    assert {age for age, count in row["ages"].items() if count} == {"under_10_s", "under_5_min", "under_6_h", "older"}
    lines = outbox("shape").out.splitlines()
    assert lines[0].split("  ")[0] == "priority"
    assert lines[1].split() == ["2", "normal", "5", "1", ".", "1", ".", ".", "1", ".", "1", "1"]


def test_the_last_row_is_the_sum(connection, outbox):
    for priority in (0, 3):
        insert(connection, 42, priority=priority)
    assert outbox("shape").out.splitlines()[-1].split() == ["TOTAL", "2", "2", *"........"]


def test_rows_are_by_what_was_asked_for(connection, outbox):
    add_bot(connection, "alerts")
    insert(connection, 42, bot="alerts", tag="news")
    insert(connection, -100500)
    for by, names in (
        ("bot", {"alerts", "default"}),
        ("tag", {"news", "(none)"}),
        ("chat-kind", {"private", "group"}),
        ("priority", {"2"}),
    ):
        assert {row["name"] for row in json.loads(outbox("shape", "--by", by, "--json").out)["rows"]} == names


def test_a_hostile_tag_is_shown_as_text(connection, outbox):
    insert(connection, 42, tag="\x1b[2J[red]")
    assert r"\x1b[2J[red]" in outbox("shape", "--by", "tag").out


def test_an_empty_queue_says_so(outbox):
    shown = outbox("shape")
    assert (shown.code, shown.out) == (0, "nothing waits.\n")


def test_an_unknown_grouping_is_wrong_usage_in_one_line(outbox):
    refused = outbox("shape", "--by", "colour")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
