"""The farm at a glance, and whether it answers at all."""

from __future__ import annotations

from aiohttp import web

from ...protocol import PROTOCOL_VERSION
from ...protocol.views import FarmView, Health
from ..identity.roles import Role
from . import guard, keys
from .bodies import json_response


def routes() -> list[web.RouteDef]:
    """Return the routes of this theme."""
    return [
        web.get("/health", health),
        web.get("/api/v1/farm", farm),
        web.get("/api/v1/farm/history", history),
    ]


@guard.serves_everyone
async def health(request: web.Request) -> web.StreamResponse:
    """Say who this is; needs no token."""
    identity = request.app[keys.IDENTITY]
    return json_response(
        Health(
            protocol=PROTOCOL_VERSION,
            software=identity.software,
            farm=identity.name,
            farm_id=identity.id,
        )
    )


@guard.serves(*guard.SEE, Role.NODE)
async def farm(request: web.Request) -> web.StreamResponse:
    """Count what there is."""
    identity = request.app[keys.IDENTITY]
    conductor = request.app[keys.CONDUCTOR]
    store = request.app[keys.STORE]
    counts = conductor.farm.counts()
    return json_response(
        FarmView(
            farm=identity.name,
            farm_id=identity.id,
            software=identity.software,
            protocol=PROTOCOL_VERSION,
            nodes_online=counts.nodes_online,
            nodes_rendering=counts.nodes_rendering,
            jobs_open=counts.jobs_open,
            frames_waiting=counts.frames_waiting,
            frames_leased=counts.frames_leased,
            disk_free_bytes=await store.in_thread(store.blobs.free_bytes),
            sequence=conductor.feed.sequence,
        )
    )


@guard.serves(*guard.SEE)
async def history(request: web.Request) -> web.StreamResponse:
    """Tell the load of the last hours, minute by minute."""
    conductor = request.app[keys.CONDUCTOR]
    return json_response(conductor.load.view(conductor.clock.now()))
