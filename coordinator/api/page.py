"""The status page: its shell and its static files, read from the package."""

from __future__ import annotations

import asyncio
import mimetypes
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from ..web import INDEX, STATIC_DIR
from . import guard
from .problems import Refused

FILE_MAX_BYTES = 4 * 1024 * 1024

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Not left to the system: Windows registries have called JavaScript text/plain."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/", index), web.get("/static/{path:.+}", static)]


@guard.serves_everyone
async def index(_request: web.Request) -> web.StreamResponse:
    """Send the shell of the page; it shows nothing until its visitor has signed in."""
    return await _send(INDEX)


@guard.serves_everyone
async def static(request: web.Request) -> web.StreamResponse:
    """Send a file of the page."""
    try:
        path = (STATIC_DIR / request.match_info["path"]).resolve()
    except (ValueError, OSError):
        path = STATIC_DIR
    if not path.is_relative_to(STATIC_DIR) or not path.is_file():
        raise Refused(HTTPStatus.NOT_FOUND, f"There is nothing at {request.path[:200]}.")
    return await _send(path)


async def _send(path: Path) -> web.Response:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    body = await asyncio.get_running_loop().run_in_executor(None, path.read_bytes)
    response = web.Response(body=body, content_type=kind or "application/octet-stream")
    if (kind or "").startswith("text/"):
        response.charset = "utf-8"
    response.headers["Cache-Control"] = "no-cache"
    return response
