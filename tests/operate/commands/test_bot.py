"""outbox bot: policies in the database, tokens of the environment."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator

import pytest

from outbox.operate.commands import bot as command
from outbox.simulator.thread import Telegram, run_in_thread
from tests.invariants.calls import Connection, register
from tests.operate.commands.conftest import Outbox

TOKEN = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
OTHER = "1000002:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
SECRETS = ("AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0", "BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0")


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    with run_in_thread() as running:
        yield running


def test_every_part_of_a_policy_has_an_option(connection: Connection) -> None:
    [(arguments,)] = connection.execute(
        "SELECT proargnames FROM pg_proc WHERE oid = 'outbox.set_bot'::regproc"
    ).fetchall()
    options = {parameter.name for parameter in command.set_.params}
    assert {name.removeprefix("p_") for name in arguments} - {"bot"} == options - {"name", "as_json"}
    assert inspect.getdoc(command.set_.callback)


def test_a_bot_is_added_with_its_policy(outbox: Outbox, connection: Connection) -> None:
    done = outbox("bot", "add", "Alerts", "--rate", "20", "--chat-interval-s", "0.5", "--no-keep-payload")
    assert done.code == 0, done.err
    assert connection.execute(
        "SELECT rate, chat_interval_s, keep_payload, max_attempts FROM outbox.bot WHERE bot = 'alerts'"
    ).fetchall() == [(20, 0.5, False, 10)]
    assert re.search(r"^rate +20$", done.out, re.MULTILINE)
    assert "set OUTBOX_TOKEN_ALERTS where the workers run; here it is not set." in done.err
    again = outbox("bot", "add", "alerts")
    assert again.code == 1
    assert "bot 'alerts' exists. Change it: outbox bot set alerts" in again.err


def test_the_token_of_a_name_that_no_variable_can_bear_goes_into_the_file(outbox: Outbox) -> None:
    advice = 'a line order-bot = "123:ABC" in OUTBOX_TOKENS_FILE'
    assert f"set {advice} where the workers run" in outbox("bot", "add", "order-bot").err
    assert f"Set {advice}" in outbox("bot", "check", "order-bot").err


def test_a_change_is_shown_as_before_and_after(outbox: Outbox) -> None:
    done = outbox("bot", "set", "default", "--rate", "25", "--group-limit", "0", "--max-attempts", "10")
    assert done.code == 0, done.err
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.out.splitlines()[2:]}
    assert {name: re.split(r" {2,}", row.strip()) for name, row in rows.items()} == {
        "rate": ["30", "25"],
        "group_limit": ["20", "no limit"],
    }
    told = json.loads(outbox("bot", "set", "default", "--rate", "26", "--no-allow-paid-broadcast", "--json").out)
    assert told["changed"] == ["allow_paid_broadcast", "rate"]
    assert (told["before"]["rate"], told["after"]["rate"]) == (25, 26)
    assert outbox("bot", "set", "default", "--rate", "26").out == "bot default is as it was\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("set", "nobody", "--rate", "1"), 1, "bot 'nobody' does not exist. Add it: outbox bot add nobody"),
        (("set", "default"), 2, "nothing says what to change. Name it, as in: outbox bot set default --rate 20"),
        (("set", "default", "--rate", "-1"), 1, "p_rate is -1. Use 0 to 1000000; 0 is no limit."),
        (("add", "two words"), 2, "'two words' cannot be a bot's name"),
        (("list", "nobody"), 1, "bot 'nobody' does not exist"),
        (("check",), 2, "no bot token is set. Set OUTBOX_TOKEN"),
        (("check", "alerts"), 2, "no token for bot 'alerts' is set. Set OUTBOX_TOKEN_ALERTS"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told(
    outbox: Outbox, connection: Connection, arguments: tuple[str, ...], code: int, says: str
) -> None:
    before = connection.execute("SELECT * FROM outbox.bot").fetchall()
    done = outbox("bot", *arguments)
    assert says in done.err
    assert (done.code, done.out) == (code, "")
    assert connection.execute("SELECT * FROM outbox.bot").fetchall() == before


def test_the_list_tells_limits_what_holds_them_and_whether_a_token_is_here(
    outbox: Outbox, connection: Connection
) -> None:
    connection.execute("SELECT outbox.set_bot('alerts', p_rate => 0)")
    connection.execute("SELECT outbox.pause('alerts')")
    register(connection, "default")
    done = outbox("bot", "list", OUTBOX_TOKEN=TOKEN, OUTBOX_TOKEN_SHOP=OTHER)
    assert done.code == 0, done.err
    header, *rows = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()]
    assert header[:5] == ["bot", "state", "waiting", "limit", "per chat"]
    assert rows[0][:5] == ["alerts", "paused by an operator", "0", "no limit", "1 per 1 s"]
    assert rows[1][:8] == ["default", "sends", "0", "30 per 1 s", "1 per 1 s", "20 per 60 s", "10", "yes"]
    assert "a token for 'shop' is here, and no such bot. Add it: outbox bot add shop" in done.err
    told = json.loads(outbox("bot", "list", "--json", OUTBOX_TOKEN=TOKEN).out)
    assert [(bot["bot"], bot["token_here"], bot["stopped"]) for bot in told] == [
        ("alerts", False, True),
        ("default", True, False),
    ]
    assert told[0]["holds"] == ["paused by an operator", "no worker"]
    assert "paused by an operator, no worker" in outbox("bot", "list", "alerts").out
    assert re.search(r"^backoff_max_s +30 s$", outbox("bot", "list", "default").out, re.MULTILINE)


def test_a_token_that_telegram_takes_is_shown_with_its_bots_name(outbox: Outbox, telegram: Telegram) -> None:
    done = outbox("bot", "check", OUTBOX_TOKEN=TOKEN, OUTBOX_API_URL=telegram.url)
    assert done.code == 0, done.err
    assert re.search(r"^default +ok +1000001 +@\S+$", done.out, re.MULTILINE)
    assert [call.method for call in telegram.calls] == ["getMe"]


def test_one_bad_token_fails_the_check_and_no_token_is_printed(
    outbox: Outbox, connection: Connection, telegram: Telegram
) -> None:
    telegram.faults.add(
        [{"match": {"bot": "1000002"}, "status": 401, "error_code": 401, "description": "Unauthorized"}]
    )
    environment = {"OUTBOX_TOKEN": TOKEN, "OUTBOX_TOKEN_SHOP": OTHER, "OUTBOX_API_URL": telegram.url}
    done = outbox("bot", "check", "--json", **environment)
    assert done.code == 1
    good, bad = json.loads(done.out)
    assert (good["bot"], good["ok"], good["in_database"]) == ("default", True, True)
    assert (bad["bot"], bad["ok"], bad["in_database"], bad["telegram_id"]) == ("shop", False, False, 1000002)
    assert "Telegram refuses the token" in bad["error"]
    said = done.out + done.err + outbox("bot", "check", **environment).out
    assert not any(secret in said for secret in SECRETS)
    assert outbox("bot", "check", "default", **environment).code == 0, "only the one named is asked for"


def test_a_token_of_another_bot_than_the_database_knows_is_found(
    outbox: Outbox, connection: Connection, telegram: Telegram
) -> None:
    connection.execute("UPDATE outbox.bot SET telegram_id = 1000002")
    done = outbox("bot", "check", OUTBOX_TOKEN=TOKEN, OUTBOX_API_URL=telegram.url)
    assert done.code == 1
    assert "the database knows this bot as 1000002" in done.out


def test_an_api_that_is_not_there_is_told_without_the_token(outbox: Outbox) -> None:
    done = outbox("bot", "check", OUTBOX_TOKEN=TOKEN, OUTBOX_API_URL="http://127.0.0.1:1")
    assert done.code == 1
    assert "not sent" in done.out
    assert not any(secret in done.out + done.err for secret in SECRETS)
