"""Bot tokens while a worker runs: revoked, replaced, of another bot, in a file that changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from outbox.deliver import bots, events
from outbox.deliver.tokens import TokensFile
from outbox.settings import UsageError, read_tokens
from outbox.simulator.config import Config
from outbox.simulator.server import Running, serve

from .conftest import TOKEN, Events, working

FIRST = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"
SECOND = "BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps at shorter intervals."""
    monkeypatch.setattr(bots, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(bots, "CHECK_SOON_S", 0.05)
    monkeypatch.setattr(bots, "ASK_PAUSED_S", 0.2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def write(file: Path, **tokens: str) -> None:
    """Replace the file as deployments do: at once."""
    new = file.with_suffix(".new")
    new.write_text("".join(f'{name} = "{token}"\n' for name, token in tokens.items()))
    new.replace(file)


@contextlib.asynccontextmanager
async def following(db: Any, api_url: str, file: Path, **options: Any) -> AsyncIterator[Events]:
    tokens_file = TokensFile(file, lambda: read_tokens({}, file))
    tokens = read_tokens({}, file)
    async with working(db.url, api_url, tokens=tokens, tokens_file=tokens_file, **options) as (_, seen):
        await seen.first(events.Started)
        yield seen


def insert(db: Any, text: str, bot: str = "default", chat_id: int = 42) -> None:
    db.execute(
        "INSERT INTO outbox.message (bot, chat_id, payload) VALUES (%s, %s, jsonb_build_object('text', %s::text))",
        [bot, chat_id, text],
    )


def arrived(simulator: Running) -> dict[str, str]:
    """Text to bot of what was accepted."""
    calls = (call for call in simulator.ledger.calls if call.method == "sendMessage" and call.verdict == "accepted")
    return {str(call.text): call.bot for call in calls}


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


def paused(db: Any) -> bool:
    return db.execute("SELECT unauthorised FROM outbox.limits WHERE bot = 'default'") == [(True,)]


async def test_a_bot_that_the_file_gains_is_served_and_one_that_it_loses_is_not(
    db: Any, simulator: Running, file: Path
) -> None:
    db.execute("SELECT outbox.set_bot('alerts')")
    write(file, default=f"1:{FIRST}")
    async with following(db, simulator.url, file) as seen:
        insert(db, "early", bot="alerts")
        write(file, default=f"1:{FIRST}", alerts=f"2:{FIRST}")
        await until(lambda: arrived(simulator) == {"early": "2"})
        await until(lambda: db.execute("SELECT bots FROM outbox.worker") == [(["default", "alerts"],)])
        write(file, default=f"1:{FIRST}")
        await seen.first(events.TokensRead, 2)
        insert(db, "late", bot="alerts")
        insert(db, "other")
        await until(lambda: "other" in arrived(simulator))
    assert [(read.added, read.replaced, read.removed) for read in seen.of(events.TokensRead)] == [
        (("alerts",), (), ()),
        ((), (), ("alerts",)),
    ]
    assert arrived(simulator) == {"early": "2", "other": "1"}
    assert db.execute("SELECT telegram_id FROM outbox.bot ORDER BY bot") == [(2,), (1,)]
    assert FIRST not in repr(seen.all)


async def test_a_new_token_of_the_same_bot_is_used_for_the_next_request(
    db: Any, simulator: Running, file: Path
) -> None:
    write(file, default=f"1:{FIRST}")
    async with following(db, simulator.url, file) as seen:
        write(file, default=f"1:{SECOND}")
        read = await seen.first(events.TokensRead)
        insert(db, "hi")
        await until(lambda: arrived(simulator) == {"hi": "1"})
    assert read.replaced == ("default",)
    assert not seen.of(events.BotIsAnother)


async def test_a_token_of_another_bot_is_not_served_until_the_right_one_is_back(
    db: Any, simulator: Running, file: Path
) -> None:
    db.execute("SELECT outbox.set_bot('alerts')")
    write(file, default=f"1:{FIRST}", alerts=f"2:{FIRST}")
    async with following(db, simulator.url, file) as seen:
        await until(lambda: db.execute("SELECT count(telegram_id) FROM outbox.bot") == [(2,)])
        write(file, default=f"77:{SECOND}", alerts=f"2:{FIRST}")
        another = await seen.first(events.BotIsAnother)
        insert(db, "waits")
        insert(db, "goes", bot="alerts")
        await until(lambda: arrived(simulator) == {"goes": "2"})
        write(file, default=f"1:{SECOND}", alerts=f"2:{FIRST}")
        await until(lambda: arrived(simulator) == {"goes": "2", "waits": "1"})
    assert (another.bot, another.remembered, another.present) == ("default", "1", "77")
    assert SECOND not in repr(seen.all)


@pytest.mark.parametrize("text", ["default = ", "", f'default = "not a token {SECOND}"', 'other = "1:x"'])
async def test_a_bad_file_keeps_the_tokens_from_before_and_says_so_once(
    db: Any, simulator: Running, file: Path, text: str
) -> None:
    write(file, default=f"1:{FIRST}")
    async with following(db, simulator.url, file, bots=["default"]) as seen:
        file.write_text(text)
        await seen.first(events.TokensNotRead)
        insert(db, "hi")
        await until(lambda: arrived(simulator) == {"hi": "1"})
        file.unlink()
        await seen.first(events.TokensNotRead, 2)
        write(file, default=f"1:{FIRST}")
        await seen.first(events.TokensRead)
    assert len(seen.of(events.TokensNotRead)) == 2
    assert SECOND not in repr(seen.all)


def test_a_file_that_is_being_written_is_left_alone_until_it_stands_still(file: Path) -> None:
    write(file, default=f"1:{FIRST}")
    tokens_file = TokensFile(file, lambda: read_tokens({}, file))
    assert tokens_file.changed() is None
    with file.open("w") as half:
        assert tokens_file.changed() is None, "empty now"
        half.write(f'default = "1:{SECOND}"\n')
        half.flush()
        assert tokens_file.changed() is None, "one of two lines"
        half.write(f'alerts = "2:{SECOND}"\n')
    assert tokens_file.changed() is None, "it may not be all"
    assert set(tokens_file.changed() or ()) == {"default", "alerts"}
    assert tokens_file.changed() is None
    file.write_text("nonsense")
    assert tokens_file.changed() is None
    with pytest.raises(UsageError):
        tokens_file.changed()
    assert tokens_file.changed() is None, "said once"


async def test_a_revoked_token_pauses_the_bot_and_a_new_one_from_the_file_resumes_it(
    db: Any, simulator: Running, file: Path
) -> None:
    write(file, default=f"1:{FIRST}")
    async with following(db, simulator.url, file) as seen:
        await until(lambda: seen.of(events.TokenChecked))
        simulator.faults.add([{"match": {"bot": "1"}, "effect": "revoked"}])
        for chat_id in (1, 2, 3):
            insert(db, f"to {chat_id}", chat_id=chat_id)
        await until(lambda: paused(db))
        await until(lambda: any(check.accepted is False for check in seen.of(events.TokenChecked)))
        assert db.execute("SELECT count(*) FROM outbox.message") == [(3,)]
        simulator.faults.clear()
        write(file, default=f"1:{SECOND}")
        await until(lambda: len(arrived(simulator)) == 3)
        await until(lambda: db.execute("SELECT count(*) FROM outbox.message") == [(0,)])
    assert not paused(db)
    assert db.execute("SELECT DISTINCT status, attempts FROM outbox.history") == [("sent", 1)]
    assert db.execute("SELECT count(*) FROM outbox.dead_letter") == [(0,)]


async def test_a_401_that_passes_by_itself_resumes_without_a_new_token(db: Any, simulator: Running) -> None:
    async with working(db.url, simulator.url) as (_, seen):
        await until(lambda: seen.of(events.TokenChecked))
        simulator.faults.add([{"match": {"bot": "1", "count": 3}, "effect": "revoked"}])
        insert(db, "hi")
        await until(lambda: arrived(simulator) == {"hi": "1"})
    assert not paused(db)


async def test_a_worker_with_a_bad_token_leaves_the_bot_to_the_one_with_a_good_token(
    db: Any, simulator: Running
) -> None:
    async with serve(Config()) as elsewhere:
        async with working(db.url, elsewhere.url, name="bad") as (_, bad):
            await until(lambda: bad.of(events.TokenChecked))
            elsewhere.faults.add([{"match": {"bot": "1"}, "effect": "revoked"}])
            insert(db, "met the 401")
            await until(lambda: paused(db))
            tokens = {"default": SecretStr(f"1:{SECOND}")}
            async with working(db.url, simulator.url, name="good", tokens=tokens) as (_, good):
                await until(lambda: arrived(simulator))
                for number in range(5):
                    insert(db, f"later {number}", chat_id=100 + number)
                await until(lambda: len(arrived(simulator)) == 6)
                await until(lambda: db.execute("SELECT count(*) FROM outbox.message") == [(0,)])
        assert not arrived(elsewhere)
    assert not paused(db)
    assert [event.accepted for event in good.of(events.TokenChecked) if event.accepted is False] == []
    assert {event.bot for event in bad.of(events.TokenChecked) if event.accepted is False} == {"default"}


async def test_a_restart_with_a_working_token_resumes_at_once(db: Any, simulator: Running) -> None:
    simulator.faults.add([{"match": {"bot": "1"}, "effect": "revoked"}])
    db.execute("SELECT outbox.set_bot('default')")
    insert(db, "hi")
    async with working(db.url, simulator.url) as (_, seen):
        await until(lambda: any(check.accepted is False for check in seen.of(events.TokenChecked)))
    db.execute(
        "INSERT INTO outbox.bucket (bot, unauthorised) VALUES ('default', true)"
        " ON CONFLICT (bot) DO UPDATE SET unauthorised = true"
    )
    simulator.faults.clear()
    async with working(db.url, simulator.url, tokens={"default": SecretStr(f"1:{SECOND}")}):
        async with asyncio.timeout(2):
            await until(lambda: arrived(simulator) == {"hi": "1"})
    assert not paused(db)


async def test_a_bot_that_calls_itself_another_at_getme_is_not_served(
    db: Any, simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that answers for another bot than the token's."""
    monkeypatch.setattr(bots, "_told_id", lambda answer: 99)
    insert(db, "hi")
    async with working(db.url, simulator.url) as (_, seen):
        another = await seen.first(events.BotIsAnother)
        await seen.first(events.Started)
        await until(lambda: len(seen.of(events.LeaseTaken)) > 0)
    assert (another.remembered, another.present) == ("1", "99")
    assert arrived(simulator) == {}
    assert TOKEN not in repr(seen.all)
