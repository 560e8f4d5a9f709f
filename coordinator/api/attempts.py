"""All tries at the frames of a job, for its timeline: who rendered what, when, and how it ended."""

from __future__ import annotations

import re
from http import HTTPStatus

from aiohttp import web

from ...protocol.frames import FILM_FRAME
from ...protocol.views import AttemptPage, AttemptSpan, NodeName
from ..store import rows
from . import guard, keys
from .bodies import json_response, query_int
from .problems import Refused

PAGE_ATTEMPTS = 5000
PAGE_MAX_ATTEMPTS = 10_000

_AFTER = re.compile(r"(-?[0-9]{1,7})\.([0-9]{1,18})")


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/api/v1/jobs/{job:[^{}/]{1,64}}/attempts", list_attempts)]


@guard.serves(*guard.SEE)
async def list_attempts(request: web.Request) -> web.StreamResponse:
    """List the tries of a job: those in progress, then those that are over by frame and epoch.

    ``after`` continues a page; ``ended_after`` (seconds since 1970) asks for what ended later.
    """
    conductor = request.app[keys.CONDUCTOR]
    farm = conductor.farm
    job = request.match_info["job"]
    if farm.spec(job) is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no job {job}.")
    after = _after(request)
    ended_after = _seconds(request, "ended_after")
    asked = query_int(request, "limit", PAGE_ATTEMPTS) or PAGE_ATTEMPTS
    limit = max(1, min(asked, PAGE_MAX_ATTEMPTS))
    # Before the database is asked: what ends in between is then in both, and lost from neither.
    running = [] if after else list(farm.leases(job))
    unstored: list[rows.AttemptRow] = [
        (
            one.frame,
            one.epoch,
            one.generation,
            one.node,
            one.node_name,
            one.started,
            one.ended,
            one.outcome,
            one.reason,
        )
        for one in conductor.unstored
        if not after and one.job == job and one.frame != FILM_FRAME
        if ended_after is None or one.ended > ended_after
    ]
    found = await request.app[keys.STORE].read(
        lambda connection: rows.read_job_attempts(
            connection, job, after=after, ended_after=ended_after, limit=limit
        )
    )
    places: dict[NodeName, int] = {}

    def place(node: str, name: str) -> int:
        return places.setdefault(NodeName(id=node, name=name), len(places))

    def is_over(row: rows.AttemptRow) -> AttemptSpan:
        frame, epoch, generation, node, name, started, ended, outcome, reason = row
        return AttemptSpan(
            frame=frame,
            generation=generation,
            epoch=epoch,
            node=place(node, name),
            started=started,
            ended=ended,
            outcome=outcome,
            reason=reason,
        )

    over = [is_over(row) for row in found]
    known = {(span.frame, span.epoch) for span in over}
    just_over = [is_over(row) for row in unstored if row[:2] not in known]
    ended_by_now = known | {(span.frame, span.epoch) for span in just_over}
    open_now = [
        AttemptSpan(
            frame=lease.frame,
            generation=lease.generation,
            epoch=lease.epoch,
            node=place(lease.node, farm.node_name(lease.node)),
            started=lease.granted if lease.started is None else lease.started,
            ended=None,
            outcome="rendering" if lease.started is not None else "preparing",
            reason=lease.preparing,
        )
        for lease in running
        if (lease.frame, lease.epoch) not in ended_by_now and not lease.is_film
    ]
    last = over[-1] if len(over) == limit else None
    return json_response(
        AttemptPage(
            nodes=tuple(places),
            attempts=(*open_now, *just_over, *over),
            next=None if last is None else f"{last.frame}.{last.epoch}",
        )
    )


def _after(request: web.Request) -> tuple[int, int] | None:
    text = request.query.get("after", "")
    if not text:
        return None
    match = _AFTER.fullmatch(text)
    if match is None:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"after must be the next of a page, not {text[:40]!r}."
        )
    return int(match[1]), int(match[2])


def _seconds(request: web.Request, name: str) -> float | None:
    text = request.query.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"{name} must be seconds since 1970, not {text[:40]!r}."
        )
    return float(text)
