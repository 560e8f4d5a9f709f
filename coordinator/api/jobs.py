"""Jobs: submit, list, look at, steer, delete."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from http import HTTPStatus

from aiohttp import web
from sqlalchemy import Connection, insert, select

from ...protocol.codec import encode_json
from ...protocol.frames import FrameRangeError, parse_frames
from ...protocol.job import FrameOrder, Limits
from ...protocol.states import JobState
from ...protocol.views import JobDetail, JobSubmission, JobView
from ..acceptance import check_scene, check_spec, read_manifest
from ..conductor import NotYetStored
from ..farm.changing import check_change
from ..farm.events import (
    FarmEvent,
    JobCancelled,
    JobChanged,
    JobPaused,
    JobRemoved,
    JobResumed,
    JobSubmitted,
    NodeForgiven,
    RetryRequested,
    ScoutsApproved,
    ScoutsRejected,
)
from ..store import schema
from . import guard, keys
from .audit import audit_entry
from .bodies import json_response, query_int, read_json
from .problems import Refused

PAGE_MAX_JOBS = 500
PAGE_JOBS = 100
KEY_MAX_CHARS = 200
RETRY_AFTER_SECONDS = 1
"""A first look at a fresh job is worth it after this; `/events` says more and asks less."""

_JOB = "/api/v1/jobs/{job:[^{}/]{1,64}}"


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.post("/api/v1/jobs", submit),
        web.get("/api/v1/jobs", list_jobs),
        web.get(_JOB, show),
        web.patch(_JOB, change),
        web.delete(_JOB, remove),
        web.post(f"{_JOB}/cancel", cancel),
        web.post(f"{_JOB}/pause", pause),
        web.post(f"{_JOB}/resume", resume),
        web.post(f"{_JOB}/approve", approve),
        web.post(f"{_JOB}/reject", reject),
        web.post(f"{_JOB}/forgive", forgive),
        web.post(f"{_JOB}/retry", retry),
        web.get(f"{_JOB}/script", script),
        web.get(f"{_JOB}/manifest", manifest),
    ]


# --- submitting ------------------------------------------------------------------------------


@guard.serves(*guard.STEER)
async def submit(request: web.Request) -> web.StreamResponse:
    """Take a job whose whole scene is here."""
    return await accept(request, await read_json(request, JobSubmission))


async def accept(request: web.Request, submission: JobSubmission) -> web.StreamResponse:
    """Queue a job, once for each ``Idempotency-Key``."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > KEY_MAX_CHARS:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"An Idempotency-Key has at most {KEY_MAX_CHARS} characters."
        )
    body = hashlib.sha256(encode_json(submission)).digest()
    job = await _submitted_before(request, key, body)
    if job is None:
        job = await _submit(request, submission, key, body)
    view = _view(request, job)
    return json_response(
        view,
        status=HTTPStatus.ACCEPTED,
        Location=f"/api/v1/jobs/{job}",
        Retry_After=str(RETRY_AFTER_SECONDS),
    )


async def _submitted_before(request: web.Request, key: str, body: bytes) -> str | None:
    if not key:
        return None
    table = schema.submissions
    row = await request.app[keys.STORE].read(
        lambda connection: connection.execute(select(table).where(table.c.key == key)).one_or_none()
    )
    if row is None:
        return None
    if row.body != body:
        raise Refused(
            HTTPStatus.CONFLICT,
            "Another job was submitted with this Idempotency-Key; use a new key for a new job.",
        )
    return row.job


async def _submit(request: web.Request, submission: JobSubmission, key: str, body: bytes) -> str:
    conductor = request.app[keys.CONDUCTOR]
    store = request.app[keys.STORE]
    spec = check_spec(submission.spec)
    submission = replace(submission, spec=spec)
    for other in spec.depends_on:
        if conductor.farm.spec(other) is None:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"The job depends on {other[:40]!r}, which is not here.",
            )
    in_submission = request.app[SUBMITTING]
    if key:
        if key in in_submission:
            raise Refused(
                HTTPStatus.CONFLICT,
                "A job with this Idempotency-Key is being submitted right now; ask again.",
                Retry_After=str(RETRY_AFTER_SECONDS),
            )
        in_submission.add(key)
    is_pending = False
    try:
        # A second look, now that nobody else can be at it: the first one may have just ended.
        job = await _submitted_before(request, key, body)
        if job is not None:
            return job
        await store.in_thread(store.blobs.require_room, 0)
        scene = await store.in_thread(check_scene, submission, store.blobs)
        job = secrets.token_hex(16)

        def also(connection: Connection) -> None:
            if key:
                connection.execute(
                    insert(schema.submissions).values(
                        key=key, body=body, job=job, created=time.time()
                    )
                )
            audit_entry(request, "submit", job)(connection)
            if spec.trust_scripts:
                audit_entry(request, "trust scripts", job)(connection)

        await conductor.request(
            JobSubmitted(
                job=job,
                spec=spec,
                manifest=submission.manifest,
                scene_bytes=scene.length,
                scene_files=scene.files,
            ),
            also,
        )
    except NotYetStored as later:
        # It will be a job: until it is, the same key must not make another.
        is_pending = True
        later.when_stored(partial(in_submission.discard, key))
        raise
    finally:
        if not is_pending:
            in_submission.discard(key)
    return job


SUBMITTING = web.AppKey("submitting", set[str])
"""Idempotency keys whose submission is being checked."""


# --- looking ---------------------------------------------------------------------------------


def _view(request: web.Request, job: str) -> JobView:
    conductor = request.app[keys.CONDUCTOR]
    view = conductor.farm.job_view(job, conductor.clock.now())
    if view is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no job {job}.")
    return view


