"""Ways in: a device joins with the farm's secret, a browser signs in with a token."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from ...protocol.views import Visitor
from ..identity.joining import ROLES, JoinLocked, JoinRefused
from ..identity.roles import PERMISSIONS, Role
from ..identity.tokens import NAME_MAX_CHARS
from . import guard, keys
from .bodies import json_response, read_json
from .problems import Refused

SESSION_SECONDS = 30 * 24 * 3600
"""How long a browser stays signed in; a token that is revoked ends it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Body of ``POST /api/v1/join``."""

    secret: str
    name: str
    kind: str
    """``node`` or ``artist``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Body of ``POST /api/v1/sign-in``."""

    token: str


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.post("/api/v1/join", join),
        web.post("/api/v1/sign-in", sign_in),
        web.post("/api/v1/sign-out", sign_out),
        web.get("/api/v1/me", me),
    ]


@guard.serves_everyone
async def join(request: web.Request) -> web.StreamResponse:
    """Give a device that knows the join secret a token of its own."""
    body = await read_json(request, Join)
    if body.kind not in ROLES:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"A device joins as {' or '.join(sorted(ROLES))}."
        )
    if not 0 < len(body.name.strip()) <= NAME_MAX_CHARS:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"A device needs a name of 1 to {NAME_MAX_CHARS} characters.",
        )
    identity = request.app[keys.IDENTITY]
    try:
        token = await request.app[keys.JOIN_DESK].join(
            body.secret, body.name, body.kind, request.remote or ""
        )
    except JoinRefused as error:
        raise Refused(HTTPStatus.FORBIDDEN, str(error)) from error
    except JoinLocked as error:
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS, str(error), Retry_After=str(int(error.seconds) + 1)
        ) from error
    return json_response({"token": token, "farm": identity.name, "farm_id": identity.id})


@guard.serves_everyone
async def sign_in(request: web.Request) -> web.StreamResponse:
    """Remember a token in a cookie that scripts of the page cannot read."""
    token = (await read_json(request, SignIn)).token
    member = request.app[keys.TOKENS].check(token[: guard.TOKEN_MAX_CHARS])
    if member is None:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "That token is not known here; use the link the coordinator printed when it started.",
        )
    response = json_response({"name": member.name, "role": member.role.value})
    response.set_cookie(
        guard.COOKIE,
        token,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=request.app[keys.IDENTITY].is_tls,
        path="/",
    )
    return response


@guard.serves_everyone
async def sign_out(_request: web.Request) -> web.StreamResponse:
    """Forget the cookie."""
    response = json_response({})
    response.del_cookie(guard.COOKIE, path="/")
    return response


@guard.serves(*Role)
async def me(request: web.Request) -> web.StreamResponse:
    """Say whose token this is and what it allows."""
    member = request[keys.MEMBER]
    return json_response(
        Visitor(
            id=member.id,
            name=member.name,
            role=member.role.value,
            may=tuple(permission.value for permission in PERMISSIONS[member.role]),
        )
    )
