"""Many dead letters at once: counted and confirmed first, started once, seen through, stopped."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import pytest
from yarl import URL

from tests.conftest import Database
from tests.operate.page.dead_letters import hidden_fields, house_is_kept, make_dead_letters, run_batches
from tests.operate.page.test_dead_letters import link


async def confirmed(page: Any, **fields: Any) -> dict[str, Any]:
    """The fields of the confirmation's form."""
    answer = await page.get("/dead-letters/confirm", **fields)
    assert answer.status == 200, answer.text
    return hidden_fields(answer.text)


async def started(page: Any, **fields: Any) -> str:
    """Where the batch that was started is shown."""
    answer = await page.post("/dead-letters/batches", **fields)
    assert answer.status == 303, answer.text
    return str(answer.location)


def counted(db: Database, table: str = "batch") -> int:
    return int(db.execute(f"SELECT count(*) FROM outbox.{table}")[0][0])


async def test_the_confirmation_counts_says_which_and_does_nothing(db: Database, page: Any) -> None:
    make_dead_letters(db, 5, tag="bill", error_class="timeout")
    make_dead_letters(db, 2)
    answer = await page.get("/dead-letters/confirm", verb="retry", tag="bill", **{"class": "timeout"})
    assert answer.status == 200, answer.text
    assert "<h1>Retry 5 dead letters?</h1>" in answer.text
    assert re.search("error class <bdi[^>]*>timeout", answer.text)
    assert re.search("tag <bdi[^>]*>bill", answer.text)
    assert "died before" in answer.text
    assert 'name="typed"' not in answer.text
    assert (counted(db), counted(db, "dead_letter"), counted(db, "audit")) == (0, 7, 0)


async def test_selected_messages_are_a_batch_of_exactly_these(db: Database, page: Any) -> None:
    one, two, _three = make_dead_letters(db, 3)
    fields = await confirmed(page, verb="discard", selected=1, id=f"{one},{two}")
    assert fields["counted"] == "2"
    where = await started(page, **fields)
    run_batches(db)
    assert sorted(db.execute("SELECT id FROM outbox.finished WHERE status = 'discarded'")) == [(one,), (two,)]
    assert counted(db, "dead_letter") == 1
    assert "2 of 2" in (await page.get(where)).text


async def test_the_boxes_of_the_list_lead_to_a_confirmation(db: Database, page: Any) -> None:
    make_dead_letters(db, 2)
    text = (await page.get("/dead-letters")).text
    assert '<form method="get" action="/dead-letters/confirm">' in text
    # Without a tick the address must not mean all of them.
    answer = await page.get("/dead-letters/confirm", verb="retry", selected=1)
    assert answer.status == 400
    assert "Nothing is selected" in answer.text


