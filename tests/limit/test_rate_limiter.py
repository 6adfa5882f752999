"""What is python-telegram-bot's own: the life of the rate limiter, and `rate_limit_args`."""

from __future__ import annotations

import pytest
from telegram.error import RetryAfter

from outbox.limit import Limiter
from outbox.simulator.server import serve
from tests.limit.with_telegram import running

pytestmark = pytest.mark.filterwarnings("ignore:.*will be of type `datetime.timedelta`")


async def test_the_application_opens_and_closes_the_limiter_and_may_do_so_again(db):
    limiter = Limiter(db.url)
    async with serve() as telegram:
        for chat in (1, 2):
            with pytest.raises(RuntimeError, match="the limiter is not open"):
                await limiter.acquire(chat)
            async with running(limiter, telegram.url) as bot:
                await bot.send(chat, "hi")
        assert telegram.simulator.stats()["accepted"] == 2


@pytest.mark.parametrize("as_timedelta", ["0", "1"])
async def test_a_call_may_have_retries_of_its_own(db, monkeypatch, as_timedelta):
    monkeypatch.setenv("PTB_TIMEDELTA", as_timedelta)
    async with (
        serve() as telegram,
        running(Limiter(db.url), telegram.url, max_retries=0) as bot,
    ):
        telegram.faults.add([{"match": {"count": 2}, "retry_after": 1}])
        with pytest.raises(RetryAfter):
            await bot.send(42, "hi")
        assert await bot.send(42, "hi", rate_limit_args=1)
        assert [call.method for call in telegram.ledger.calls] == ["getMe", *["sendMessage"] * 3]
