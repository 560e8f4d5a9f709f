"""Whether the farm can be reached from here, and as whom: a plain answer for a person."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ...protocol.states import NodeState
from ...protocol.views import FarmView, NodePage, Visitor
from ...wire.connection import FarmConnection
from ...wire.credentials import CredentialsError
from ...wire.discovery import resolve
from ...wire.errors import FarmError
from .artist_words import artist_sentence

PATIENCE_SECONDS = 3.0
_READY = (NodeState.IDLE, NodeState.RENDERING)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial of the connection has shown."""

    is_good: bool
    """Whether a scene can be sent and would be rendered now."""
    sentence: str
    """The answer: what works, or what does not and what to do."""


async def try_connection(url: str | None = None) -> Tried:
    """Go the way a submission would go, up to sending anything. Never raises for what it finds."""
    try:
        credentials = await resolve(url)
        async with FarmConnection(credentials, patience_seconds=PATIENCE_SECONDS) as farm:
            health = await farm.health()
            begin = time.perf_counter()
            visitor = await farm.get("/api/v1/me", Visitor)
            took = time.perf_counter() - begin
            await farm.get("/api/v1/farm", FarmView)
            nodes = (await farm.get("/api/v1/nodes", NodePage)).nodes
    except (FarmError, CredentialsError) as error:
        return Tried(False, artist_sentence(error))
    where = f"{health.farm} answers at {credentials.url} in {took * 1000:.0f} ms"
    who = f"you are signed in as {visitor.name}"
    if "submit" not in visitor.may:
        return Tried(
            False,
            f"{where}, and {who}, who may look but not send scenes (role {visitor.role}). Ask an "
            "administrator for a join token.",
        )
    ready = sum(node.state in _READY for node in nodes)
    if not nodes:
        return Tried(
            False,
            f"{where}, and {who}. It has no nodes yet: nothing would be rendered. Start one on "
            "every machine that shall render.",
        )
    if not ready:
        return Tried(
            False,
            f"{where}, and {who}. None of its {len(nodes)} nodes can render now; a job would wait "
            "until one can.",
        )
    count = "1 node is" if ready == 1 else f"{ready} nodes are"
    return Tried(True, f"{where}, and {who}. {count} ready to render.")
