"""The pages of bots: whether they send, pause and resume, and the policy as a form."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.invariants.calls import Connection, insert, register
from tests.operate.dead_letters import audited


def fields_of(text: str) -> dict[str, str]:
    """What the policy's form would send as it stands."""
    form = re.search(r'<form class="policy".*?</form>', text, re.DOTALL)
    assert form
    inputs = re.findall(r'<input (?:id="[^"]*" |type="hidden" )?name="([^"]+)" value="([^"]*)"', form[0])
    selects = re.findall(r'<select [^>]*name="([^"]+)".*?<option value="([^"]*)" selected', form[0], re.DOTALL)
    return {name: html.unescape(value) for name, value in [*inputs, *selects]}


def policy(connection: Connection, columns: str, bot: str = "default") -> tuple[Any, ...]:
    [row] = connection.execute(f"SELECT {columns} FROM outbox.bot WHERE bot = %s", [bot]).fetchall()  # type: ignore[arg-type]
    return tuple(row)


async def test_each_bot_stands_there_with_its_limits(connection: Connection, page: Any) -> None:
    connection.execute("SELECT outbox.set_bot('alerts', p_rate => 5, p_rate_window_s => 0.25, p_group_limit => 0)")
    answer = await page.get("/bots")
    assert answer.status == 200, answer.text
    assert 'href="/bots/default"' in answer.text
    assert "5 in 0.25 s" in answer.text
    assert "30 in 1 s" in answer.text


async def test_a_bot_without_a_worker_is_said_to_have_none(connection: Connection, page: Any) -> None:
    assert "no worker" in (await page.get("/bots")).text
    register(connection, "default")
    answer = await page.get("/bots")
    assert "no worker" not in answer.text
    assert "sends" in answer.text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("stopped = true", "paused by an operator"),
        ("unauthorised = true", "bot token refused"),
        ("breaker = 'open', breaker_until = outbox.clock() + interval '1 h'", "breaker open"),
        ("breaker = 'half_open'", "breaker half-open"),
        ("paused_until = outbox.clock() + interval '1 h', paused_reason = '429'", "paused by Telegram"),
    ],
)
async def test_what_stops_a_bot_is_said_in_the_list_and_on_its_page(
    connection: Connection, page: Any, columns: str, said: str
) -> None:
    register(connection, "default")
    connection.execute(f"UPDATE outbox.bucket SET {columns}")  # type: ignore[arg-type]
    for path in ("/bots", "/bots/default"):
        answer = await page.get(path)
        assert answer.status == 200, answer.text
        assert f">{said}<" in answer.text


async def test_a_bot_is_paused_and_resumed_in_the_operators_name(connection: Connection, page: Any) -> None:
    answer = await page.post("/bots/default/pause")
    assert (answer.status, answer.location) == (303, "/bots/default")
    after = await page.get(answer.location)
    assert "Bot default is paused." in after.text
    assert 'action="/bots/default/resume"' in after.text
    answer = await page.post("/bots/default/resume", back="list")
    assert (answer.status, answer.location) == (303, "/bots")
    assert "Bot default may send again" in (await page.get(answer.location)).text
    assert audited(connection) == [("pause", {"bot": "default"}, 1), ("resume", {"bot": "default"}, 1)]
    assert connection.execute("SELECT bool_and(who LIKE '%(local)') FROM outbox.audit").fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("verb", "said"), [("pause", "was paused already"), ("resume", "was not paused by an operator")]
)
async def test_a_click_that_changes_nothing_says_so(connection: Connection, page: Any, verb: str, said: str) -> None:
    if verb == "pause":
        await page.post("/bots/default/pause")
    answer = await page.post(f"/bots/default/{verb}")
    assert said in (await page.get(answer.location)).text


async def test_a_bot_is_added_with_telegrams_limits(connection: Connection, page: Any) -> None:
    answer = await page.post("/bots", bot="alerts")
    assert (answer.status, answer.location) == (303, "/bots/alerts")
    assert "OUTBOX_TOKEN_ALERTS" in (await page.get(answer.location)).text
    assert policy(connection, "rate, chat_interval_s", "alerts") == (30, 1.0)


async def test_adding_a_bot_that_is_there_changes_nothing(connection: Connection, page: Any) -> None:
    answer = await page.post("/bots", bot="default")
    assert "is there already" in (await page.get(answer.location)).text
    assert audited(connection) == []


@pytest.mark.parametrize("name", ["Alerts", "", "a b", "x" * 64, "<script>", "münchen"])
async def test_a_name_that_no_bot_can_have_is_refused_beside_the_form(
    connection: Connection, page: Any, name: str
) -> None:
    answer = await page.post("/bots", bot=name)
    assert answer.status == 400
    assert "cannot be a name" in answer.text
    assert f'name="bot" value="{html.escape(name)}"' in answer.text
    assert connection.execute("SELECT count(*) FROM outbox.bot").fetchall() == [(1,)]


@pytest.mark.parametrize("path", ["/bots/nobody", "/bots/%3Cscript%3E"])
async def test_a_bot_that_does_not_exist_is_said_to_be_unknown(page: Any, path: str) -> None:
    answer = await page.get(path)
    assert answer.status == 404
    assert "There is no bot" in answer.text
    for verb, fields in (("pause", {}), ("resume", {}), ("policy", {"rate": "5"})):
        assert (await page.post(f"{path}/{verb}", **fields)).status == 404