async def test_uncertain_ones_are_warned_of_and_can_be_left_out(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    make_dead_letters(db, 2, status="uncertain", error_class="timeout")
    answer = await page.get("/dead-letters/confirm", verb="retry")
    assert "2 of them are uncertain" in answer.text
    _, fields = link(answer.text, "Leave the uncertain ones out")
    answer = await page.get("/dead-letters/confirm", **fields)
    assert "Retry 3 dead letters?" in answer.text
    assert "uncertain:" not in answer.text


async def test_discarding_says_that_it_cannot_be_undone(db: Database, page: Any) -> None:
    make_dead_letters(db)
    assert "cannot be undone" in (await page.get("/dead-letters/confirm", verb="discard")).text


async def test_how_long_a_retry_takes_follows_from_the_limits_of_the_bots(db: Database, page: Any) -> None:
    make_dead_letters(db, 90)
    answer = await page.get("/dead-letters/confirm", verb="retry")
    assert "sending them takes 3 s or more" in answer.text


async def test_what_dies_after_the_count_is_not_part_of_the_batch(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    fields = await confirmed(page, verb="discard")
    make_dead_letters(db, 2, died_ago_s=-5)
    await started(page, **fields)
    run_batches(db)
    assert counted(db, "dead_letter") == 2


async def test_over_a_hundred_the_count_must_be_typed(db: Database, page: Any) -> None:
    make_dead_letters(db, 101)
    fields = await confirmed(page, verb="discard")
    for typed in ({}, {"typed": "100"}, {"typed": "yes"}, {"typed": "<b>"}):
        answer = await page.post("/dead-letters/batches", **fields, **typed)
        assert answer.status == 400
        assert "the number typed is not the count" in answer.text
        assert 'name="typed"' in answer.text
    assert counted(db) == 0
    await started(page, **fields, typed="101")
    assert counted(db) == 1


async def test_a_form_that_claims_a_small_count_does_not_spare_the_typing(db: Database, page: Any) -> None:
    make_dead_letters(db, 101)
    fields = await confirmed(page, verb="discard") | {"counted": "5"}
    assert (await page.post("/dead-letters/batches", **fields)).status == 400
    assert counted(db) == 0


async def test_a_count_of_thousands_may_be_typed_with_its_comma(db: Database, page: Any) -> None:
    make_dead_letters(db, 1001)
    fields = await confirmed(page, verb="retry")
    await started(page, **fields, typed="1,001")
    assert db.execute("SELECT total, verb FROM outbox.batch") == [(1001, "retry")]


async def test_past_what_is_counted_it_says_or_more_and_at_least(db: Database, page: Any) -> None:
    make_dead_letters(db, 99_999, status="uncertain", error_class="timeout")
    assert "Retry 99,999 dead letters?" in (await page.get("/dead-letters/confirm", verb="retry")).text
    make_dead_letters(db, 2)
    answer = await page.get("/dead-letters/confirm", verb="retry")
    assert "<h1>Retry 100,000 or more dead letters?</h1>" in answer.text
    assert "99,999 of them are uncertain" in answer.text
    assert "Type the count, 100,000," in answer.text
    where = await started(page, **hidden_fields(answer.text), typed="100,000")
    assert "had counted" not in (await page.get(where)).text
    for path in (where, "/dead-letters/batches", "/dead-letters", "/"):
        assert "at least 100,000" in (await page.get(path)).text, path
    db.execute("UPDATE outbox.batch SET done = 100000, failed = 1, finished_at = outbox.clock(), state = 'done'")
    text = (await page.get(where)).text
    assert "100,000 of 100,001" in text
    assert "1 dead letter could not be retried" in text


async def test_a_form_sent_twice_starts_one_batch(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    fields = await confirmed(page, verb="retry")
    places = await asyncio.gather(*(started(page, **fields) for _ in range(3)))
    assert len(set(places)) == 1
    assert counted(db) == 1
    run_batches(db)
    # And later, out of the browser's history.
    assert await started(page, **fields) == places[0]
    assert counted(db) == 1


async def test_a_count_that_changed_until_the_start_is_told(db: Database, page: Any) -> None:
    dead = make_dead_letters(db, 3)
    fields = await confirmed(page, verb="discard")
    db.execute("SELECT outbox.discard(%s::bigint)", [dead[0]])
    text = (await page.get(await started(page, **fields))).text
    assert "had counted 3; when the batch started it was 2" in text


async def test_a_batch_shows_who_when_how_much_and_what_is_left(db: Database, page: Any) -> None:
    make_dead_letters(db, 3, tag="bill")
    house_is_kept(db)
    where = await started(page, **await confirmed(page, verb="retry", tag="bill"), per_s="0.5")
    text = (await page.get(where)).text
    assert "0 of 3" in text
    assert "3 left" in text
    assert re.search(r"At most per second</dt><dd>0.5", text)
    assert "local" in text[text.index("Asked for by") :]
    assert re.search("tag <bdi[^>]*>bill", text)
    assert 'hx-trigger="every 2s"' in text
    assert "No housekeeper" not in text
    assert "running" in text
    assert "Reload" in text, "also without script"


async def test_without_a_housekeeper_it_says_that_nobody_runs_it(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    answer = await page.get("/dead-letters/confirm", verb="retry")
    assert "No housekeeper is alive" in answer.text
    where = await started(page, **hidden_fields(answer.text))
    assert "No housekeeper is alive" in (await page.get(where)).text
    house_is_kept(db)
    assert "No housekeeper" not in (await page.get(where)).text


async def test_a_batch_that_is_done_stops_asking(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    where = await started(page, **await confirmed(page, verb="discard"))
    run_batches(db)
    text = (await page.get(where)).text
    assert "3 of 3" in text
    assert "hx-trigger" not in text
    assert "Stop it" not in text
    assert "No housekeeper" not in text


async def test_a_batch_is_stopped_by_a_button_and_the_rest_stays(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    where = (await started(page, **await confirmed(page, verb="discard"), per_s="0.001")).split("?")[0]
    assert f'action="{where}/stop"' in (await page.get(where)).text
    answer = await page.post(f"{where}/stop")
    assert answer.location == where
    assert "It stops" in (await page.get(where)).text
    run_batches(db)
    text = (await page.get(where)).text
    assert "stopped" in text
    assert counted(db, "dead_letter") > 0
    await page.post(f"{where}/stop")
    assert "It had ended before" in (await page.get(where)).text


async def test_who_started_and_stopped_it_is_on_record(db: Database, page: Any) -> None:
    make_dead_letters(db, 3)
    where = (await started(page, **await confirmed(page, verb="discard"), per_s="0.001")).split("?")[0]
    await page.post(f"{where}/stop")
    whos = [who for (who,) in db.execute("SELECT who FROM outbox.audit")]
    assert len(whos) >= 2
    assert all(who.endswith("(local)") for who in whos)


async def test_batches_are_listed_newest_first(db: Database, page: Any) -> None:
    assert "No batch yet" in (await page.get("/dead-letters/batches")).text
    make_dead_letters(db, 2, tag="<i>bill</i>")
    await started(page, **await confirmed(page, verb="retry", tag="<i>bill</i>"))
    run_batches(db)
    make_dead_letters(db, 2)
    await started(page, **await confirmed(page, verb="discard"))
    text = (await page.get("/dead-letters/batches")).text
    assert text.index("2: discard") < text.index("1: retry")
    assert "<i>bill" not in text
    assert "Discarding: 0 of 2" in (await page.get("/dead-letters")).text, "what runs is told where it began"


async def test_an_error_of_a_step_is_shown(db: Database, page: Any) -> None:
    make_dead_letters(db)
    where = await started(page, **await confirmed(page, verb="discard"))
    db.execute("UPDATE outbox.batch SET last_error = 'deadlock <detected>'")
    assert "deadlock &lt;detected&gt;" in (await page.get(where)).text


async def test_the_form_fixes_a_relative_time(db: Database, page: Any) -> None:
    make_dead_letters(db)
    fields = await confirmed(page, verb="retry", since="2h")
    assert datetime.fromisoformat(fields["since"]) < datetime.fromisoformat(fields["until"])


async def test_nothing_to_retry_is_said_without_a_button(db: Database, page: Any) -> None:
    answer = await page.get("/dead-letters/confirm", verb="retry", tag="none")
    assert "Nothing to retry" in answer.text
    assert '<form method="post" action="/dead-letters/batches"' not in answer.text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/dead-letters/confirm", {}),
        ("/dead-letters/confirm", {"verb": "drop"}),
        ("/dead-letters/confirm", {"verb": "retry", "id": "1,x"}),
        ("/dead-letters/confirm", {"verb": "retry", "since": "soon"}),
        ("/dead-letters/batches", {"before_id": "x"}),
        ("/dead-letters/batches/x", {}),
    ],
    ids=str,
)
async def test_a_bad_address_is_refused_in_one_line(page: Any, path: str, fields: dict[str, str]) -> None:
    answer = await page.get(path, **fields)
    assert answer.status == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("rate", ["0.001", "1000"])
async def test_the_bounds_of_a_rate_are_those_the_form_names(db: Database, page: Any, rate: str) -> None:
    make_dead_letters(db)
    assert "0.001 to 1000; left empty" in (await page.get("/dead-letters/confirm", verb="retry")).text
    await started(page, **await confirmed(page, verb="retry"), per_s=rate)
    assert db.execute("SELECT per_s FROM outbox.batch") == [(float(rate),)]


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1e9", "fast", "1e-300", "0.0001"])
async def test_a_bad_rate_is_refused_beside_the_form(db: Database, page: Any, rate: str) -> None:
    make_dead_letters(db)
    fields = await confirmed(page, verb="retry")
    answer = await page.post("/dead-letters/batches", **fields, per_s=rate)
    assert answer.status == 400
    assert f'value="{rate}"' in answer.text
    assert "is not a number from 0.001 to 1000." in answer.text
    assert counted(db) == 0


async def test_a_form_without_its_count_or_time_is_refused(db: Database, page: Any) -> None:
    make_dead_letters(db)
    fields = await confirmed(page, verb="retry")
    for name in ("counted", "until", "key", "verb"):
        answer = await page.post("/dead-letters/batches", **{k: v for k, v in fields.items() if k != name})
        assert answer.status == 400, name
    assert counted(db) == 0


async def test_a_batch_that_does_not_exist_is_not_found(page: Any) -> None:
    answer = await page.get("/dead-letters/batches/17")
    assert answer.status == 404
    assert "No batch 17" in answer.text


@pytest.mark.parametrize(("number", "said"), [("17", "No batch 17"), ("%20", "No batch is named")])
async def test_stopping_a_batch_that_does_not_exist_is_not_found_and_not_on_record(
    db: Database, page: Any, number: str, said: str
) -> None:
    answer = await page.post(URL(f"/dead-letters/batches/{number}/stop", encoded=True))
    assert answer.status == 404
    assert said in answer.text
    assert counted(db, "audit") == 0


async def test_dead_letters_that_a_batch_passed_over_are_told_with_why(db: Database, page: Any) -> None:
    make_dead_letters(db, 3, tag="bill")
    where = (await started(page, **await confirmed(page, verb="retry", tag="bill"))).split("?")[0]
    db.execute("UPDATE outbox.batch SET done = 1, failed = 2, last_error = 'duplicate key: <b>x</b>'")
    text = (await page.get(where)).text
    assert "2 dead letters could not be retried and were passed over" in text
    assert "duplicate key: &lt;b&gt;x" in text
    assert re.search(r'class="badge bad">2<', (await page.get("/dead-letters/batches")).text)
    db.execute("UPDATE outbox.batch SET failed = 0")
    assert "Its last step failed, and is tried again" in (await page.get(where)).text
