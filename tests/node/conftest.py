"""A coordinator and nodes in one loop, with folders of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rendermill.node import daemon
from rendermill.node.daemon import Node, NodeOptions
from rendermill.node.equipment import Equipment
from rendermill.node.notices import Notice, NoticeKind
from rendermill.protocol.job import (
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo

from .coordinator import PATIENCE_SECONDS, Coordinator
from .session import ScriptedSession

BLENDER = BlenderInfo(version=(4, 5, 3), path="/opt/blender", is_module=False, engines=("CYCLES",))


def job_spec(*, blender: tuple[int, int, int] = (4, 5, 1), engine: str = "CYCLES") -> JobSpec:
    """A job on a scene whose .blend is ``scene/shot.blend``."""
    return JobSpec(
        name="shot",
        submitter="test@here",
        kind=JobKind.ANIMATION,
        blend="scene/shot.blend",
        scene="Scene",
        frames="1-10",
        requires=Requirements(blender=blender, engine=engine),
        roots=(SceneRoot(folder="/home/artist/film", path="scene"),),
        outputs=(OutputRoot(id="main", label="Render output", folder="/out", name="shot_####"),),
        image=FrameImage(width=48, height=32, file_format="PNG"),
    )


@dataclass
class Running:
    """A node that runs in this loop."""

    node: Node
    task: asyncio.Task[None]
    sessions: list[ScriptedSession]
    notices: list[Notice]
    data: Path
    cache: Path
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def session(self) -> ScriptedSession:
        return self.sessions[-1]

    def told(self, kind: NoticeKind) -> list[str]:
        return [notice.text for notice in self.notices if notice.kind is kind]

    async def stop(self) -> None:
        """Stop it in good order and raise what it raised."""
        self.node.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task

    async def crash(self) -> None:
        """End it without letting it say or save anything more."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


StartNode = Callable[..., Awaitable[Running]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RENDERMILL_HOME of this test alone."""
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
async def coordinator(home: Path) -> AsyncIterator[Coordinator]:
    """A coordinator that listens and that this user's members find."""
    made = Coordinator()
    await made.start()
    made.announce_here()
    yield made
    await made.stop()


@pytest.fixture
async def start_node(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartNode]:
    """Starts nodes with a scripted session; stops what still runs at the end."""
    # However slow this machine is: what a node that stops still has to send arrives.
    monkeypatch.setattr(daemon, "DELIVER_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(daemon, "GOODBYE_SECONDS", PATIENCE_SECONDS)
    running: list[Running] = []

    async def start(name: str = "one", **options: object) -> Running:
        sessions: list[ScriptedSession] = []
        notices: list[Notice] = []

        async def equip(*_: object) -> Equipment:
            return Equipment((BLENDER,), "none")

        def make_session(*args: object, **named: object) -> ScriptedSession:
            sessions.append(ScriptedSession(*args, **named))
            return sessions[-1]

        chosen = {
            "data": tmp_path / name,
            "cache": tmp_path / "cache",
            "cache_bytes": 10**9,
            "name": name,
            "grace_seconds": 0.0,
            "retry_first_seconds": 0.01,
        } | options
        idle = chosen.pop("idle", None)
        node = Node(
            NodeOptions(**chosen),
            notices.append,
            equip=equip,
            make_session=make_session,
            idle=idle,
        )
        task = asyncio.create_task(node.run())
        one = Running(node, task, sessions, notices, chosen["data"], chosen["cache"])
        running.append(one)
        return one

    yield start
    for one in running:
        if not one.task.done():
            one.node.stop()
            one.node.stop()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(one.task, return_exceptions=True)
