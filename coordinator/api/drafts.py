"""Submitting from a browser: uploads that become jobs."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from aiohttp import web

from ...protocol.codec import decode_json
from ...protocol.drafts import NewDraft, SubmitDraft
from ..drafts import NoDraft
from . import guard, jobs, keys
from .bodies import json_response, read_bounded, read_json
from .problems import Refused

BODY_MAX_BYTES = 64 * 1024 * 1024
"""The list of all files and chunks as JSON: half a million chunks, or 500 GiB."""

_DRAFT = "/api/v1/drafts/{draft:[0-9a-f]{32}}"


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.post("/api/v1/drafts", take),
        web.get(_DRAFT, show),
        web.post(f"{_DRAFT}/submit", submit),
    ]


@guard.serves(*guard.STEER)
async def take(request: web.Request) -> web.StreamResponse:
    """Take an upload whose chunks are all here, and begin to look at it."""
    if request.content_type != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be JSON.")
    data = await read_bounded(request, BODY_MAX_BYTES)
    body = await request.app[keys.STORE].in_thread(decode_json, data, NewDraft)
    view = await request.app[keys.DRAFTS].take(body, request[keys.MEMBER].id)
    return json_response(view, status=HTTPStatus.ACCEPTED)


@guard.serves(*guard.STEER)
async def show(request: web.Request) -> web.StreamResponse:
    """Say how far a draft is; only its own uploader may ask."""
    desk, member = request.app[keys.DRAFTS], request[keys.MEMBER].id
    try:
        return json_response(desk.view(request.match_info["draft"], member))
    except NoDraft as error:
        raise Refused(HTTPStatus.NOT_FOUND, str(error)) from error


@guard.serves(*guard.STEER)
async def submit(request: web.Request) -> web.StreamResponse:
    """Make a job of a draft."""
    choice = await read_json(request, SubmitDraft)
    desk, member = request.app[keys.DRAFTS], request[keys.MEMBER]
    try:
        submission = desk.submission(request.match_info["draft"], member.id, choice)
    except NoDraft as error:
        raise Refused(HTTPStatus.NOT_FOUND, str(error)) from error
    spec = replace(submission.spec, submitter=f"{member.name} (browser)")
    return await jobs.accept(request, replace(submission, spec=spec))
