"""An unmodified aiogram 3: what it says in its own words."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiogram import Bot, Dispatcher
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.filters import Command
from aiogram.types import (
    BufferedInputFile,
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Message,
    ReactionTypeEmoji,
)

from outbox.simulator.thread import Telegram
from tests.clients.bots import aiogram_bot
from tests.clients.users import CAT, press


@pytest.fixture
async def bot(unlimited: Telegram) -> AsyncIterator[Bot]:
    async with aiogram_bot(unlimited).context() as bot:
        yield bot


async def test_a_keyboard_comes_back_with_its_message(bot):
    keyboard = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Yes", callback_data="y")]])
    message = await bot.send_message(42, "hi", reply_markup=keyboard)
    assert message.reply_markup.inline_keyboard[0][0].callback_data == "y"


async def test_a_photo_of_bytes_is_sent_again_by_its_file_id(bot, unlimited):
    sent = await bot.send_photo(42, BufferedInputFile(CAT, "cat.jpg"), caption="cat")
    assert (sent.caption, sent.photo[-1].file_size) == ("cat", len(CAT))
    again = await bot.send_photo(43, sent.photo[-1].file_id)
    assert again.photo[-1].file_id == sent.photo[-1].file_id
    assert [call.uploaded_bytes for call in unlimited.calls] == [len(CAT), 0]


async def test_an_album_of_an_upload_and_a_file_id_is_one_group(bot):
    album = [InputMediaPhoto(media=BufferedInputFile(CAT, "cat.jpg"), caption="one"), InputMediaPhoto(media="AgACfile")]
    first, second = await bot.send_media_group(42, album)
    assert first.media_group_id == second.media_group_id
    assert (first.caption, first.photo[-1].file_size) == ("one", len(CAT))
    assert second.photo[-1].file_id == "AgACfile"


async def test_a_photo_takes_the_place_of_another(bot):
    photo = InputMediaPhoto(media=BufferedInputFile(CAT, "cat.jpg"))
    assert (await bot.edit_message_media(photo, chat_id=42, message_id=1)).photo[-1].file_size == len(CAT)


async def test_a_file_is_downloaded_in_the_size_that_was_sent(bot):
    sent = await bot.send_document(42, BufferedInputFile(CAT, "cat.jpg"))
    file = await bot.get_file(sent.document.file_id)
    assert file.file_size == len(CAT)
    assert len((await bot.download(sent.document)).read()) == len(CAT)


async def test_a_reaction_is_true(bot):
    assert await bot.set_message_reaction(42, 1, [ReactionTypeEmoji(emoji="👍")]) is True


async def test_get_updates_beside_a_webhook_is_a_conflict(bot):
    await bot.set_webhook("https://example.org/hook")
    with pytest.raises(TelegramConflictError, match="can't use getUpdates method while webhook is active"):
        await bot.get_updates()


async def test_a_webhook_without_tls_is_refused(bot):
    with pytest.raises(TelegramBadRequest, match="An HTTPS URL must be provided"):
        await bot.set_webhook("http://example.org/hook")


async def test_a_429_says_for_how_long(strict):
    async with aiogram_bot(strict).context() as bot:
        await bot.send_message(42, "one")
        with pytest.raises(TelegramRetryAfter) as refused:
            await bot.send_message(42, "two")
        assert refused.value.retry_after == 1
        strict.faults.add([{"effect": "flood", "retry_after_s": 35}])
        with pytest.raises(TelegramRetryAfter) as refused:
            await bot.send_message(43, "three")
        assert refused.value.retry_after == 35


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"effect": "chat", "state": "not_found"}, TelegramBadRequest),
        ({"effect": "chat", "state": "blocked"}, TelegramForbiddenError),
        ({"effect": "revoked"}, TelegramUnauthorizedError),
        ({"effect": "status", "status": 500}, TelegramServerError),
        ({"effect": "reset"}, TelegramNetworkError),
    ],
)
async def test_each_fault_becomes_its_exception(bot, unlimited, rule, error):
    unlimited.faults.add([rule])
    with pytest.raises(error):
        await bot.send_message(42, "hi")


async def test_a_dispatcher_polls_answers_and_stops(unlimited):
    dispatcher = Dispatcher()

    @dispatcher.message(Command("start"))
    async def start(message: Message) -> None:
        await message.answer(f"Hello {message.from_user.first_name}")

    @dispatcher.callback_query()
    async def pressed(query: CallbackQuery) -> None:
        await query.answer("pressed")

    bot = aiogram_bot(unlimited)
    polling = asyncio.create_task(dispatcher.start_polling(bot, handle_signals=False))
    try:
        unlimited.push_message(42, "/start")
        unlimited.push_update(press("y"))
        assert (await unlimited.wait_for("sendMessage", chat_id=42)).text == "Hello User 42"
        assert (await unlimited.wait_for("answerCallbackQuery")).parameters["callback_query_id"] == "9"
    finally:
        await dispatcher.stop_polling()
        await asyncio.wait_for(polling, 10)
    polls = [call for call in unlimited.calls if call.method == "getUpdates"]
    assert len(polls) <= 4, "a bot that polls must not spin"
