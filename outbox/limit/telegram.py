"""python-telegram-bot: the calls of a bot keep the limits that it shares with the queue and with its other processes.

    limiter = Limiter("postgresql://…")
    application = Application.builder().token(TOKEN).rate_limiter(OutboxRateLimiter(limiter)).build()
    application.run_polling()

Tried with python-telegram-bot 20.0, 20.8 and 22.8. docs/replies.md says what is promised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from telegram.error import BadRequest, NetworkError, RetryAfter, TelegramError
from telegram.ext import BaseRateLimiter

from outbox.limit.counted import counted
from outbox.limit.limiter import Limiter
from outbox.limit.turns import MAX_RETRIES, End, Turns, flooded, refused

__all__ = ["OutboxRateLimiter"]

Answer = bool | dict[str, Any] | list[dict[str, Any]]


class OutboxRateLimiter(BaseRateLimiter[int]):
    """A rate limiter that lets each call that Telegram counts wait for its slot."""

    def __init__(self, limiter: Limiter, *, max_retries: int = MAX_RETRIES, timeout_s: float | None = None) -> None:
        """Take a limiter of this bot; the application opens and closes it.

        A 429 is sent again at most `max_retries` times (a call's own `rate_limit_args` goes before), each when its
        retry_after is over; then it is raised. A call waits `timeout_s` seconds at most, for its slot and after 429s
        (None: as long as it takes), then it raises TimeoutError, or the 429 that it got. Raises ValueError when
        `max_retries` is negative.
        """
        self._limiter = limiter
        self._turns = Turns(limiter, max_retries, timeout_s)

    async def initialize(self) -> None:
        """Called by the application: open the limiter."""
        await self._limiter.open()

    async def shutdown(self) -> None:
        """Called by the application: close the limiter."""
        await self._limiter.close()

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Answer]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: int | None,
    ) -> Answer:
        """Called by the bot for each call but getUpdates."""
        return await self._turns.run(
            counted(endpoint, data.get), lambda: callback(*args, **kwargs), _judge, rate_limit_args
        )


def _judge(error: BaseException) -> End:
    match error:
        case RetryAfter():
            return flooded(_retry_after_s(error))
        case BadRequest():  # a NetworkError, to this library
            return refused(error.message)
        case NetworkError():
            return End("fail")
        case TelegramError() if type(error) is not TelegramError:
            return End("ok")
        case _:  # a plain TelegramError is an answer that nobody can read
            return End("fail")


def _retry_after_s(error: RetryAfter) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from 22.2 on it becomes a timedelta, and says so each time
        told = error.retry_after
    return told.total_seconds() if isinstance(told, timedelta) else float(told)
