"""Unmodified clients, pointed at a simulator as docs/simulator.md says."""

import aiogram
import telegram
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

from outbox.simulator.thread import Telegram


def aiogram_bot(simulator: Telegram) -> aiogram.Bot:
    session = AiohttpSession(api=TelegramAPIServer.from_base(simulator.url))
    return aiogram.Bot(simulator.token, session=session)


def ptb_bot(simulator: Telegram) -> telegram.Bot:
    return telegram.Bot(simulator.token, base_url=f"{simulator.url}/bot", base_file_url=f"{simulator.url}/file/bot")
