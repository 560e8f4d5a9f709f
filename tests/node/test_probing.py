"""A node that looks what its Blenders can do while it has nothing else to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from rendermill.node import hardware
from rendermill.node.blender.probe import examine
from rendermill.node.blender.session import SessionOptions
from rendermill.node.daemon import Node, NodeOptions
from rendermill.node.equipment import Equipment
from rendermill.node.notices import Notice
from rendermill.node.options import MEMORY_PART
from rendermill.protocol.messages import Assign, FrameDone, Hello, MachineChanged

from .conftest import StartNode, job_spec
from .coordinator import Coordinator, ref
from .fake_blender import fake_blender, only
from .session import ScriptedSession

SCENE = {"scene/shot.blend": b"BLENDER" * 100}
EEVEE = "blender_eevee_next"

StartProber = Callable[[str], Awaitable[None]]


@pytest.fixture
async def start_prober(tmp_path: Path, home: Path) -> AsyncIterator[StartProber]:
    """Starts a node with a quickly probed Blender that does ``action`` when EEVEE is tried."""
    running: list[tuple[Node, asyncio.Task[None]]] = []

    async def start(action: str) -> None:
        candidate = fake_blender(tmp_path / "fake", only(EEVEE, action))
        info = (await examine(candidate, tmp_path / "quick", quick=True)).info

        async def equip(*_: object) -> Equipment:
            return Equipment((info,), "none", (candidate,))

        def forget(_: Notice) -> None:
            pass

        options = NodeOptions(
            data=tmp_path / "node",
            cache=tmp_path / "cache",
            cache_bytes=10**9,
            grace_seconds=0.0,
            retry_first_seconds=0.01,
            probe_idle_seconds=0.0,
            probe_again_seconds=0.0,
        )
        node = Node(options, forget, equip=equip, make_session=ScriptedSession)
        running.append((node, asyncio.create_task(node.run())))

    yield start
    for node, task in running:
        node.stop()
        node.stop()
        async with asyncio.timeout(120):
            await asyncio.gather(task, return_exceptions=True)


async def pid_in(path: Path) -> int:
    async with asyncio.timeout(120):
        while not (said := written(path)).endswith("\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return int(said)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_frame_ends_a_probe_at_once_and_the_rest_is_found_out_later(
    coordinator: Coordinator, start_prober: StartProber, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    manifest = coordinator.add_scene(SCENE)
    # The first time EEVEE takes for ever, later it works.
    await start_prober(f'[ -e "{asked}" ] || {{ echo $$ > "{asked}"; exec sleep 600; }}')
    hello = await coordinator.hears(Hello)
    assert hello.machine.blenders[0].engines == ("CYCLES",)
    probing = await pid_in(asked)
    assert not is_gone(probing)
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    done = await coordinator.hears(FrameDone)
    changed = await coordinator.hears(MachineChanged)
    assert is_gone(probing)
    assert changed.machine.blenders[0].engines == ("CYCLES", "BLENDER_EEVEE_NEXT")
    assert coordinator.messages.index(done) < coordinator.messages.index(changed)


async def test_a_question_left_open_is_asked_again(
    coordinator: Coordinator, start_prober: StartProber, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    await start_prober(f'echo >> "{asked}"; [ $(wc -l < "{asked}") -gt 2 ] || kill -KILL $$')
    changed = await coordinator.hears(
        MachineChanged, lambda said: "BLENDER_EEVEE_NEXT" in said.machine.blenders[0].engines
    )
    assert changed.machine.blenders[0].problems == tuple(
        problem
        for problem in changed.machine.blenders[0].problems
        if problem.startswith("This Blender has no")
    )
    assert asked.read_text().count("\n") == 3


async def test_a_blender_that_ends_while_the_scene_comes_is_started_again(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await start_node()
    await coordinator.hears(Hello)
    coordinator.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.asked.wait()
    async with asyncio.timeout(120):
        while not node.session.starts:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await node.session.close()
    coordinator.gate.set()
    await coordinator.hears(FrameDone)
    assert node.session.starts == 2


async def test_limits_reach_the_session(coordinator: Coordinator, start_node: StartNode) -> None:
    node = await start_node("one", silent_seconds=12.0, frame_seconds=34.0, memory_bytes=5 << 30)
    await coordinator.hears(Hello)
    options: SessionOptions = node.session.options
    assert (options.silent_seconds, options.frame_seconds) == (12.0, 34.0)
    assert options.memory_bytes == 5 << 30
    assert NodeOptions(memory_bytes=0).memory_limit == 0
    whole = hardware.memory_bytes()
    assert NodeOptions().memory_limit == int(whole * MEMORY_PART)
    assert 0 < NodeOptions().memory_limit < whole
