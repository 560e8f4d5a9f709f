"""What a node has rendered lately, from the attempts that are stored."""

from __future__ import annotations

import re
from http import HTTPStatus

from aiohttp import web
from sqlalchemy import Connection, select, tuple_

from ...protocol.views import NodeAttempt, NodeHistory
from ..store import schema
from . import guard, keys
from .bodies import json_response, query_int
from .problems import Refused

PAGE_ATTEMPTS = 50
PAGE_MAX_ATTEMPTS = 500

_BEFORE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)~([0-9]{1,18})")


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [web.get("/api/v1/nodes/{node:[^{}/]{1,64}}/history", history)]


@guard.serves(*guard.SEE)
async def history(request: web.Request) -> web.StreamResponse:
    """List the tries of a node that are over, the newest first."""
    farm = request.app[keys.CONDUCTOR].farm
    node = request.match_info["node"]
    if farm.node_view(node, request.app[keys.CONDUCTOR].clock.now()) is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no node {node}.")
    limit = query_int(request, "limit", PAGE_ATTEMPTS) or PAGE_ATTEMPTS
    limit = max(1, min(limit, PAGE_MAX_ATTEMPTS))
    before = request.query.get("before", "")
    match = _BEFORE.fullmatch(before)
    if before and match is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "before must be what the last page called next.")
    place = None if match is None else (float(match[1]), int(match[2]))
    found = await request.app[keys.STORE].read(
        lambda connection: _read(connection, node, place, limit + 1)
    )
    attempts = tuple(
        NodeAttempt(
            job=row.job,
            job_name=spec.name if (spec := farm.spec(row.job)) is not None else "",
            frame=row.frame,
            epoch=row.epoch,
            started=row.started,
            ended=row.ended,
            outcome=row.outcome,
            reason=row.reason,
        )
        for row in found[:limit]
    )
    last = attempts[-1] if len(found) > limit else None
    return json_response(
        NodeHistory(attempts=attempts, next=None if last is None else f"{last.ended}~{last.epoch}")
    )


def _read(
    connection: Connection, node: str, before: tuple[float, int] | None, limit: int
) -> list[NodeAttempt]:
    table = schema.attempts
    columns = table.c.job, table.c.frame, table.c.epoch, table.c.started, table.c.ended
    statement = (
        select(*columns, table.c.outcome, table.c.reason)
        .where(table.c.node == node)
        .order_by(table.c.ended.desc(), table.c.epoch.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(tuple_(table.c.ended, table.c.epoch) < before)
    rows = connection.execute(statement)
    return [
        NodeAttempt(
            job=row.job,
            job_name="",
            frame=row.frame,
            epoch=row.epoch,
            started=row.started,
            ended=row.ended,
            outcome=row.outcome,
            reason=row.reason,
        )
        for row in rows
    ]
