"""Unmodified aiogram 3 and python-telegram-bot 22: what both call in the same words, each reading its own types."""

import asyncio
from collections.abc import AsyncIterator

import aiogram
import pytest
import telegram

from outbox.simulator.thread import Telegram
from tests.clients.bots import aiogram_bot, ptb_bot


@pytest.fixture(params=["aiogram", "python-telegram-bot"])
async def bot(request: pytest.FixtureRequest, unlimited: Telegram) -> AsyncIterator[aiogram.Bot | telegram.Bot]:
    if request.param == "aiogram":
        async with aiogram_bot(unlimited).context() as bot:
            yield bot
    else:
        async with ptb_bot(unlimited) as bot:
            yield bot


async def test_a_text_comes_back_as_a_message(bot, unlimited):
    message = await bot.send_message(42, "hi")
    assert (message.message_id, message.chat.id, message.text) == (1, 42, "hi")
    assert [(call.chat, call.text) for call in unlimited.calls if call.method == "sendMessage"] == [("42", "hi")]


async def test_a_file_id_that_was_given_out_is_sent_again(bot):
    sent = await bot.send_photo(42, "https://example.org/cat.jpg", caption="cat")
    assert sent.caption == "cat"
    again = await bot.send_photo(43, sent.photo[-1].file_id)
    assert again.photo[-1].file_id == sent.photo[-1].file_id


async def test_a_message_is_edited_and_deleted(bot):
    message = await bot.send_message(42, "old")
    edited = await bot.edit_message_text("new", chat_id=42, message_id=message.message_id)
    assert (edited.message_id, edited.text) == (message.message_id, "new")
    assert (await bot.edit_message_caption(chat_id=42, message_id=1, caption="cat")).caption == "cat"
    assert await bot.edit_message_text("new", inline_message_id="abc") is True
    assert await bot.delete_message(42, message.message_id) is True
    assert await bot.delete_messages(42, [1, 2]) is True


async def test_messages_are_copied_and_forwarded(bot):
    assert (await bot.copy_message(42, 43, message_id=7)).message_id == 1
    assert [one.message_id for one in await bot.copy_messages(42, 43, [7, 8])] == [2, 3]
    assert (await bot.forward_message(42, 43, message_id=7)).forward_origin.type == "hidden_user"
    assert [one.message_id for one in await bot.forward_messages(42, 43, [7, 8])] == [5, 6]


async def test_pins_actions_and_answers_are_true(bot):
    assert await bot.pin_chat_message(42, 1) is True
    assert await bot.send_chat_action(42, "typing") is True
    assert await bot.answer_callback_query("1", "done") is True


async def test_a_poll_is_sent_and_stopped(bot):
    message = await bot.send_poll(-5, "Tea?", ["yes", "no"], is_anonymous=False)
    assert (message.poll.question, [one.text for one in message.poll.options]) == ("Tea?", ["yes", "no"])
    assert message.poll.is_anonymous is False
    assert (await bot.stop_poll(-5, message.message_id)).is_closed is True


async def test_other_contents_come_back_as_they_were_sent(bot):
    assert (await bot.send_location(42, 52.5, 13.4)).location.latitude == 52.5
    assert (await bot.send_venue(42, 52.5, 13.4, "Home", "Street 1")).venue.title == "Home"
    assert (await bot.send_contact(42, "+49", "Ada")).contact.phone_number == "+49"
    assert 1 <= (await bot.send_dice(42)).dice.value <= 6
    for kind in ("document", "video", "audio", "animation", "voice", "video_note", "sticker"):
        message = await getattr(bot, f"send_{kind}")(42, "AgACfile")
        assert getattr(message, kind).file_id == "AgACfile", kind


async def test_the_bot_knows_itself_and_its_chats(bot):
    assert (await bot.get_me()).id == bot.id
    for chat_id, kind in ((42, "private"), (-5, "group"), (-1001234567890, "supergroup"), ("@news", "channel")):
        assert (await bot.get_chat(chat_id)).type == kind
    assert (await bot.get_chat_member(-5, bot.id)).status == "administrator"
    assert (await bot.get_chat_member(-5, 7)).status == "member"


async def test_a_webhook_is_set_told_and_deleted(bot):
    assert await bot.set_webhook("https://example.org/hook") is True
    assert (await bot.get_webhook_info()).url == "https://example.org/hook"
    assert await bot.delete_webhook(drop_pending_updates=True) is True
    assert (await bot.get_webhook_info()).url == ""


async def test_a_long_poll_without_updates_ends_empty_after_its_timeout_and_not_before(bot):
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert list(await bot.get_updates(timeout=1)) == []
    assert 0.9 < loop.time() - began_s < 5


async def test_a_pushed_message_is_fetched_and_confirmed_by_the_offset(bot, unlimited):
    unlimited.push_message(42, "/start")
    (update,) = await bot.get_updates()
    assert (update.message.text, update.message.entities[0].type) == ("/start", "bot_command")
    assert [one.update_id for one in await bot.get_updates(offset=update.update_id)] == [update.update_id]
    unlimited.push_message(42, "next")
    (following,) = await bot.get_updates(offset=update.update_id + 1)
    assert following.message.text == "next"
