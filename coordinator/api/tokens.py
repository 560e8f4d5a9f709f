"""Who is let in, shutting one out, and what was done by whom: for admins."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from sqlalchemy import select

from ...protocol.views import AuditPage, AuditView, TokenPage, TokenView
from ..identity.roles import Role
from ..identity.tokens import LOCAL_NAME
from ..store import schema
from . import guard, keys
from .audit import audit_entry
from .bodies import json_response, query_int
from .problems import Refused

PAGE_ENTRIES = 100
PAGE_MAX_ENTRIES = 1000


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get("/api/v1/tokens", list_tokens),
        web.delete("/api/v1/tokens/{token:[0-9a-f]{16}}", revoke),
        web.get("/api/v1/audit", list_audit),
    ]


@guard.serves(Role.ADMIN)
async def list_tokens(request: web.Request) -> web.StreamResponse:
    """List the tokens that are good."""
    book = request.app[keys.TOKENS]
    own = request[keys.MEMBER].id
    table = schema.tokens
    rows = await request.app[keys.STORE].read(
        lambda connection: connection.execute(
            select(table.c.id, table.c.name, table.c.role, table.c.created)
            .where(table.c.revoked.is_(None))
            .order_by(table.c.created, table.c.id)
        ).all()
    )
    return json_response(
        TokenPage(
            tokens=tuple(
                TokenView(
                    id=row.id,
                    name=row.name,
                    role=row.role,
                    created=row.created,
                    nodes=book.nodes_of(row.id),
                    is_own=row.id == own,
                )
                for row in rows
            )
        )
    )


@guard.serves(Role.ADMIN)
async def revoke(request: web.Request) -> web.StreamResponse:
    """Shut out the holder of a token at once: what it has open is closed."""
    token = request.match_info["token"]
    book = request.app[keys.TOKENS]
    member = book.member(token)
    if member is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no token {token}; it may be revoked.")
    if member.name == LOCAL_NAME and member.role is Role.ADMIN:
        raise Refused(
            HTTPStatus.CONFLICT,
            "That is the token of the coordinator's own machine; to change it, stop the "
            "coordinator and delete identity/local-token in its data folder.",
        )
    await book.revoke(token, audit_entry(request, "revoke", token))
    return web.Response(status=HTTPStatus.NO_CONTENT)


@guard.serves(Role.ADMIN)
async def list_audit(request: web.Request) -> web.StreamResponse:
    """List what was done, the newest first."""
    table = schema.audit
    asked = query_int(request, "limit", PAGE_ENTRIES) or PAGE_ENTRIES
    limit = max(1, min(asked, PAGE_MAX_ENTRIES))
    statement = select(table).order_by(table.c.id.desc()).limit(limit + 1)
    before = query_int(request, "before")
    if before is not None:
        statement = statement.where(table.c.id < before)
    rows = await request.app[keys.STORE].read(
        lambda connection: connection.execute(statement).all()
    )
    entries = tuple(
        AuditView(
            number=row.id,
            time=row.time,
            member=row.member,
            address=row.address,
            action=row.action,
            subject=row.subject,
            outcome=row.outcome,
        )
        for row in rows[:limit]
    )
    is_more = len(rows) > limit
    return json_response(AuditPage(entries=entries, next=entries[-1].number if is_more else None))
