"""What the plug-ins of aiogram and python-telegram-bot do with a call, by the real libraries on a strict Telegram."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import psycopg
import pytest

from outbox.limit import Limiter
from outbox.simulator.config import Config
from outbox.simulator.ledger import Call
from outbox.simulator.server import Running, serve

Play = Callable[..., contextlib.AbstractAsyncContextManager["Scene"]]

# Of python-telegram-bot's own making: the exception says so whenever it is made.
pytestmark = pytest.mark.filterwarnings("ignore:.*will be of type `datetime.timedelta`")


@dataclass
class Scene:
    library: ModuleType
    bot: Any
    telegram: Running
    limiter: Limiter

    def calls(self, *chats: int | str) -> list[Call]:
        """What arrived at these chats, in order."""
        return [call for call in self.telegram.ledger.calls if call.chat in map(str, chats)]

    @property
    def stats(self) -> dict[str, Any]:
        return self.telegram.simulator.stats()


@pytest.fixture(params=["with_aiogram", "with_telegram"])
def play(request: pytest.FixtureRequest, db: Any) -> Play:
    library = importlib.import_module(f"tests.limit.{request.param}")

    @contextlib.asynccontextmanager
    async def play(
        limits: dict[str, Any] | None = None, interval_s: float = 1.0, **options: Any
    ) -> AsyncIterator[Scene]:
        db.execute("UPDATE outbox.bot SET chat_interval_s = %s", [interval_s])
        limiter = Limiter(db.url, **(limits or {}))
        async with (
            serve(Config(chat_interval_s=interval_s)) as telegram,
            library.running(limiter, telegram.url, **options) as bot,
        ):
            yield Scene(library, bot, telegram, limiter)

    return play


async def test_calls_to_a_chat_go_in_the_order_in_which_they_were_made(play):
    async with play(interval_s=0.3) as scene:
        await asyncio.gather(
            scene.bot.send(42, "1"), scene.bot.edit("2", 42), scene.bot.album(42, 2), scene.bot.send(43, "elsewhere")
        )
        calls = scene.calls(42, 43)
        methods = [call.method for call in calls if call.chat == "42"]
        assert methods == ["sendMessage", "editMessageText", "sendMediaGroup"]
        assert [call.chat for call in calls].index("43") <= 1, "another chat does not wait"
        assert scene.stats["rejected"]["chat"] == 0


async def test_a_429_is_obeyed_and_the_call_goes_again_before_those_made_after_it(play):
    async with play() as scene:
        scene.telegram.faults.add([{"match": {"count": 1}, "effect": "flood", "retry_after_s": 2}])
        sent, _ = await asyncio.gather(scene.bot.send(42, "first"), scene.bot.send(42, "second"))
        assert sent.text == "first", "the caller gets the message"
        refused, *accepted = scene.calls(42)
        assert [call.text for call in accepted] == ["first", "second"]
        assert accepted[0].arrived_s - refused.arrived_s >= 2


async def test_a_429_is_raised_when_its_retries_are_used_up(play):
    async with play(max_retries=1) as scene:
        scene.telegram.faults.add([{"match": {"chat": "42"}, "retry_after": 1}])
        with pytest.raises(scene.library.FLOOD):
            await scene.bot.send(42, "hi")
        assert len(scene.calls(42)) == 2


async def test_a_429_is_raised_when_its_wait_is_longer_than_the_call_has_time(play):
    async with play(timeout_s=5) as scene:
        scene.telegram.faults.add([{"match": {"chat": "42"}, "retry_after": 60}])
        with pytest.raises(scene.library.FLOOD):
            await scene.bot.send(42, "hi")
        with pytest.raises(TimeoutError, match="no slot for chat 42 within 5 s"):
            await scene.bot.send(42, "hi")
        assert len(scene.calls(42)) == 1


async def test_a_call_waits_for_earlier_ones_no_longer_than_it_has_time(play):
    async with play(timeout_s=1) as scene:
        scene.telegram.faults.add([{"match": {"chat": "42"}, "effect": "stall", "seconds": 2}])
        first = asyncio.create_task(scene.bot.send(42, "first"))
        with pytest.raises(TimeoutError, match=r"no turn in 42 within 1 s: earlier calls wait"):
            await asyncio.gather(scene.bot.send(42, "second"), asyncio.sleep(0))
        assert (await first).text == "first"


async def test_an_album_counts_its_parts(db, play):
    async with play() as scene:
        await scene.bot.album(-1, 4)
        assert db.execute("SELECT cardinality(group_sent_at) FROM outbox.chat") == [(4,)]
        [album] = scene.calls(-1)
        assert album.cost == 4


async def test_a_flood_that_the_answer_to_an_album_hides_makes_its_chat_wait(db, play):
    async with play() as scene:
        scene.telegram.faults.add([{"effect": "album_flood", "at": 2, "sent": 1, "retry_after_s": 30}])
        with pytest.raises(scene.library.BAD_REQUEST, match=r"(?i)too many requests: retry after 30"):
            await scene.bot.album(42, 3)
        assert len(scene.calls(42)) == 1, "some of it was sent"
        [(wait_s,)] = db.execute("SELECT extract(epoch FROM next_send_at - outbox.clock())::float8 FROM outbox.chat")
        assert 25 < wait_s <= 30


async def test_what_telegram_does_not_count_waits_for_nothing(db, play):
    async with play() as scene:
        await scene.limiter.settle(await scene.limiter.acquire(42), "flood", 3600)
        async with asyncio.timeout(5):
            assert await scene.bot.press()
            assert await scene.bot.type(42)
        assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]


async def test_an_edit_of_an_inline_message_takes_no_slot_and_keeps_its_order_through_a_429(db, play):
    async with play() as scene:
        scene.telegram.faults.add([{"match": {"method": "editMessageText", "count": 1}, "retry_after": 1}])
        started = time.monotonic()
        done = []
        edits = [scene.bot.edit(text, inline_message_id="AAA") for text in ("1", "2")]
        await asyncio.gather(*(_noting(edit, done, number) for number, edit in enumerate(edits)))
        assert done == [0, 1]
        assert time.monotonic() - started >= 1
        assert db.execute("SELECT count(*) FROM outbox.chat") == [(0,)]


async def test_an_exception_of_the_library_passes_unchanged_and_settles_its_slot(db, play):
    async with play() as scene:
        errors = {
            scene.library.BAD_REQUEST: {"effect": "chat", "state": "not_found"},
            scene.library.FORBIDDEN: {"effect": "chat", "state": "blocked"},
            scene.library.SERVER_ERROR: {"status": 502},
        }
        for chat, (error, rule) in enumerate(errors.items(), start=1):
            scene.telegram.faults.add([rule | {"match": {"chat": str(chat)}}])
            with pytest.raises(error) as caught:
                await scene.bot.send(chat, "hi")
            assert type(caught.value) is error
            assert len(scene.calls(chat)) == 1
        assert db.execute("SELECT count(*) FROM outbox.ticket") == [(0,)]


async def test_a_chat_id_that_cannot_be_is_telegrams_to_refuse(db, play):
    async with play() as scene:
        scene.telegram.faults.add([{"effect": "chat", "state": "not_found"}])
        with pytest.raises(scene.library.BAD_REQUEST, match=r"(?i)chat not found"):
            await scene.bot.send("Anna", "hi")
        assert db.execute("SELECT count(*) FROM outbox.chat") == [(0,)]


async def test_a_bot_that_the_database_does_not_know_is_told_so_before_anything_is_sent(play):
    async with play({"bot": "nobody"}) as scene:
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody" does not exist'):
            await scene.bot.send(42, "hi")
        assert scene.calls(42) == []


async def test_a_call_that_is_cancelled_while_it_waits_lets_the_next_one_go(play):
    async with play(interval_s=0.3) as scene:
        await scene.bot.send(42, "first")
        waiting = [asyncio.create_task(scene.bot.send(42, text)) for text in ("second", "third")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert (await waiting[1]).text == "third"
        assert [call.text for call in scene.calls(42)] == ["first", "third"]


async def test_without_the_database_calls_keep_their_share_of_the_limits_and_the_limiter_says_so(db, play, caplog):
    changes: list[bool] = []
    limits = {"timeout_s": 0.3, "local_share": 0.5, "on_change": lambda local, _: changes.append(local)}
    async with play(limits) as scene:
        await scene.bot.send(1, "with it")
        with db.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE outbox.bot")
            await asyncio.gather(*(scene.bot.send(chat, "without it") for chat in range(2, 20)))
            assert changes == [True]
        stats = scene.stats
    assert "the database is away, 50% of the limits are kept locally" in caplog.text
    assert stats["accepted"] == 19
    assert stats["rejected"] == {"bot": 0, "chat": 0, "group": 0}
    assert stats["max_in_1s"] <= 15


async def _noting(call: Any, done: list[int], number: int) -> None:
    await call
    done.append(number)
