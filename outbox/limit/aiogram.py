"""aiogram 3: the calls of a bot keep the limits that it shares with the queue and with its other processes.

    limiter = Limiter("postgresql://…")
    await limiter.open()
    bot.session.middleware(OutboxMiddleware(limiter))

Tried with aiogram 3.16 and 3.31. docs/replies.md says what is promised.
"""

from __future__ import annotations

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramAPIError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType

from outbox.limit.counted import counted
from outbox.limit.limiter import Limiter
from outbox.limit.turns import MAX_RETRIES, End, Turns, flooded, refused

__all__ = ["OutboxMiddleware"]


class OutboxMiddleware(BaseRequestMiddleware):
    """A session middleware that lets each call that Telegram counts wait for its slot."""

    def __init__(self, limiter: Limiter, *, max_retries: int = MAX_RETRIES, timeout_s: float | None = None) -> None:
        """Take an open limiter of this bot; close it after the bot.

        A 429 is sent again at most `max_retries` times, each when its retry_after is over; then it is raised. A call
        waits `timeout_s` seconds at most, for its slot and after 429s (None: as long as it takes), then it raises
        TimeoutError, or the 429 that it got. Raises ValueError when `max_retries` is negative.
        """
        self._turns = Turns(limiter, max_retries, timeout_s)

    async def __call__(
        self, make_request: NextRequestMiddlewareType[TelegramType], bot: Bot, method: TelegramMethod[TelegramType]
    ) -> Response[TelegramType]:
        """Called by the session."""
        call = counted(method.__api_method__, lambda name: getattr(method, name, None))
        return await self._turns.run(call, lambda: make_request(bot, method), _judge)


def _judge(error: BaseException) -> End:
    match error:
        case TelegramRetryAfter():
            return flooded(error.retry_after)
        case TelegramServerError() | TelegramNetworkError() | ClientDecodeError():
            return End("fail")
        case TelegramAPIError():
            return refused(error.message)
        case _:
            return End("fail")
