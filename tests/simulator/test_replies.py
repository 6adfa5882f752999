import pytest


async def result(client, method, **parameters):
    status, body = await client.call(method, **parameters)
    assert (status, body["ok"]) == (200, True), body
    return body["result"]


async def test_a_sent_message_looks_like_telegrams(simulate):
    client = await simulate()
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    message = await result(client, "sendMessage", chat_id=42, text="hi", reply_markup=keyboard)
    assert isinstance(message.pop("date"), int)
    assert message == {
        "message_id": 1,
        "from": {"id": 1, "is_bot": True, "first_name": "Bot 1", "username": "simulated_1_bot"},
        "chat": {"id": 42, "first_name": "User 42", "type": "private"},
        "text": "hi",
        "reply_markup": keyboard,
    }


@pytest.mark.parametrize(
    ("chat", "kind"), [("42", "private"), ("-42", "group"), ("-1001234567890", "supergroup"), ("@news", "channel")]
)
async def test_a_chat_has_the_type_of_its_id(simulate, chat, kind):
    client = await simulate()
    assert (await result(client, "sendMessage", chat_id=chat, text="hi"))["chat"]["type"] == kind


async def test_message_ids_grow_in_each_chat_and_bots_share_those_of_a_group(simulate):
    client = await simulate(chat_interval_s=0)
    assert [(await result(client, "sendMessage", chat_id=42, text="hi"))["message_id"] for _ in range(3)] == [1, 2, 3]
    assert (await result(client, "sendMessage", chat_id=43, text="hi"))["message_id"] == 1
    ids = [
        (await result(client, "sendMessage", token=token, chat_id=-5, text="hi"))["message_id"]
        for token in ("1:x", "2:x", "1:x")
    ]
    assert ids == [1, 2, 3]


async def test_an_edit_returns_the_message_it_changed(simulate):
    client = await simulate()
    message = await result(client, "editMessageText", chat_id=42, message_id=7, text="new")
    assert (message["message_id"], message["text"], "edit_date" in message) == (7, "new", True)
    assert await result(client, "editMessageText", inline_message_id="abc", text="new") is True


async def test_a_photo_comes_in_sizes_and_a_file_id_comes_back(simulate):
    client = await simulate()
    message = await result(client, "sendPhoto", chat_id=42, photo="AgACfile", caption="cat")
    assert message["caption"] == "cat"
    assert [size["width"] for size in message["photo"]] == [90, 320, 800, 1280]
    assert message["photo"][-1]["file_id"] == "AgACfile"
    assert len({size["file_unique_id"] for size in message["photo"]}) == 4


async def test_an_album_is_a_list_of_messages_of_one_group(simulate):
    client = await simulate()
    album = '[{"type":"photo","media":"a","caption":"one"},{"type":"video","media":"b"}]'
    first, second = await result(client, "sendMediaGroup", chat_id=42, media=album)
    assert (first["message_id"], second["message_id"]) == (1, 2)
    assert first["media_group_id"] == second["media_group_id"]
    assert (first["caption"], second["video"]["file_id"]) == ("one", "b")


async def test_copies_and_forwards_return_ids(simulate):
    client = await simulate(chat_interval_s=0)
    assert await result(client, "copyMessage", chat_id=42, from_chat_id=1, message_id=5) == {"message_id": 1}
    assert await result(client, "copyMessages", chat_id=42, from_chat_id=1, message_ids=[5, 6]) == [
        {"message_id": 2},
        {"message_id": 3},
    ]
    assert (await result(client, "forwardMessage", chat_id=42, from_chat_id=1, message_id=5))["forward_origin"]
    assert await result(client, "forwardMessages", chat_id=42, from_chat_id=1, message_ids=[9]) == [{"message_id": 5}]


async def test_get_me_is_the_number_of_the_token(simulate):
    client = await simulate()
    me = await result(client, "getMe", token="777:x")
    assert (me["id"], me["is_bot"]) == (777, True)


@pytest.mark.parametrize("method", ["answerCallbackQuery", "setMyCommands", "banChatMember", "somethingOf2031"])
async def test_any_other_method_is_true(simulate, method):
    client = await simulate()
    assert await result(client, method) is True


@pytest.mark.parametrize(
    ("method", "parameters", "description"),
    [
        ("sendMessage", {"text": "hi"}, "chat_id is empty"),
        ("sendMessage", {"chat_id": "", "text": "hi"}, "chat_id is empty"),
        ("sendMessage", {"chat_id": "nobody", "text": "hi"}, "chat not found"),
        ("sendMessage", {"chat_id": 42}, "message text is empty"),
        ("sendMessage", {"chat_id": 42, "text": " \n"}, "message text is empty"),
        ("sendMessage", {"chat_id": 42, "text": "x" * 4097}, "message is too long"),
        ("sendPhoto", {"chat_id": 42}, "there is no photo in the request"),
        ("sendPhoto", {"chat_id": 42, "photo": "f", "caption": "x" * 1025}, "message caption is too long"),
        ("copyMessage", {"from_chat_id": 1, "message_id": 1}, "chat_id is empty"),
        ("sendMediaGroup", {"chat_id": 42, "media": "nonsense"}, "can't parse media JSON object"),
        ("sendMediaGroup", {"chat_id": 42, "media": [{}] * 11}, "too many messages to send as an album"),
        ("copyMessages", {"chat_id": 42}, "message identifiers are not specified"),
        (
            "copyMessages",
            {"chat_id": 42, "message_ids": [2, 1]},
            "message identifiers must be in a strictly increasing order",
        ),
        ("editMessageText", {"chat_id": 42, "text": "new"}, "message identifier is not specified"),
        ("deleteMessage", {"chat_id": 42}, "message identifier is not specified"),
    ],
)
async def test_a_call_that_is_wrong_is_refused_in_telegrams_words(simulate, method, parameters, description):
    client = await simulate()
    assert await client.call(method, **parameters) == (
        400,
        {"ok": False, "error_code": 400, "description": f"Bad Request: {description}"},
    )
