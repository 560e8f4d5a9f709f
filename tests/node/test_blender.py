"""A whole node with a real Blender: probed, kept warm, killed in the middle of a frame."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from PIL import Image
from rendermill.node.blender.session import BlenderSession
from rendermill.node.daemon import Node, NodeOptions
from rendermill.node.notices import Notice, NoticeKind
from rendermill.protocol.job import JobSpec
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameDone,
    FrameFailed,
    FrameStarted,
    Hello,
    JobScript,
    LeasesReturned,
    Revoke,
)

from .conftest import job_spec
from .coordinator import Coordinator, ref

if importlib.util.find_spec("bpy") is None:
    pytest.skip("there is no bpy in this environment", allow_module_level=True)

SCENE = """
import os, sys
import bpy
bpy.ops.wm.read_homefile(use_factory_startup=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = int(sys.argv[2])
scene.cycles.use_adaptive_sampling = False
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y = 48, 32
scene.render.resolution_percentage = 100
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1], compress=False)
print("VERSION", *bpy.app.version, flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, tuple[int, int, int]]:
    """A .blend that renders at once, one that takes for ever, and Blender's version."""
    folder = tmp_path_factory.mktemp("scenes")
    made: list[bytes] = []
    version = (0, 0, 0)
    for samples in (1, 1_000_000):
        path = folder / f"{samples}.blend"
        done = subprocess.run(
            [sys.executable, "-c", SCENE, str(path), str(samples)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        for line in done.stdout.splitlines():
            if line.startswith("VERSION"):
                major, minor, patch = map(int, line.split()[1:])
                version = (major, minor, patch)
        made.append(path.read_bytes())
    return made[0], made[1], version


def tree_of(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_frames_of_a_real_blender(
    coordinator: Coordinator,
    tmp_path: Path,
    scenes: tuple[bytes, bytes, tuple[int, int, int]],
) -> None:
    quick, endless, version = scenes
    quick_scene = coordinator.add_scene({"scene/shot.blend": quick}, chunk_bytes=50_000)
    endless_scene = coordinator.add_scene({"scene/shot.blend": endless}, chunk_bytes=50_000)
    no_scene = coordinator.add_scene({"scene/shot.blend": b"no .blend at all"})
    spec: JobSpec = job_spec(blender=version)
    sessions: list[BlenderSession] = []
    notices: list[Notice] = []

    def make_session(*args: object, **named: object) -> BlenderSession:
        sessions.append(BlenderSession(*args, **named))
        return sessions[-1]

    node = Node(
        NodeOptions(
            data=tmp_path / "one",
            cache=tmp_path / "cache",
            cache_bytes=10**9,
            threads=1,
            grace_seconds=0.0,
        ),
        notices.append,
        make_session=make_session,
    )
    running = asyncio.create_task(node.run())
    try:
        hello = await coordinator.hears(Hello)
        assert version in [blender.version for blender in hello.machine.blenders]
        assert "CYCLES" in hello.machine.blenders[0].engines

        # Two frames from one warm Blender.
        await coordinator.send(
            Assign(job="job-1", frames=(ref(1), ref(2)), manifest=quick_scene, spec=spec)
        )
        for number in (1, 2):
            done = await coordinator.hears(FrameDone, lambda m, n=number: m.frame == ref(n))
            assert [(file.root, file.path) for file in done.files] == [
                ("main", f"shot_000{number}.png")
            ]
            picture = Image.open(io.BytesIO(coordinator.blobs[done.files[0].sha256]))
            assert (picture.format, picture.size) == ("PNG", (48, 32))
            small = Image.open(io.BytesIO(coordinator.blobs[done.thumbnail]))
            assert max(small.size) <= 512
        assert (await coordinator.hears(JobScript)).job == "job-1"
        assert sessions[0].frames_rendered == 2

        # A frame that would take for ever ends when it is revoked, and its processes with it.
        frame = ref(1, job="job-2")
        await coordinator.send(
            Assign(
                job="job-2",
                frames=(frame,),
                manifest=endless_scene,
                spec=replace(spec, name="endless"),
            )
        )
        await coordinator.hears(FrameStarted, lambda m: m.frame == frame)
        assert sessions[0].pid is not None
        tree = tree_of(sessions[0].pid)
        await coordinator.send(Revoke(frames=(frame,), reason="cancelled", running_too=True))
        returned = await coordinator.hears(LeasesReturned)
        assert returned.frames == (frame,)
        assert [process for process in tree if not is_gone(process)] == []

        # A file that is no scene is the scene's failure; the node goes on.
        frame = ref(1, job="job-3")
        await coordinator.send(
            Assign(job="job-3", frames=(frame,), manifest=no_scene, spec=replace(spec, name="none"))
        )
        failed = await coordinator.hears(FrameFailed)
        assert (failed.frame, failed.kind) == (frame, FailureKind.SCENE)
        frame = ref(1, job="job-4")
        await coordinator.send(
            Assign(job="job-4", frames=(frame,), manifest=quick_scene, spec=spec)
        )
        await coordinator.hears(FrameDone, lambda m: m.frame == frame)
        assert sessions[0].pid is not None
        tree = tree_of(sessions[0].pid)
        node.stop()
        await running
        assert [process for process in tree if not is_gone(process)] == []
        assert [notice.kind for notice in notices][-1] is NoticeKind.STOPPED
    finally:
        node.stop()
        node.stop()
        await asyncio.gather(running, return_exceptions=True)
