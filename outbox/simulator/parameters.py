"""The parameters of a call, from wherever a client put them: query, form, JSON or multipart."""

import json
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, web

from outbox.simulator.files import Upload
from outbox.simulator.refusals import RefusedError

# tdlib/td tdnet/td/net/HttpReader.h: MAX_TOTAL_PARAMETERS_LENGTH = 1 << 20; the cloud takes 50 MB of files.
MOST_PARAMETER_BYTES = 1 << 20
MOST_UPLOADED_BYTES = 50_000_000

Parameters = dict[str, Any]


async def read_parameters(request: web.BaseRequest) -> Parameters:
    """Query and body in one dictionary, the body winning; values are strings, JSON values or Upload.

    Raises RefusedError as Telegram does: 400 for a body it cannot parse, 413 for one that is too large.
    """
    # raw_path costs nothing, while request.query builds a multidict for every call.
    _, _, query = request.raw_path.partition("?")
    parameters: Parameters = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    if not request.body_exists:
        return parameters
    content_type = request.headers.get("Content-Type", "").lower()
    if content_type.startswith("multipart/form-data"):
        parameters.update(await _read_multipart(request))
        return parameters
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise RefusedError(413, "Request Entity Too Large") from error
    if content_type.startswith("application/json"):
        parameters.update(_parse_json(body))
    elif content_type.startswith("application/x-www-form-urlencoded"):
        parameters.update(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return parameters


def _parse_json(body: bytes) -> Parameters:
    if not body:
        return {}
    # The texts of tdlib/td tdnet/td/net/HttpReader.cpp, parse_json_parameters.
    if not body.lstrip().startswith(b"{"):
        raise RefusedError(400, "Bad Request: JSON object expected")
    try:
        parsed: Parameters = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "Bad Request: can't parse object") from error
    # To Telegram a number is its text: {"chat_id": 42} and chat_id=42 are the same call.
    return {name: str(value) if type(value) in (int, float) else value for name, value in parsed.items()}


async def _read_multipart(request: web.BaseRequest) -> Parameters:
    parameters: Parameters = {}
    total_bytes = 0
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.name:
                raise RefusedError(400, "Bad Request: field name in multipart/form-data not found")
            content = bytearray()
            size_bytes = 0
            while chunk := await part.read_chunk(1 << 16):
                size_bytes += len(chunk)
                if part.filename is None:
                    content += chunk
            total_bytes += size_bytes
            if len(content) > MOST_PARAMETER_BYTES or total_bytes > MOST_UPLOADED_BYTES:
                raise RefusedError(413, "Request Entity Too Large")
            parameters[part.name] = (
                content.decode(errors="replace") if part.filename is None else Upload(part.filename, size_bytes)
            )
    except ValueError as error:
        raise RefusedError(400, "Bad Request: can't parse form data headers") from error
    return parameters
