"""Every method that aiogram knows is called with everything it may want; aiogram's own models judge the answers."""

import inspect
import json

import aiohttp
import pytest
from aiogram import methods
from aiogram.methods.base import Response, TelegramMethod

# One of each parameter that shapes an answer; methods overlook what is not theirs.
PARAMETERS = {
    "chat_id": 42,
    "user_id": 7,
    "from_chat_id": 43,
    "message_id": 5,
    "message_ids": [5, 6],
    "text": "hi",
    "caption": "cat",
    "file_id": "AgACfile",
    "photo": "AgACfile",
    "document": "AgACfile",
    "video": "AgACfile",
    "audio": "AgACfile",
    "animation": "AgACfile",
    "voice": "AgACfile",
    "video_note": "AgACfile",
    "sticker": "AgACfile",
    "live_photo": "AgACfile",
    "question": "Tea?",
    "options": [{"text": "yes"}, {"text": "no"}],
    "latitude": 52.5,
    "longitude": 13.4,
    "title": "Tea",
    "description": "hot",
    "currency": "XTR",
    "prices": [{"label": "cup", "amount": 3}],
    "phone_number": "+49",
    "first_name": "Ada",
    "address": "Here",
    "game_short_name": "chess",
    "star_count": 3,
    "checklist": {"title": "Today", "tasks": [{"id": 1, "text": "tea"}]},
    "rich_message": {"markdown": "hi"},
    "url": "https://example.org/hook",
    "name": "Topic",
}
MEDIA = {
    "editMessageMedia": {"type": "photo", "media": "AgACfile"},
    "sendMediaGroup": [{"type": kind, "media": "AgACfile"} for kind in ("photo", "video", "document", "audio")],
    "sendPaidMedia": [{"type": kind, "media": "AgACfile"} for kind in ("photo", "video")],
}
KNOWN = {
    method.__api_method__: method
    for _, method in inspect.getmembers(methods, inspect.isclass)
    if issubclass(method, TelegramMethod) and method is not TelegramMethod
}


@pytest.mark.parametrize("encoded", [False, True], ids=["json", "form"])
@pytest.mark.parametrize("name", sorted(KNOWN))
async def test_aiogram_reads_the_answer(unlimited, name, encoded):
    parameters = PARAMETERS | ({"media": MEDIA[name]} if name in MEDIA else {})
    if encoded:
        form = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parameters.items()}
        body = {"data": form}
    else:
        body = {"json": parameters}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{unlimited.url}/bot1:x/{name}", **body) as response,
    ):
        answer = await response.json()
    assert (response.status, answer["ok"]) == (200, True), answer
    Response[KNOWN[name].__returning__].model_validate(answer)
