"""Frames of a job: how each stands, what was tried, and the files it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import PurePosixPath
from urllib.parse import quote

from aiohttp import web

from ...protocol.messages import FrameFile
from ...protocol.states import FrameState
from ...protocol.views import FrameDetail, FrameView
from ..farm.views import attempt_view
from ..results import MAIN
from ..store import rows
from . import guard, keys
from .blobs import send_blob
from .bodies import json_response, query_int
from .problems import Refused

PAGE_MAX_FRAMES = 2000
PAGE_FRAMES = 500

_FRAMES = "/api/v1/jobs/{job:[^{}/]{1,64}}/frames"
_FRAME = f"{_FRAMES}/{{frame:-?[0-9]{{1,7}}}}"

_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
"""What a browser may show; all else is bytes to keep."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get(_FRAMES, list_frames),
        web.get(_FRAME, show),
        web.get(f"{_FRAME}/files/{{index:[0-9]{{1,6}}}}", file),
        web.get(f"{_FRAME}/thumbnail", thumbnail),
        web.get(f"{_FRAME}/preview", preview),
    ]


@guard.serves(*guard.SEE)
async def list_frames(request: web.Request) -> web.StreamResponse:
    """List the frames of a job in ascending order."""
    conductor = request.app[keys.CONDUCTOR]
    job = request.match_info["job"]
    state = request.query.get("state") or None
    if state is not None and state not in [known.value for known in FrameState]:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"{state[:40]!r} is no state of a frame; use one of "
            f"{', '.join(known.value for known in FrameState)}.",
        )
    limit = query_int(request, "limit", PAGE_FRAMES) or PAGE_FRAMES
    await conductor.ended_jobs.recall(job)
    page = conductor.farm.frames(
        job,
        state=FrameState(state) if state else None,
        after=query_int(request, "after"),
        limit=max(1, min(limit, PAGE_MAX_FRAMES)),
    )
    if page is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no job {job}.")
    return json_response(page)


async def _view(request: web.Request) -> tuple[str, FrameView]:
    conductor = request.app[keys.CONDUCTOR]
    job, frame = request.match_info["job"], int(request.match_info["frame"])
    await conductor.ended_jobs.recall(job)
    view = conductor.farm.frame_view(job, frame)
    if view is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"Job {job} has no frame {frame}.")
    return job, view


@guard.serves(*guard.SEE)
async def show(request: web.Request) -> web.StreamResponse:
    """Show one frame with every try at it."""
    return await send_detail(request, *await _view(request))


async def send_detail(request: web.Request, job: str, view: FrameView) -> web.StreamResponse:
    """Answer with a frame, or a film, and every try at it with its log."""
    conductor = request.app[keys.CONDUCTOR]
    # Before the database is asked: what changes in between is then in both, and lost from neither.
    tries = {one.epoch: one for one in conductor.farm.running(job, view.frame)}
    unstored = [one for one in conductor.unstored if (one.job, one.frame) == (job, view.frame)]
    stored = await request.app[keys.STORE].read(
        lambda connection: rows.read_attempts(connection, job, view.frame)
    )
    tries |= {one.epoch: attempt_view(one) for one in (*unstored, *stored)}
    oldest_first = sorted(tries.values(), key=lambda one: (one.started, one.epoch))
    return json_response(FrameDetail(frame=view, attempts=tuple(oldest_first)))


@guard.serves(*guard.SEE)
async def file(request: web.Request) -> web.StreamResponse:
    """Send one file of a finished frame."""
    _, view = await _view(request)
    index = int(request.match_info["index"])
    if index >= len(view.files):
        raise Refused(
            HTTPStatus.NOT_FOUND, f"Frame {view.frame} has {len(view.files)} files so far."
        )
    return await send_made(request, view.files[index], _TYPES)


async def send_made(
    request: web.Request, made: FrameFile, types: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a file that a node made, under its own name; ``types``: suffix -> media type."""
    path = PurePosixPath(made.path)
    # RFC 6266: the name in UTF-8, so that every name Blender can write arrives as it is.
    return await send_blob(
        request,
        made.sha256,
        Content_Type=types.get(path.suffix.lower(), "application/octet-stream"),
        Content_Disposition=f"attachment; filename*=UTF-8''{quote(path.name, safe='')}",
    )


@guard.serves(*guard.SEE)
async def thumbnail(request: web.Request) -> web.StreamResponse:
    """Send the small picture of a finished frame."""
    _, view = await _view(request)
    if not view.thumbnail:
        raise Refused(HTTPStatus.NOT_FOUND, f"Frame {view.frame} has no thumbnail.")
    return await _send_picture(request, view.thumbnail)


@guard.serves(*guard.SEE)
async def preview(request: web.Request) -> web.StreamResponse:
    """Send a finished frame at full size as a browser can show it.

    That is the render output itself, or for formats such as OpenEXR the picture that Blender made
    of it through the scene's view transform.
    """
    _, view = await _view(request)
    shown = view.preview or next(
        (
            file.sha256
            for file in view.files
            if file.root == MAIN and PurePosixPath(file.path).suffix.lower() in _TYPES
        ),
        "",
    )
    if not shown:
        raise Refused(
            HTTPStatus.NOT_FOUND, f"Frame {view.frame} has no picture that a browser can show."
        )
    return await _send_picture(request, shown)


async def _send_picture(request: web.Request, name: str) -> web.StreamResponse:
    """Send a blob as the picture it is; 404 when it is none that browsers show."""
    store = request.app[keys.STORE]

    def head() -> bytes:
        with store.blobs.open_blob(name) as stream:
            return stream.read(12)

    try:
        start = await store.in_thread(head)
    except FileNotFoundError:
        start = b""
    # By what it is and not by what it is called: with nosniff a browser shows nothing else.
    kind = next((kind for is_kind, kind in _SIGNATURES if is_kind(start)), None)
    if kind is None:
        raise Refused(HTTPStatus.NOT_FOUND, "The picture is gone, or is none a browser can show.")
    return await send_blob(request, name, Content_Type=kind)


_SIGNATURES: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.startswith(b"\x89PNG"), "image/png"),
    (lambda head: head.startswith(b"\xff\xd8\xff"), "image/jpeg"),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", "image/webp"),
    (lambda head: head.startswith(b"BM"), "image/bmp"),
)
