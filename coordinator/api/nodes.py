"""Nodes: list, look at, set, take out of service and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from ...protocol.node_settings import NOTHING_SET, FarmSettings, OnReturn, SettingsError, change
from ...protocol.views import NodeView
from ..farm.events import (
    FarmEvent,
    NodeConfigured,
    NodeDisabled,
    NodeDrained,
    NodeEnabled,
    NodeForgiven,
)
from ..identity.roles import Role
from . import guard, keys
from .audit import audit_entry
from .bodies import json_response, read_json
from .problems import Refused

_NODE = "/api/v1/nodes/{node:[^{}/]{1,64}}"


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get("/api/v1/nodes", list_nodes),
        web.get(_NODE, show),
        web.patch(_NODE, configure),
        web.post(f"{_NODE}/drain", drain),
        web.post(f"{_NODE}/disable", disable),
        web.post(f"{_NODE}/enable", enable),
        web.post(f"{_NODE}/forgive", forgive),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """Body of ``PATCH``: what is not named stays; ``reset`` gives the node's own back."""

    tags: tuple[str, ...] | None = None
    schedule: str | None = None
    idle_minutes: float | None = None
    max_load: float | None = None
    on_return: OnReturn | None = None
    reset: tuple[str, ...] = ()


@guard.serves(Role.ADMIN)
async def configure(request: web.Request) -> web.StreamResponse:
    """Change what the farm sets for a node."""
    body = await read_json(request, NodeChange)
    node = request.match_info["node"]
    changes = FarmSettings(
        tags=body.tags,
        schedule=body.schedule,
        idle_minutes=body.idle_minutes,
        max_load=body.max_load,
        on_return=body.on_return,
    )
    try:
        change(NOTHING_SET, changes, body.reset)
    except SettingsError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    event = NodeConfigured(node=node, changes=changes, reset=body.reset)
    await request.app[keys.CONDUCTOR].request(event, audit_entry(request, "configure", node))
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
forgive = _steering("forgive", lambda node: NodeForgiven(node=node))
