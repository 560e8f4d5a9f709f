"""Real processes: a coordinator, nodes with a real Blender, the command line. On loopback."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..local_farms import local_farm

TEST_SECONDS = 1200.0
"""Before a whole test here is given up: its waits tell more of what went wrong."""

SCENE = """
import os, sys
import bpy
import numpy
folder, samples, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
bpy.ops.wm.read_homefile(use_factory_startup=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = samples
scene.cycles.use_denoising = False
scene.cycles.use_adaptive_sampling = False
scene.render.resolution_x, scene.render.resolution_y = 48, 32
scene.render.resolution_percentage = 100
scene.frame_start, scene.frame_end = 1, last
scene.render.filepath = "//render/shot_###"
cube = scene.objects["Cube"]
cube.rotation_euler.z = 0.0
cube.keyframe_insert("rotation_euler", frame=1)
cube.rotation_euler.z = 3.0
cube.keyframe_insert("rotation_euler", frame=max(2, last))
bpy.ops.mesh.primitive_grid_add(x_subdivisions=250, y_subdivisions=250, size=8, location=(0, 0, -2))
pixels = numpy.random.default_rng(7).random((16, 16, 4), dtype=numpy.float32)
image = bpy.data.images.new("noise", 16, 16)
image.pixels.foreach_set(pixels.ravel())
image.filepath_raw = os.path.join(folder, "textures", "noise.png")
image.file_format = "PNG"
os.makedirs(os.path.join(folder, "textures"))
image.save()
material = bpy.data.materials["Material"]
material.use_nodes = True
node = material.node_tree.nodes.new("ShaderNodeTexImage")
node.image = bpy.data.images.load(image.filepath_raw)
bpy.data.images.remove(image)
shader = material.node_tree.nodes["Principled BSDF"]
material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, "shot.blend"))
bpy.ops.file.make_paths_relative()
bpy.ops.wm.save_mainfile()
sys.stdout.flush()
os._exit(0)
"""

LOCAL_RENDER = """
import os, sys
import bpy
blend, output, frames = sys.argv[1], sys.argv[2], sys.argv[3]
bpy.ops.wm.open_mainfile(filepath=blend)
scene = bpy.context.scene
scene.render.filepath = output
for frame in frames.split(","):
    scene.frame_start = scene.frame_end = int(frame)
    bpy.ops.render.render(animation=True)
sys.stdout.flush()
os._exit(0)
"""

NAMES = """
import os, sys
import bpy
blend, result, frames = sys.argv[1], sys.argv[2], sys.argv[3]
bpy.ops.wm.open_mainfile(filepath=blend)
names = [bpy.context.scene.render.frame_path(frame=int(frame)) for frame in frames.split(",")]
with open(result, "w") as file:
    file.write("\\n".join(os.path.basename(name) for name in names))
os._exit(0)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here the time that many waits may take together: theirs end first."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.parent == folder and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


def run_in_blender(script: str, *words: str) -> None:
    """Run a script in a new process that has bpy."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """Make a scene with a texture in a folder of its own: (samples, last frame) -> .blend."""

    def make(samples: int, last: int) -> Path:
        folder = tmp_path_factory.mktemp("scene")
        run_in_blender(SCENE, str(folder), str(samples), str(last))
        return folder / "shot.blend"

    return make


@pytest.fixture
def farm(tmp_path: Path, known_blenders: Path) -> Iterator[Any]:
    """A farm in a folder of its own, nothing started yet; gone after the test."""
    with local_farm.LocalFarm(tmp_path / "farm", answers=known_blenders) as running:
        yield running


def wait_until(true: Callable[[], bool], what: str, seconds: float = 480.0) -> None:
    """Wait for an outside process to reach a state; fail with ``what`` when it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
