"""``rendermill submit`` with a real Blender: the bpy of this Python, in processes of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from rendermill.commands.exit_codes import ExitCode
from rendermill.protocol.views import JobDetail, JobPage

from ..coordinator.conftest import HEIGHT, WIDTH

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bpy") is None, reason="this Python has no bpy"
)

MAKE = f"""
import os, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=False)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y = {WIDTH}, {HEIGHT}
scene.render.filepath = "//out/f_####"
scene.frame_start, scene.frame_end = 1, 3
if len(sys.argv) > 2:
    image = bpy.data.images.new("wood", 4, 4)
    image.source = "FILE"
    image.filepath = "//wood.png"
    image.use_fake_user = True
    bpy.data.materials["Material"].use_nodes = True
    node = bpy.data.materials["Material"].node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
sys.stdout.flush()
os._exit(0)
"""

MOVE = """
import os, sys, bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
bpy.data.objects["Cube"].location.x += 1
bpy.ops.wm.save_mainfile()
sys.stdout.flush()
os._exit(0)
"""


async def blender(code: str, *words: object) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, words), stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


async def test_a_scene_there_and_back(coordinator, farm, make_node, rendermill, tmp_path):
    blend = tmp_path / "scene" / "cube.blend"
    blend.parent.mkdir()
    await blender(MAKE, blend)
    before = blend.read_bytes()
    work = asyncio.ensure_future(rendermill("submit", blend, "--wait", "--json"))
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3 or work.done())
        ran = await work
    assert ran.code == ExitCode.DONE, ran.err
    assert ran.out.count("\n") == 1
    plain = json.loads(ran.out)
    folder = blend.parent / "out"
    assert plain["files"] == [str(folder / f"f_{n:04d}.png") for n in (1, 2, 3)]
    assert blend.read_bytes() == before
    detail = await farm.get(f"/api/v1/jobs/{plain['id']}", JobDetail)
    assert detail.spec.frames == "1-3"
    assert detail.spec.image.width == WIDTH


async def test_a_moved_object_sends_next_to_nothing(coordinator, rendermill, tmp_path):
    blend = tmp_path / "cube.blend"
    await blender(MAKE, blend)
    first = json.loads((await rendermill("submit", blend, "--json")).out)
    await blender(MOVE, blend)
    second = json.loads((await rendermill("submit", blend, "--json")).out)
    # Even of a scene that is nothing but structs, which hold an address in every line.
    assert second["new_bytes"] < first["new_bytes"] / 4
    assert 0 < second["new_chunks"] <= 5


async def test_options_reach_the_job(coordinator, farm, rendermill, tmp_path, monkeypatch):
    blend = tmp_path / "cube.blend"
    await blender(MAKE, blend)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    words = ["--frames", "7, 9-11", "--priority", "80", "--output", tmp_path / "there" / "x_"]
    ran = await rendermill("submit", blend, *words)
    assert "rendermill fetch" in ran.out
    (job,) = (await farm.get("/api/v1/jobs", JobPage)).jobs
    detail = await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)
    assert (detail.spec.frames, job.priority) == ("7, 9-11", 80)
    assert detail.spec.outputs[0].folder == str(tmp_path / "there")
    assert job.id in ran.out
    # Neither ours nor the Blender's that packed.
    assert not list((tmp_path / "temporary").iterdir())


async def test_a_missing_texture_stops_it_unless_sent_anyway(
    coordinator, farm, rendermill, tmp_path
):
    blend = tmp_path / "cube.blend"
    await blender(MAKE, blend, "missing")
    ran = await rendermill("submit", blend)
    assert ran.code == ExitCode.FAILED
    assert "wood.png" in ran.err
    assert (await farm.get("/api/v1/jobs", JobPage)).jobs == ()
    assert (await rendermill("submit", blend, "--send-anyway")).code == ExitCode.DONE


async def test_what_is_no_scene_is_said(coordinator, rendermill, tmp_path):
    broken = tmp_path / "broken.blend"
    broken.write_bytes(b"BLENDER-v405" + bytes(100))
    ran = await rendermill("submit", broken)
    assert ran.code == ExitCode.FAILED
    assert "broken.blend" in ran.err
    blend = tmp_path / "cube.blend"
    await blender(MAKE, blend)
    ran = await rendermill("submit", blend, "--scene", "Nope")
    assert ran.code == ExitCode.FAILED
    assert '"Scene"' in ran.err


def is_gone(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_ctrl_c_ends_blender_and_all_it_started(coordinator, farm, tmp_path, home):
    """A Blender that hangs and has started another process; both are gone afterwards."""
    blend = tmp_path / "cube.blend"
    blend.write_bytes(b"BLENDER-v405")
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    hanging = tmp_path / "blender"
    hanging.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! $$ > {pids}\nwait\n")
    hanging.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rendermill", "submit", blend, "--blender", hanging
    )
    # Opening the pipe waits for Blender to have started what it starts.
    numbers = [int(word) for word in (await asyncio.to_thread(Path.read_text, pids)).split()]
    assert all(psutil.pid_exists(number) for number in numbers)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == ExitCode.INTERRUPTED
    async with asyncio.timeout(120):
        # Nobody's children any more: whoever collects them does so in its own time, or never.
        while not all(is_gone(number) for number in numbers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await farm.get("/api/v1/jobs", JobPage)).jobs == ()


async def test_doctor(coordinator, rendermill):
    ran = await rendermill("doctor", "--json")
    plain = json.loads(ran.out)
    checks = {check["name"]: check for check in plain["checks"]}
    assert checks["coordinator"]["is_good"]
    assert checks["token"]["is_good"]
    blenders = [check for check in plain["checks"] if check["name"].startswith("Blender ")]
    assert any(check["is_good"] and "CYCLES" in check["what"] for check in blenders)
    assert plain["ok"] is True
    assert ran.code == ExitCode.DONE
    await coordinator.stop()
    ran = await rendermill("doctor")
    assert ran.code == ExitCode.NO_COORDINATOR
    assert "FAIL  coordinator" in ran.out
