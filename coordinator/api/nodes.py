"""Nodes: list, look at, take out of service and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from ...protocol.views import NodeView
from ..farm.events import FarmEvent, NodeDisabled, NodeDrained, NodeEnabled
from ..identity.roles import Role
from . import guard, keys
from .audit import audit_entry
from .bodies import json_response
from .problems import Refused

_NODE = "/api/v1/nodes/{node:[^{}/]{1,64}}"


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get("/api/v1/nodes", list_nodes),
        web.get(_NODE, show),
        web.post(f"{_NODE}/drain", drain),
        web.post(f"{_NODE}/disable", disable),
        web.post(f"{_NODE}/enable", enable),
    ]


@guard.serves(*guard.SEE)
async def list_nodes(request: web.Request) -> web.StreamResponse:
    """List every node the farm has met."""
    conductor = request.app[keys.CONDUCTOR]
    return json_response(conductor.farm.nodes(conductor.clock.now()))


def _view(request: web.Request) -> NodeView:
    conductor = request.app[keys.CONDUCTOR]
    node = request.match_info["node"]
    view = conductor.farm.node_view(node, conductor.clock.now())
    if view is None:
        raise Refused(HTTPStatus.NOT_FOUND, f"There is no node {node}.")
    return view


@guard.serves(*guard.SEE)
async def show(request: web.Request) -> web.StreamResponse:
    """Show one node."""
    return json_response(_view(request))


def _steering(
    action: str, event: Callable[[str], FarmEvent]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    @guard.serves(Role.ADMIN)
    async def handler(request: web.Request) -> web.StreamResponse:
        node = request.match_info["node"]
        await request.app[keys.CONDUCTOR].request(event(node), audit_entry(request, action, node))
        return json_response(_view(request))

    return handler


drain = _steering("drain", lambda node: NodeDrained(node=node))
disable = _steering("disable", lambda node: NodeDisabled(node=node))
enable = _steering("enable", lambda node: NodeEnabled(node=node))
