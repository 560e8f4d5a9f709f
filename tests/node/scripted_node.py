"""A node process with a scripted session: ``python scripted_node.py DATA CACHE``.

For tests that kill the process; the session's frames need no Blender.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rendermill.node.daemon import Node, NodeOptions
from rendermill.node.equipment import Equipment
from rendermill.protocol.machine import BlenderInfo
from session import ScriptedSession

BLENDER = BlenderInfo(version=(4, 5, 3), path="/opt/blender", is_module=False, engines=("CYCLES",))


async def equip(*_: object) -> Equipment:
    return Equipment((BLENDER,), "none")


async def main() -> None:
    options = NodeOptions(
        data=Path(sys.argv[1]),
        cache=Path(sys.argv[2]),
        cache_bytes=10**9,
        name=Path(sys.argv[1]).name,
        retry_first_seconds=0.01,
    )
    node = Node(options, print, equip=equip, make_session=ScriptedSession)
    await node.run()


asyncio.run(main())
