"""What is kept of what Telegram answered: ids and files, bounded, never the text."""

import json
from typing import Any

import pytest

from outbox.deliver.answer import Answer
from outbox.deliver.classify import classify


def _kept(result: Any, method: str = "sendMessage") -> dict[str, Any] | None:
    body = json.dumps({"ok": True, "result": result}).encode()
    return classify(method, Answer(200, body)).telegram_answer


def _file(name: str, **more: Any) -> dict[str, Any]:
    return {"file_id": f"AgAC{name}", "file_unique_id": f"AQAD{name}", "file_size": 7} | more


def test_of_a_text_its_id_and_date_are_kept_and_nothing_else() -> None:
    message = {"message_id": 7, "date": 1_700_000_000, "chat": {"id": 42}, "text": "secret", "from": {"id": 1}}
    assert _kept(message) == {"message_id": 7, "date": 1_700_000_000}


def test_of_a_photo_the_largest_size_is_kept() -> None:
    sizes = [_file("s", width=90, height=60), _file("l", width=1280, height=853), _file("m", width=320, height=213)]
    assert _kept({"message_id": 7, "photo": sizes, "caption": "secret"}) == {
        "message_id": 7,
        "file_id": "AgACl",
        "file_unique_id": "AQADl",
    }


@pytest.mark.parametrize("kind", ["document", "video", "audio", "voice", "animation", "sticker", "video_note"])
def test_of_a_file_its_ids_are_kept(kind: str) -> None:
    thumbnail = {"thumbnail": _file("t")}
    assert _kept({"message_id": 7, kind: _file("f", **thumbnail), "reply_to_message": {"photo": [_file("r")]}}) == {
        "message_id": 7,
        "file_id": "AgACf",
        "file_unique_id": "AQADf",
    }


def test_of_paid_media_the_first_file_is_kept() -> None:
    paid = {"star_count": 5, "paid_media": [{"type": "preview"}, {"type": "video", "video": _file("v")}]}
    assert (_kept({"message_id": 7, "paid_media": paid}) or {})["file_id"] == "AgACv"


def test_of_an_album_every_id_and_file_is_kept_in_order() -> None:
    album = [
        {"message_id": 8, "date": 5, "photo": [_file("a", width=1, height=1)]},
        {"message_id": 9, "date": 5, "video": _file("b")},
        {"message_id": 10, "date": 5},
    ]
    assert _kept(album, "sendMediaGroup") == {
        "message_id": 8,
        "message_ids": [8, 9, 10],
        "date": 5,
        "file_ids": ["AgACa", "AgACb", None],
    }


def test_of_copies_the_ids_are_kept_which_may_be_fewer_than_asked() -> None:
    assert _kept([{"message_id": 3}, {"message_id": 5}], "copyMessages") == {"message_id": 3, "message_ids": [3, 5]}
    assert _kept({"message_id": 4}, "copyMessage") == {"message_id": 4}


def test_no_more_than_100_ids_are_kept() -> None:
    kept = _kept([{"message_id": number} for number in range(1, 5000)], "forwardMessages")
    assert kept is not None
    assert kept["message_ids"] == list(range(1, 101))


def test_of_an_upload_the_file_itself_is_kept() -> None:
    assert _kept(_file("u"), "uploadStickerFile") == {"file_id": "AgACu", "file_unique_id": "AQADu"}


@pytest.mark.parametrize(
    "result",
    [
        True,
        None,
        7,
        "x",
        [],
        [1, None],
        {},
        {"message_id": "7"},
        {"message_id": True},
        {"message_id": 2**63},
        {"message_id": -1},
        {"date": 1.5},
        {"photo": []},
        {"photo": [7]},
        {"photo": "x"},
        {"document": {"file_id": "a\x00b"}},
        {"document": {"file_id": "\ud800"}},
        {"document": {"file_id": "x" * 1000}},
        {"document": {"file_id": 7}},
        {"paid_media": 7},
        {"paid_media": {"paid_media": 7}},
        {"paid_media": {"paid_media": [7]}},
    ],
)
def test_what_is_no_id_is_not_kept(result: Any) -> None:
    assert _kept(result) is None


def test_a_refusal_keeps_nothing() -> None:
    body = b'{"ok":false,"error_code":400,"description":"x","result":{"message_id":1}}'
    assert classify("sendMessage", Answer(400, body)).telegram_answer is None
