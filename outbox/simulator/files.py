"""Files: their ids, what a message says about them, and their bytes."""

import re
import zlib
from typing import Any, NamedTuple

from aiohttp import web

Json = dict[str, Any]

# tdlib/telegram-bot-api Client.h, MAX_DOWNLOAD_FILE_SIZE
MOST_DOWNLOADED_BYTES = 20 << 20
_USUAL_BYTES = 50_000

# As media() makes them: bot, size, and a last letter for a smaller size of a photo.
_FILE_ID = re.compile(r"AgACAgIAAxk[0-9a-f]{8}(?P<bot>[0-9]+)-(?P<size>[0-9a-f]+)[smx]?")
_PHOTO_SIZES = (("s", 90, 51), ("m", 320, 180), ("x", 800, 450), ("y", 1280, 720))
FIELDS = {
    "sendphoto": "photo",
    "senddocument": "document",
    "sendvideo": "video",
    "sendaudio": "audio",
    "sendanimation": "animation",
    "sendvoice": "voice",
    "sendvideonote": "video_note",
    "sendsticker": "sticker",
    "sendlivephoto": "live_photo",
}
"""The parameter, and the field of the message, that is the file."""
_ATTRIBUTES: dict[str, Json] = {
    "video": {"width": 1280, "height": 720, "duration": 1},
    "animation": {"width": 1280, "height": 720, "duration": 1},
    "live_photo": {"width": 1280, "height": 720, "duration": 1},
    "audio": {"duration": 1},
    "voice": {"duration": 1},
    "video_note": {"length": 240, "duration": 1},
    "sticker": {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False},
}


class Upload(NamedTuple):
    """A file of a multipart request; its bytes are counted, not kept."""

    name: str
    size_bytes: int


def uploaded(parameters: Json, source: Any) -> Any:
    """The upload that `source` ("attach://<name of the part>") means; any other source as it is."""
    if isinstance(source, str) and source.startswith("attach://"):
        return parameters.get(source.removeprefix("attach://"), source)
    return source


def media(kind: str, bot: str, source: Any) -> Any:
    """A file of that kind; a file_id that the client sent comes back, so that senders can reuse what they keep.

    `source` is an Upload, a file_id or a URL.
    """
    name = source.name if isinstance(source, Upload) else str(source)
    size_bytes = source.size_bytes if isinstance(source, Upload) else _size_bytes(name)
    fingerprint = f"{zlib.crc32(f'{bot}/{kind}/{name}/{size_bytes}'.encode()):08x}"
    is_file_id = isinstance(source, str) and "://" not in source and bool(source)
    file_id = name if is_file_id else f"AgACAgIAAxk{fingerprint}{bot}-{size_bytes:x}"
    if kind != "photo":
        described: Json = {"file_id": file_id, "file_unique_id": f"AgAD{fingerprint}", "file_size": size_bytes}
        return _ATTRIBUTES.get(kind, {}) | described
    largest = _PHOTO_SIZES[-1][0]
    return [
        {
            "file_id": file_id if letter == largest else f"{file_id}{letter}",
            "file_unique_id": f"AQAD{fingerprint}{letter}",
            "width": width,
            "height": height,
            "file_size": max(1, size_bytes * width // _PHOTO_SIZES[-1][1]),
        }
        for letter, width, height in _PHOTO_SIZES
    ]


def is_foreign(bot: str, file_id: Any) -> bool:
    """Tell whether this simulator gave that file_id to another bot."""
    made_here = _FILE_ID.fullmatch(file_id) if isinstance(file_id, str) else None
    return made_here is not None and made_here["bot"] != bot


def is_too_big(file_id: Any) -> bool:
    """Tell whether getFile refuses it: bots download 20 MB at most."""
    return _size_bytes(str(file_id)) > MOST_DOWNLOADED_BYTES


def file_object(file_id: str) -> Json:
    """What getFile answers."""
    fingerprint = f"{zlib.crc32(file_id.encode()):08x}"
    return {
        "file_id": file_id,
        "file_unique_id": f"AgAD{fingerprint}",
        "file_size": _size_bytes(file_id),
        "file_path": f"files/{file_id}",
    }


def add_download_route(app: web.Application) -> None:
    """The way of file_path: as many zero bytes as getFile said, since no file is kept."""

    async def download(request: web.Request) -> web.Response:
        size_bytes = min(_size_bytes(request.match_info["file_id"]), MOST_DOWNLOADED_BYTES)
        return web.Response(body=bytes(size_bytes), content_type="application/octet-stream")

    app.router.add_get("/file/bot{token:[0-9]+:[^/]+}/files/{file_id}", download)


def _size_bytes(file_id: str) -> int:
    made_here = _FILE_ID.fullmatch(file_id)
    return _USUAL_BYTES if made_here is None else int(made_here["size"], 16)