@guard.serves(*guard.SEE)
async def list_jobs(request: web.Request) -> web.StreamResponse:
    """List jobs, the newest first."""
    conductor = request.app[keys.CONDUCTOR]
    state = request.query.get("state") or None
    if state is not None and state not in [known.value for known in JobState]:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"{state[:40]!r} is no state of a job; use one of "
            f"{', '.join(known.value for known in JobState)}.",
        )
    limit = query_int(request, "limit", PAGE_JOBS) or PAGE_JOBS
    page = conductor.farm.jobs(
        conductor.clock.now(),
        state=JobState(state) if state else None,
        submitter=request.query.get("submitter", ""),
        limit=max(1, min(limit, PAGE_MAX_JOBS)),
        after=request.query.get("after") or None,
    )
    return json_response(page)


@guard.serves(*guard.SEE)
async def show(request: web.Request) -> web.StreamResponse:
    """Show one job with its spec."""
    job = request.match_info["job"]
    view = _view(request, job)
    spec = request.app[keys.CONDUCTOR].farm.spec(job)
    assert spec is not None, "a job that has a view has a spec"
    return json_response(JobDetail(job=view, spec=spec))


@guard.serves(*guard.SEE)
async def script(request: web.Request) -> web.StreamResponse:
    """Show what the job's nodes feed to Blender."""
    job = _view(request, request.match_info["job"]).id
    table = schema.scripts
    text = await request.app[keys.STORE].read(
        lambda connection: connection.execute(
            select(table.c.script).where(table.c.job == job)
        ).scalar()
    )
    if text is None:
        raise Refused(
            HTTPStatus.NOT_FOUND, "No node has begun this job, so there is no script yet."
        )
    return web.Response(text=text)


@guard.serves(*guard.SEE)
async def manifest(request: web.Request) -> web.StreamResponse:
    """List the files of the job's scene."""
    view = _view(request, request.match_info["job"])
    store = request.app[keys.STORE]
    files = (await store.in_thread(read_manifest, view.manifest, store.blobs)).files
    return json_response([{"path": file.path, "length": file.length} for file in files])


# --- steering --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """Body of ``PATCH``: what is left out stays as it is."""

    priority: int | None = None
    nodes: tuple[str, ...] | None = None
    """Ids of the only nodes it may use; empty: any."""
    tags: tuple[str, ...] | None = None
    max_nodes: int | None = None
    memory_bytes: int | None = None
    order: FrameOrder | None = None
    limits: Limits | None = None
    """All of them: a limit left out is the farm's to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgiveBody:
    """Body of ``POST .../forgive``."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBody:
    """Body of ``POST .../retry``."""

    frames: str = ""


async def _steer(request: web.Request, action: str, event: FarmEvent) -> web.StreamResponse:
    job = request.match_info["job"]
    await request.app[keys.CONDUCTOR].request(event, audit_entry(request, action, job))
    return json_response(_view(request, job))


def _steering(
    action: str, event: Callable[[str], FarmEvent]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    @guard.serves(*guard.STEER)
    async def handler(request: web.Request) -> web.StreamResponse:
        return await _steer(request, action, event(request.match_info["job"]))

    return handler


cancel = _steering("cancel", lambda job: JobCancelled(job=job))
pause = _steering("pause", lambda job: JobPaused(job=job))
resume = _steering("resume", lambda job: JobResumed(job=job))
approve = _steering("approve", lambda job: ScoutsApproved(job=job))
reject = _steering("reject", lambda job: ScoutsRejected(job=job))


@guard.serves(*guard.STEER)
async def retry(request: web.Request) -> web.StreamResponse:
    """Render frames again."""
    frames: tuple[int, ...] | None = None
    if request.can_read_body:
        text = (await read_json(request, RetryBody)).frames
        try:
            frames = parse_frames(text) if text else None
        except FrameRangeError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    return await _steer(
        request, "retry", RetryRequested(job=request.match_info["job"], frames=frames)
    )


@guard.serves(*guard.STEER)
async def change(request: web.Request) -> web.StreamResponse:
    """Change whom the job may use, how urgent it is, its order and its limits, while it runs."""
    body = await read_json(request, JobChange)
    changes = {
        field.name: value
        for field in fields(body)
        if (value := getattr(body, field.name)) is not None
    }
    if not changes:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Nothing is to be changed; name one of {', '.join(one.name for one in fields(body))}.",
        )
    try:
        check_change(**changes)
    except ValueError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    action = f"change {', '.join(sorted(changes))}"
    return await _steer(request, action, JobChanged(job=request.match_info["job"], **changes))


@guard.serves(*guard.STEER)
async def forgive(request: web.Request) -> web.StreamResponse:
    """Let the job use a node again that it keeps away from."""
    node = (await read_json(request, ForgiveBody)).node
    return await _steer(request, "forgive", NodeForgiven(node=node, job=request.match_info["job"]))


@guard.serves(*guard.STEER)
async def remove(request: web.Request) -> web.StreamResponse:
    """Forget an ended job; its bytes go with the next collection."""
    job = request.match_info["job"]
    await request.app[keys.CONDUCTOR].request(
        JobRemoved(job=job), audit_entry(request, "remove", job)
    )
    request.app[keys.COLLECTOR].hurry()
    store = request.app[keys.STORE]
    # Lines that a full disk keeps here go with the next start.
    with contextlib.suppress(sqlite3.Error):
        await store.in_thread(store.logs.forget_job, job)
    return web.Response(status=HTTPStatus.NO_CONTENT)
