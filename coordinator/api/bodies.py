"""Bodies in and out: bounded on the way in, typed on both."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, TypeVar

from aiohttp import web

from ...protocol.codec import decode_json, encode_json
from .problems import Refused

T = TypeVar("T")

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")

JSON_MAX_BYTES = 1024 * 1024
"""Longest JSON body: 4096 hashes take a quarter of it, a job spec far less."""


async def read_json(request: web.Request, cls: type[T]) -> T:
    """Return the body as ``cls``. Raises `Refused` (413, 415) and `CodecError` (400)."""
    if request.content_type != "application/json":
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body must be JSON, with the header Content-Type: application/json.",
        )
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A JSON body must not be compressed.")
    return decode_json(await read_bounded(request, JSON_MAX_BYTES), cls)


async def read_bounded(request: web.Request, limit: int) -> bytes:
    """Return the body, of at most ``limit`` bytes. Raises `Refused` (413)."""
    too_long = Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body may have at most {limit} bytes."
    )
    if (request.content_length or 0) > limit:
        raise too_long
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit:
            raise too_long
    return bytes(body)


def json_response(value: Any, *, status: int = 200, **headers: str) -> web.Response:
    """Return a dataclass, or plain data, as JSON; ``_`` in the names of headers is ``-``."""
    return web.Response(
        status=status,
        body=encode_json(value),
        content_type="application/json",
        headers={name.replace("_", "-"): text for name, text in headers.items()},
    )


def query_int(request: web.Request, name: str, default: int | None = None) -> int | None:
    """Return a whole number of the query. Raises `Refused` (400) for anything else."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not _WHOLE_NUMBER.fullmatch(text):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number, not {text[:40]!r}.")
    return int(text)
