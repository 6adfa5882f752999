import io

import aiohttp
import pytest

TEXT = "Grüße & 50 % = ½"


async def sent_text(client):
    (call,) = await client.log()
    assert (call["chat"], call["status"]) == ("42", 200)
    return call["text"]


async def test_parameters_come_from_a_query(simulate):
    client = await simulate()
    async with client.session.get(
        f"{client.url}/bot1:x/sendMessage", params={"chat_id": "42", "text": TEXT}
    ) as response:
        assert (await response.json())["result"]["text"] == TEXT
    assert await sent_text(client) == TEXT


async def test_parameters_come_from_a_form(simulate):
    client = await simulate()
    async with client.session.post(f"{client.url}/bot1:x/sendMessage", data={"chat_id": "42", "text": TEXT}):
        assert await sent_text(client) == TEXT


async def test_parameters_come_from_json_and_numbers_are_their_text(simulate):
    client = await simulate()
    assert await client.send(42, text=5) == 200
    assert await sent_text(client) == "5"


async def test_parameters_come_from_multipart_and_a_file_is_counted_not_kept(simulate):
    client = await simulate()
    form = aiohttp.FormData()
    form.add_field("chat_id", "42")
    form.add_field("caption", TEXT)
    form.add_field("photo", b"x" * 200_000, filename="cat.jpg", content_type="image/jpeg")
    async with client.session.post(f"{client.url}/bot1:x/sendPhoto", data=form) as response:
        sizes = (await response.json())["result"]["photo"]
    assert sizes[-1]["file_size"] == 200_000
    assert await sent_text(client) == TEXT
    assert (await client.log())[0]["uploaded_bytes"] == 200_000


async def test_query_and_body_are_one(simulate):
    client = await simulate()
    async with client.session.post(f"{client.url}/bot1:x/sendMessage?chat_id=42", json={"text": TEXT}):
        assert await sent_text(client) == TEXT


async def test_method_names_ignore_case_and_the_log_shows_what_came(simulate):
    client = await simulate()
    assert (await client.call("SENDMESSAGE", chat_id=42, text="hi"))[1]["result"]["text"] == "hi"
    assert (await client.log())[0]["method"] == "SENDMESSAGE"


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ('{"chat_id": 42, "text"', "Bad Request: can't parse object"),
        ("[1, 2]", "Bad Request: JSON object expected"),
        ("[" * 50_000, "Bad Request: JSON object expected"),
        ('{"a":' * 50_000, "Bad Request: can't parse object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_and_recorded(simulate, body, description):
    client = await simulate()
    async with client.session.post(
        f"{client.url}/bot1:x/sendMessage", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
        assert await response.json() == {"ok": False, "error_code": 400, "description": description}
    assert [(call["verdict"], call["status"]) for call in await client.log()] == [("error", 400)]


async def test_more_than_a_megabyte_of_parameters_is_too_large(simulate):
    client = await simulate()
    body = io.BytesIO(b'{"chat_id": 42, "text": "' + b"x" * 1_100_000 + b'"}')
    async with client.session.post(
        f"{client.url}/bot1:x/sendMessage", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert (response.status, (await response.json())["description"]) == (413, "Request Entity Too Large")


@pytest.mark.parametrize("token", ["nonsense", "123", "abc:def", ":x"])
async def test_a_token_of_another_form_is_unauthorized(simulate, token):
    client = await simulate()
    assert await client.call("getMe", token=token) == (
        401,
        {"ok": False, "error_code": 401, "description": "Unauthorized"},
    )


@pytest.mark.parametrize(
    "path", ["/", "/bot/getMe", "/bot1:x", "/bot1:x/a/b", "/file/bot1:x/photo.jpg", "/_sim/nothing"]
)
async def test_an_unknown_path_is_not_found(simulate, path):
    client = await simulate()
    async with client.session.get(client.url + path) as response:
        assert response.status == 404
        assert await response.json() == {"ok": False, "error_code": 404, "description": "Not Found"}


async def test_a_token_may_come_percent_encoded(simulate):
    client = await simulate()
    assert (await client.call("getMe", token="77%3Ax"))[1]["result"]["id"] == 77
