"""aiogram as the tests drive it: a bot with our middleware, and the calls that they make."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter, TelegramServerError
from aiogram.types import BufferedInputFile, InputMediaPhoto

from outbox.limit import Limiter
from outbox.limit.aiogram import OutboxMiddleware
from outbox.operate.stage import TOKEN

FLOOD = TelegramRetryAfter
BAD_REQUEST = TelegramBadRequest
FORBIDDEN = TelegramForbiddenError
SERVER_ERROR = TelegramServerError


@contextlib.asynccontextmanager
async def running(limiter: Limiter, api_url: str, polls: bool = False, **options: Any) -> AsyncIterator[Calls]:
    """A bot, which polls for updates or is one that gets them by a webhook."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(api_url))
    async with limiter, Bot(TOKEN, session=session) as bot:
        bot.session.middleware(OutboxMiddleware(limiter, **options))
        polling = asyncio.create_task(Dispatcher().start_polling(bot, handle_signals=False)) if polls else None
        try:
            yield Calls(bot)
        finally:
            if polling is not None:
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)


class Calls:
    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def send(self, chat: int | str, text: str) -> Any:
        return await self._bot.send_message(chat, text)

    async def edit(self, text: str, chat: int | None = None, inline_message_id: str | None = None) -> Any:
        message_id = None if chat is None else 1
        return await self._bot.edit_message_text(
            text=text, chat_id=chat, message_id=message_id, inline_message_id=inline_message_id
        )

    async def album(self, chat: int, parts: int) -> Any:
        photo = BufferedInputFile(b"not really a photo", "photo.jpg")
        return await self._bot.send_media_group(chat, [InputMediaPhoto(media=photo) for _ in range(parts)])

    async def press(self) -> Any:
        return await self._bot.answer_callback_query("1")

    async def type(self, chat: int) -> Any:
        return await self._bot.send_chat_action(chat, "typing")
