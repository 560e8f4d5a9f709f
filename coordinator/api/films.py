"""The film of a job: its bytes, the tries at it, and the frames that it is made of."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from ...protocol.frames import FILM_FRAME
from ...protocol.states import FrameState
from ...protocol.views import FrameView
from ..identity.roles import Role
from . import guard, keys
from .bodies import json_response, query_int
from .frames import PAGE_MAX_FRAMES, send_detail, send_made
from .problems import Refused

PAGE_FRAMES = 1000

_FILM = "/api/v1/jobs/{job:[^{}/]{1,64}}/film"

_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
}


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get(_FILM, film),
        web.get(f"{_FILM}/attempts", attempts),
        web.get(f"{_FILM}/frames", frames),
    ]


def _view(request: web.Request) -> tuple[str, FrameView]:
    farm = request.app[keys.CONDUCTOR].farm
    job = request.match_info["job"]
    if farm.spec(job) is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no job {job}.")
    view = farm.frame_view(job, FILM_FRAME)
    if view is None:
        raise Refused(
            HTTPStatus.NOT_FOUND,
            f"Job {job} makes no film: its scene asks for pictures in the output properties.",
        )
    return job, view


@guard.serves(*guard.SEE)
async def film(request: web.Request) -> web.StreamResponse:
    """Send the finished film under the name that Blender would have given it; ranges are served."""
    job, view = _view(request)
    if not view.files:
        why = (
            f"it is being encoded, {view.progress:.0%} so far"
            if view.state is FrameState.LEASED
            else "it is made when every frame is done"
        )
        raise Refused(HTTPStatus.NOT_FOUND, f"The film of job {job} is not here: {why}.")
    return await send_made(request, view.files[0], _TYPES)


@guard.serves(*guard.SEE)
async def attempts(request: web.Request) -> web.StreamResponse:
    """Show every try at the film with its log, as for a frame."""
    return await send_detail(request, *_view(request))


@guard.serves(Role.NODE, *guard.SEE)
async def frames(request: web.Request) -> web.StreamResponse:
    """List the frames of the film with their files, for the node that encodes it."""
    job, _ = _view(request)
    limit = query_int(request, "limit", PAGE_FRAMES) or PAGE_FRAMES
    await request.app[keys.CONDUCTOR].ended_jobs.recall(job)
    page = request.app[keys.CONDUCTOR].farm.frames(
        job, after=query_int(request, "after"), limit=max(1, min(limit, PAGE_MAX_FRAMES))
    )
    return json_response(page)
