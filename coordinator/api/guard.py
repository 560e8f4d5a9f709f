"""Who may call what, and from where. Stands before every handler.

Three questions, in this order. Is the Host one of ours? (A web page that had its name point to
this machine sends its own name: DNS rebinding.) Does a page of another origin stand behind the
request? (Asked for every method but GET and HEAD, DELETE included, and for every WebSocket.) Does
the token let its holder do this? A route says which roles it serves with `serves`; one that says
nothing serves nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from aiohttp import web

from ..identity.roles import Member, Role
from ..web import CONTENT_SECURITY_POLICY
from . import keys
from .problems import Refused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)

COOKIE = "rendermill_session"
TOKEN_MAX_CHARS = 256

_SAFE = frozenset({"GET", "HEAD"})
_ROLES: dict[object, frozenset[Role] | None] = {}

SEE = (Role.VIEW, Role.SUBMIT, Role.ADMIN)
STEER = (Role.SUBMIT, Role.ADMIN)
CARRY = (Role.SUBMIT, Role.NODE, Role.ADMIN)


def serves(*roles: Role) -> Callable[[H], H]:
    """Say which roles a handler serves."""

    def mark(handler: H) -> H:
        _ROLES[handler] = frozenset(roles)
        return handler

    return mark


def serves_everyone(handler: H) -> H:
    """Say that a handler asks for no token."""
    _ROLES[handler] = None
    return handler


def roles_of(handler: object) -> frozenset[Role] | None:
    """Return the roles a handler serves: None for everyone, no role if it does not say."""
    return _ROLES.get(handler, frozenset())


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through to its handler, or raise `Refused` (400, 401, 403)."""
    _check_host(request)
    _check_origin(request)
    if request.match_info.http_exception is not None:
        return await handler(request)
    roles = roles_of(request.match_info.handler)
    if roles is not None:
        request[keys.MEMBER] = _member(request, roles)
    return await handler(request)


def _check_host(request: web.Request) -> None:
    host = request.headers.get("Host", "").lower()
    name = _host_name(host)
    if name in request.config_dict[keys.IDENTITY].hosts:
        return
    try:
        # A name can be made to point here, an address cannot.
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"This coordinator is not called {name[:80]!r}; use its address, or start it with "
            "--host and that name.",
        ) from None


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _check_origin(request: web.Request) -> None:
    is_upgrade = "upgrade" in request.headers.get("Connection", "").lower()
    if request.method in _SAFE and not is_upgrade:
        return
    scheme = "https" if request.config_dict[keys.IDENTITY].is_tls else "http"
    own = f"{scheme}://{request.headers.get('Host', '').lower()}"
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site")
    if (origin is not None and origin.lower() != own) or (
        site is not None and site.lower() != "same-origin"
    ):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "A page of another site may not do this; open the farm's own page.",
        )
    # Browsers say where such a request comes from; with the cookie of a page and no word of its
    # origin it is not from one that does.
    if origin is None and site is None and COOKIE in request.cookies and not _bearer(request):
        raise Refused(HTTPStatus.FORBIDDEN, "A request with a cookie must say its origin.")


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _member(request: web.Request, roles: frozenset[Role]) -> Member:
    token = _bearer(request) or request.cookies.get(COOKIE, "")
    if not token:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "This needs a token; join the farm first, or sign in on its page.",
            WWW_Authenticate="Bearer",
        )
    member = request.config_dict[keys.TOKENS].check(token[:TOKEN_MAX_CHARS])
    if member is None:
        raise Refused(
            HTTPStatus.UNAUTHORIZED,
            "The token is not known here or was revoked; join the farm again.",
            WWW_Authenticate="Bearer",
        )
    if member.role not in roles:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"A token of the role {member.role.value!r} does not allow this; it needs "
            f"{' or '.join(sorted(role.value for role in roles)) or 'none there is'}.",
        )
    return member


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal ``on_response_prepare``: what browsers are told about every answer."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")
    headers.popall("Server", None)
