"""A Blender that has been idle for too long, and the frame that comes just then."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from rendermill.protocol.machine import BlenderInfo

from .conftest import VERSIONS, MakeSession

HERE = BlenderInfo(version=VERSIONS["4.5"], path=sys.executable, is_module=True)


async def test_one_that_is_being_closed_is_not_taken_for_a_warm_one(
    make_session: MakeSession,
) -> None:
    session = make_session(idle_seconds=0.01)
    await session.start(HERE)
    first = session.pid
    async with asyncio.timeout(120):
        while session._closing is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    session.options = replace(session.options, idle_seconds=0.0)
    assert session.alive, "on its way out, and not to be told from a warm one"
    await session.start(HERE)
    assert session.alive
    assert session.pid != first
