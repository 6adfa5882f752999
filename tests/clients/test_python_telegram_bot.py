"""An unmodified python-telegram-bot 22: what it says in its own words."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto, ReactionTypeEmoji, Update
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter, TelegramError
from telegram.ext import Application, CallbackQueryHandler, CommandHandler

from outbox.simulator.thread import Telegram
from tests.clients.bots import ptb_bot
from tests.clients.users import CAT, press


@pytest.fixture
async def bot(unlimited: Telegram) -> AsyncIterator[Bot]:
    async with ptb_bot(unlimited) as bot:
        yield bot


async def test_a_keyboard_comes_back_with_its_message(bot):
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="y")]])
    assert (await bot.send_message(42, "hi", reply_markup=keyboard)).reply_markup == keyboard


async def test_a_photo_of_bytes_is_sent_again_by_its_file_id(bot, unlimited):
    sent = await bot.send_photo(42, CAT, caption="cat")
    assert (sent.caption, sent.photo[-1].file_size) == ("cat", len(CAT))
    again = await bot.send_photo(43, sent.photo[-1].file_id)
    assert again.photo[-1].file_id == sent.photo[-1].file_id
    assert [call.uploaded_bytes for call in unlimited.calls if call.method == "sendPhoto"] == [len(CAT), 0]


async def test_an_album_of_an_upload_and_a_file_id_is_one_group(bot):
    first, second = await bot.send_media_group(42, [InputMediaPhoto(CAT, caption="one"), InputMediaPhoto("AgACfile")])
    assert first.media_group_id == second.media_group_id
    assert (first.caption, first.photo[-1].file_size) == ("one", len(CAT))
    assert second.photo[-1].file_id == "AgACfile"


async def test_a_photo_takes_the_place_of_another(bot):
    assert (await bot.edit_message_media(InputMediaPhoto(CAT), 42, 1)).photo[-1].file_size == len(CAT)


async def test_a_file_is_downloaded_in_the_size_that_was_sent(bot):
    sent = await bot.send_document(42, CAT)
    file = await bot.get_file(sent.document.file_id)
    assert file.file_size == len(CAT)
    assert len(await file.download_as_bytearray()) == len(CAT)


async def test_a_reaction_is_true(bot):
    assert await bot.set_message_reaction(42, 1, ReactionTypeEmoji("👍")) is True


async def test_get_updates_beside_a_webhook_is_a_conflict(bot):
    await bot.set_webhook("https://example.org/hook")
    with pytest.raises(Conflict, match="can't use getUpdates method while webhook is active"):
        await bot.get_updates()


async def test_a_429_says_for_how_long(strict, monkeypatch):
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    async with ptb_bot(strict) as bot:
        await bot.send_message(42, "one")
        with pytest.raises(RetryAfter) as refused:
            await bot.send_message(42, "two")
        assert refused.value.retry_after.total_seconds() == 1
        strict.faults.add([{"effect": "flood", "retry_after_s": 35}])
        with pytest.raises(RetryAfter) as refused:
            await bot.send_message(43, "three")
        assert refused.value.retry_after.total_seconds() == 35


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"effect": "chat", "state": "not_found"}, BadRequest),
        ({"effect": "chat", "state": "blocked"}, Forbidden),
        ({"effect": "revoked"}, InvalidToken),
        ({"effect": "status", "status": 500}, NetworkError),
        ({"effect": "reset"}, NetworkError),
    ],
)
async def test_each_fault_becomes_its_exception(bot, unlimited, rule, error):
    unlimited.faults.add([rule])
    with pytest.raises(TelegramError) as raised:
        await bot.send_message(42, "hi")
    assert type(raised.value) is error


async def test_an_application_polls_answers_and_stops(unlimited):
    async def start(update: Update, _: Any) -> None:
        await update.message.reply_text(f"Hello {update.effective_user.first_name}")

    async def pressed(update: Update, _: Any) -> None:
        await update.callback_query.answer("pressed")

    builder = Application.builder().token(unlimited.token)
    application = builder.base_url(f"{unlimited.url}/bot").base_file_url(f"{unlimited.url}/file/bot").build()
    application.add_handler(CommandHandler("start", start))
    application.add_handler(CallbackQueryHandler(pressed))
    async with application:
        await application.start()
        await application.updater.start_polling()
        unlimited.push_message(42, "/start")
        unlimited.push_update(press("y"))
        assert (await unlimited.wait_for("sendMessage", chat_id=42)).text == "Hello User 42"
        assert (await unlimited.wait_for("answerCallbackQuery")).parameters["callback_query_id"] == "9"
        await asyncio.wait_for(application.updater.stop(), 10)
        await application.stop()
    polls = [call for call in unlimited.calls if call.method == "getUpdates"]
    assert len(polls) <= 5, "a bot that polls must not spin"
