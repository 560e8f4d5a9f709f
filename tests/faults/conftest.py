"""Real processes that are killed, frozen and cut off; one cheap scene for all of them."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rendermill.commands.packing import Packing, choose_blender, pack
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import TEST_SECONDS, FarmUnderFault

ROUNDS_VARIABLE = "RENDERMILL_FAULT_ROUNDS"
"""How often each test with random faults runs, each time with another seed; 1 when not given."""
SEED_VARIABLE = "RENDERMILL_FAULT_SEED"
"""Seed of the first round; 1 when not given, so that everyone runs the same faults."""

SLOW_SAMPLES = 400
"""Make a frame of the small scene take about a third of a second on one core."""
LAST_FRAME = 60

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
for frame in (1, last):
    cube.rotation_euler.z = frame / last
    cube.keyframe_insert("rotation_euler", frame=frame)
pixels = numpy.random.default_rng(7).random((256, 256, 4), dtype=numpy.float32)
image = bpy.data.images.new("noise", 256, 256)
image.pixels.foreach_set(pixels.ravel())
image.pack()
material = bpy.data.materials["Material"]
material.use_nodes = True
node = material.node_tree.nodes.new("ShaderNodeTexImage")
node.image = image
shader = material.node_tree.nodes["Principled BSDF"]
material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, "shot.blend"))
sys.stdout.flush()
os._exit(0)
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests with random faults a seed for each round."""
    if "seed" in metafunc.fixturenames:
        first = int(os.environ.get(SEED_VARIABLE, "1"))
        rounds = int(os.environ.get(ROUNDS_VARIABLE, "1"))
        seeds = range(first, first + rounds)
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here the time that many waits may take together."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.parent == folder and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture
def chance(seed: int) -> random.Random:
    """Randomness of this round: `SEED_VARIABLE` set to the seed in the test's name repeats it."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as a file: a textured cube that turns, so that no two frames are alike."""
    folder = tmp_path_factory.mktemp("scene")
    made = subprocess.run(
        [sys.executable, "-c", SCENE, str(folder), str(SLOW_SAMPLES), str(LAST_FRAME)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "shot.blend"


@pytest.fixture(scope="session")
def scene(blend: Path, tmp_path_factory: pytest.TempPathFactory) -> CapturedScene:
    """The scene packed by the real client, once for all tests."""
    packing = Packing(blend, "", "animation", f"1-{LAST_FRAME}", "", 50, False, "artist@studio")
    scratch = tmp_path_factory.mktemp("packed")
    return asyncio.run(pack(choose_blender(None), packing, scratch)).captured


@pytest.fixture(scope="session")
def seen() -> dict[int, bytes]:
    """Pixels of the scene by frame, from all farms of this session: see `FarmUnderFault.check`."""
    return {}


StartFarm = Callable[..., FarmUnderFault]


@pytest.fixture
def new_farm(tmp_path: Path, known_blenders: Path) -> Iterator[StartFarm]:
    """Make farms in folders of their own, nothing started yet; gone after the test."""
    farms: list[FarmUnderFault] = []

    def make(**options: float) -> FarmUnderFault:
        folder = tmp_path / f"farm{len(farms)}"
        farm = FarmUnderFault(folder, answers=known_blenders, **options).__enter__()
        farms.append(farm)
        return farm

    yield make
    for farm in farms:
        farm.__exit__()


@pytest.fixture
def farm(new_farm: StartFarm) -> FarmUnderFault:
    """A farm, nothing started yet."""
    return new_farm()
