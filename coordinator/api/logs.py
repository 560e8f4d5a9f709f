"""The log of the farm: pages of lines, by job, frame, node and words."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus

from aiohttp import web

from ..store.logs import PAGE_MAX_LINES, LogQuery
from . import guard, keys
from .bodies import json_response, query_int
from .problems import Refused

PAGE_LINES = 1000
TEXT_MAX_CHARS = 500


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/api/v1/logs", find)]


@guard.serves(*guard.SEE)
async def find(request: web.Request) -> web.StreamResponse:
    """Send lines: the newest, those before a number, or those after one."""
    text = request.query.get("q", "")
    if len(text) > TEXT_MAX_CHARS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"A search has at most {TEXT_MAX_CHARS} characters.")
    after, before = query_int(request, "after"), query_int(request, "before")
    if after is not None and before is not None:
        raise Refused(HTTPStatus.BAD_REQUEST, "Ask for lines after a number or before one.")
    limit = query_int(request, "limit", PAGE_LINES) or PAGE_LINES
    query = LogQuery(
        job=request.query.get("job", ""),
        frame=query_int(request, "frame"),
        node=request.query.get("node", ""),
        text=text,
    )
    store = request.app[keys.STORE]

    def read() -> object:
        return store.logs.find(
            query, after=after, before=before, limit=max(1, min(limit, PAGE_MAX_LINES))
        )

    try:
        return json_response(await store.in_thread(read))
    except sqlite3.Error as error:
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE, f"The log cannot be read now ({error}); try again."
        ) from error
