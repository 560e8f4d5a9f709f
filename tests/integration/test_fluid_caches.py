"""Real fluid bakes: what is traced is what Blender reads, and a node renders the same picture.

Only a Blender that is a program can bake: the `bpy` wheels end when a fluid domain plays, and so
does Debian's 4.3. Name another in the variable WINDOW_BLENDERS.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy
import pytest
from PIL import Image

from ..local_farms import local_farm, real_blender
from .conftest import wait_until

SCRIPT = Path(__file__).with_name("fluid_scenes.py")
SHOWN = 4
CACHE = "cache of the fluid"
BLENDER_SECONDS_MAX = 600.0

KINDS = {
    "gas_noise_at_once": {"config/config_0004.uni", "noise/fluid_noise_0004.vdb"},
    "gas_guided": {"config/config_0004.uni", "data/fluid_data_0004.vdb"},
    "gas_replay": {"config/config_0004.uni", "data/fluid_data_0004.vdb"},
    "gas_resumable": {"config/config_0004.uni", "data/fluid_data_0004.vdb"},
    "liquid_mesh_particles": {"mesh/fluid_mesh_0004.bobj.gz"},
    "liquid_mesh_at_once_resumable": {"mesh/fluid_mesh_0004.bobj.gz"},
}
"""Of each kind, those files of the frame without any one of which its picture changes."""


def blender(program: Path, *words: str) -> str:
    """Run the script in a Blender; return '' or how it went wrong."""
    command = [str(program), "-b", "--factory-startup", "-P", str(SCRIPT), "--", *words]
    # A bake with noise leaves 25 MB in the folder that Blender was started in.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=BLENDER_SECONDS_MAX,
            check=False,
        )
    return "" if "BAKED AND WELL" in done.stdout else done.stdout[-3000:] + done.stderr[-3000:]


@functools.cache
def baker() -> Path | None:
    """A Blender of this machine that bakes a fluid and lives."""
    for program in real_blender.find():
        with tempfile.TemporaryDirectory() as folder:
            if not blender(program, "bake", folder, "gas"):
                return program
    return None


@pytest.fixture
def program() -> Path:
    found = baker()
    if found is None:
        pytest.skip("no Blender here bakes fluids; name one in the variable WINDOW_BLENDERS")
    return found


def bake(program: Path, folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True)
    problem = blender(program, "bake", str(folder), kind)
    assert not problem, problem
    return folder / "shot.blend"


def pixels(picture: Path) -> numpy.ndarray:
    with Image.open(picture) as image:
        return numpy.asarray(image.convert("RGBA")).copy()


def alike(one: Path, other: Path) -> bool:
    return bool((pixels(one) == pixels(other)).all())


def trace(program: Path, blend: Path) -> dict[str, list[Path]]:
    told = blend.with_name("told.json")
    problem = blender(program, "trace", str(blend), str(told))
    assert not problem, problem
    found: dict[str, list[str]] = json.loads(told.read_text("utf-8"))
    return {name: [Path(path) for path in paths] for name, paths in found.items()}


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_traced_files_are_those_that_blender_reads(
    kind: str, program: Path, tmp_path: Path
) -> None:
    blend = bake(program, tmp_path / "whole", kind)
    cache = blend.parent / CACHE
    told = trace(program, blend)
    assert set(told["all"]) == {path for path in cache.rglob("*") if path.is_file()}
    assert {path.stem.split(".")[0][-4:] for path in told["cut"]} == {
        f"{frame:04}" for frame in range(SHOWN - 2, SHOWN + 3)
    }

    only = tmp_path / "only"
    for path in (blend, *told["cut"]):
        target = only / path.relative_to(blend.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    pictures = {blend: tmp_path / "here.png", only / "shot.blend": tmp_path / "only.png"}
    for file, picture in pictures.items():
        problem = blender(program, "render", str(file), str(picture))
        assert not problem, problem
    assert len(numpy.unique(pixels(tmp_path / "here.png"))) > 8, "nothing is to be seen"
    assert alike(*pictures.values())

    files = sorted(path for path in (only / CACHE).rglob("*") if path.is_file())
    away = tmp_path / "away.png"
    problem = blender(program, "without", str(only / "shot.blend"), str(away), *map(str, files))
    assert not problem, problem
    matter = {
        path.relative_to(only / CACHE).as_posix()
        for number, path in enumerate(files)
        if not alike(tmp_path / "here.png", tmp_path / f"away{number}.png")
    }
    assert matter == KINDS[kind]


@pytest.mark.timeout(1800)
def test_a_node_that_has_nothing_renders_the_same(program: Path, tmp_path: Path) -> None:
    studio = tmp_path / "studio"
    pictures: dict[str, Path] = {}
    for kind in KINDS:
        blend = bake(program, studio / kind, kind)
        pictures[kind] = tmp_path / f"{kind}.png"
        problem = blender(program, "render", str(blend), str(pictures[kind]))
        assert not problem, problem
    with local_farm.LocalFarm(tmp_path / "farm") as farm:
        farm.start_coordinator()
        jobs: dict[str, str] = {}
        for kind in KINDS:
            blend = str(studio / kind / "shot.blend")
            sent = farm.command("submit", blend, "--image", "--blender", str(program), "--json")
            assert sent.returncode == 0, sent.stdout + sent.stderr
            jobs[kind] = json.loads(sent.stdout.splitlines()[-1])["job"]["id"]
        studio.rename(tmp_path / "away")
        farm.start_node("one", "--blender", str(program))
        wait_until(
            lambda: all(farm.job(job)["ended"] for job in jobs.values()),
            "every job has ended",
            BLENDER_SECONDS_MAX,
        )
        for kind, job in jobs.items():
            (frame,) = farm.ask("GET", f"/api/v1/jobs/{job}/frames")["frames"]
            assert (frame["state"], frame["warnings"]) == ("done", []), (kind, frame)
            there = tmp_path / f"{kind}-there.png"
            there.write_bytes(farm.fetch(f"/api/v1/jobs/{job}/frames/{SHOWN}/files/0"))
            assert alike(there, pictures[kind]), kind