async def test_the_form_shows_every_option_of_set_bot_with_its_present_value(connection: Connection, page: Any) -> None:
    connection.execute("SELECT outbox.set_bot('default', p_rate => 0, p_breaker_failure_share => 0.25)")
    sent = fields_of((await page.get("/bots/default")).text)
    [(arguments,)] = connection.execute(
        "SELECT proargnames FROM pg_proc WHERE proname = 'set_bot' AND pronamespace = 'outbox'::regnamespace"
    ).fetchall()
    assert {name for name in sent if not name.startswith("was_")} == {
        name.removeprefix("p_") for name in arguments if name != "p_bot"
    }
    assert (sent["rate"], sent["breaker_failure_share"], sent["idempotency_s"]) == ("0", "0.25", "604800")
    assert (sent["keep_payload"], sent["allow_paid_broadcast"]) == ("yes", "yes")


async def test_only_what_was_changed_is_set_and_audited(connection: Connection, page: Any) -> None:
    sent = fields_of((await page.get("/bots/default")).text)
    connection.execute("SELECT outbox.set_bot('default', p_chat_interval_s => 2)")  # somebody else, meanwhile
    answer = await page.post(
        "/bots/default/policy", **(sent | {"rate": "12", "keep_payload": "no", "allow_paid_broadcast": "no"})
    )
    assert (answer.status, answer.location) == (303, "/bots/default")
    after = await page.get(answer.location)
    assert "rate 12" in after.text
    assert policy(connection, "rate, chat_interval_s, keep_payload") == (12, 2.0, False)
    assert policy(connection, "paid_broadcast_refused_at IS NULL") == (False,)
    assert audited(connection)[1:] == [
        ("set_bot", {"bot": "default", "rate": 12, "keep_payload": False, "allow_paid_broadcast": False}, 1)
    ]


async def test_a_limit_is_lifted_by_0(connection: Connection, page: Any) -> None:
    sent = fields_of((await page.get("/bots/default")).text)
    await page.post("/bots/default/policy", **(sent | {"rate": "0", "group_limit": "0"}))
    assert policy(connection, "rate, group_limit") == (None, None)
    assert (await page.get("/bots/default")).status == 200
    assert (await page.get("/bots")).status == 200


async def test_a_form_without_changes_changes_nothing(connection: Connection, page: Any) -> None:
    sent = fields_of((await page.get("/bots/default")).text)
    answer = await page.post("/bots/default/policy", **sent)
    assert "Nothing was changed" in (await page.get(answer.location)).text
    assert audited(connection) == []


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("rate", "2000000", "Use 0 to 1000000; 0 is no limit."),
        ("rate", "-1", "Use 0 to 1000000; 0 is no limit."),
        ("rate", "1.5", "is not a whole number"),
        ("rate", "99999999999", "is too much"),
        ("breaker_failure_share", "2", "Use 0.001 to 1."),
        ("chat_interval_s", "a <b>moment</b>", "is not a number"),
        ("chat_interval_s", "NaN", "is not a number"),
        ("max_attempts", "", "This is empty"),
        ("keep_payload", "maybe", "Choose yes or no"),
    ],
)
async def test_a_value_that_makes_no_sense_is_refused_beside_it_and_what_was_typed_is_kept(
    connection: Connection, page: Any, name: str, value: str, line: str
) -> None:
    sent = fields_of((await page.get("/bots/default")).text)
    answer = await page.post("/bots/default/policy", **(sent | {name: value, "backoff_max_s": "77"}))
    assert answer.status == 400
    assert line in answer.text
    assert "Nothing was changed" in answer.text
    assert "<b>moment" not in answer.text
    assert fields_of(answer.text)["backoff_max_s"] == "77"
    if name != "keep_payload":
        assert fields_of(answer.text)[name] == value
        assert re.search(rf'name="{name}" [^>]*aria-invalid="true"', answer.text)
    assert policy(connection, "rate, backoff_max_s") == (30, 30.0)
    assert audited(connection) == []
    # Once more with a value that does, from the form that came back.
    corrected = fields_of(answer.text) | {name: sent[name]}
    assert (await page.post("/bots/default/policy", **corrected)).status == 303
    assert policy(connection, "rate, backoff_max_s") == (30, 77.0)


async def test_the_breakers_changes_stand_there_newest_first(connection: Connection, page: Any) -> None:
    assert "It has not opened" in (await page.get("/bots/default")).text
    for ago, breaker in ((2, "open"), (1, "half_open")):
        connection.execute(
            "INSERT INTO outbox.breaker_change (bot, at, breaker, reason, answered, failed, refused)"
            " VALUES ('default', outbox.clock() - make_interval(mins => %s), %s, 'failures', 20, 17, 3)",
            [ago, breaker],
        )
    answer = await page.get("/bots/default")
    assert answer.text.index(">half-open<") < answer.text.index(">open<")
    assert '<td class="num">17</td>' in answer.text


async def test_what_waits_is_told_by_priority(connection: Connection, page: Any) -> None:
    insert(connection, 42, priority=0)
    insert(connection, 43)
    connection.execute("SELECT outbox.measure_queue()")
    answer = await page.get("/bots/default")
    assert re.search(r'<th scope="row">critical</th>\s*<td class="num">1</td>', answer.text)
    assert "no worker" in answer.text
