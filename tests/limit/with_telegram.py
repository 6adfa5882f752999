"""python-telegram-bot as the tests drive it: an application with our rate limiter, and the calls that they make."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from telegram import InputMediaPhoto
from telegram.error import BadRequest, Forbidden, NetworkError, RetryAfter
from telegram.ext import Application, ExtBot

from outbox.limit import Limiter
from outbox.limit.telegram import OutboxRateLimiter
from outbox.operate.stage import TOKEN

FLOOD = RetryAfter
BAD_REQUEST = BadRequest
FORBIDDEN = Forbidden
SERVER_ERROR = NetworkError


@contextlib.asynccontextmanager
async def running(limiter: Limiter, api_url: str, polls: bool = False, **options: Any) -> AsyncIterator[Calls]:
    """An application, which polls for updates or is one that gets them by a webhook."""
    builder = Application.builder().token(TOKEN).base_url(f"{api_url}/bot")
    application = builder.rate_limiter(OutboxRateLimiter(limiter, **options)).build()
    async with application:
        await application.start()
        assert application.updater is not None
        if polls:
            await application.updater.start_polling()
        try:
            yield Calls(application.bot)
        finally:
            if polls:
                await application.updater.stop()
            await application.stop()


class Calls:
    def __init__(self, bot: ExtBot[Any]) -> None:
        self._bot = bot

    async def send(self, chat: int | str, text: str, **options: Any) -> Any:
        return await self._bot.send_message(chat, text, **options)

    async def edit(self, text: str, chat: int | None = None, inline_message_id: str | None = None) -> Any:
        message_id = None if chat is None else 1
        return await self._bot.edit_message_text(text, chat, message_id, inline_message_id)

    async def album(self, chat: int, parts: int) -> Any:
        return await self._bot.send_media_group(chat, [InputMediaPhoto(b"not really a photo") for _ in range(parts)])

    async def press(self) -> Any:
        return await self._bot.answer_callback_query("1")

    async def type(self, chat: int) -> Any:
        return await self._bot.send_chat_action(chat, "typing")
