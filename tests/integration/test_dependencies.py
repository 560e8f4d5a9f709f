"""Every kind of file that a scene needs, rendered on a node that has none of the originals.

The picture must be the one that the artist's Blender makes, pixel for pixel. And each kind must
matter: the .blend alone, without its files, makes another picture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from ..local_farms import ROOT, local_farm
from .conftest import wait_until

SCENES = Path(__file__).with_name("dependency_scenes")
PYTHONS = {
    "4.2": ROOT / ".envs/bpy-4.2/bin/python",
    "4.5": Path(sys.executable),
    "5.0": ROOT / ".envs/bpy-5.0/bin/python",
    "5.2": ROOT / ".envs/bpy-5.2/bin/python",
}
SINCE = {
    "volume_sequence": "4.5",
    "geometry_import": "4.5",
    "import_through_groups": "4.5",
    "library_packed_in": "5.0",
    "texture_cache": "5.2",
}
"""Kinds that older Blenders do not have, or cannot make here: 4.2 brings no module for OpenVDB."""
BROKEN = {"5.0": {"line_style_texture"}}
"""Kinds that one Blender draws without their files, whatever they hold."""
ALIKE_WITHOUT_FILES = {"packed", "rigid_bodies", "asset_of_blender"}
"""The first two need no file; the last one's has the same place for every Blender of a machine."""
BLENDER_SECONDS_MAX = 900.0


def pixels(file: Path) -> numpy.ndarray:
    with Image.open(file) as image:
        return numpy.asarray(image.convert("RGBA")).copy()


COLOURS = """ocio_profile_version: 1
search_path: luts
roles:
  reference: Linear
  scene_linear: Linear
  rendering: Linear
  default_byte: Film
  default_float: Linear
  default_sequencer: Film
  data: Raw
  color_picking: Film
  texture_paint: Film
  matte_paint: Film
  compositing_log: Linear
displays:
  Studio:
    - !<View> {name: Warm, colorspace: Film}
active_displays: [Studio]
active_views: [Warm]
colorspaces:
  - !<ColorSpace>
    name: Linear
    bitdepth: 32f
  - !<ColorSpace>
    name: Film
    bitdepth: 32f
    from_reference: !<FileTransform> {src: warm.spi1d, interpolation: linear}
  - !<ColorSpace>
    name: Raw
    bitdepth: 32f
    isdata: true
"""
WARM = """Version 1
From 0.0 1.0
Length 3
Components 3
{
0.0 0.0 0.0
0.8 0.4 0.2
1.0 0.9 0.6
}
"""


def colours(folder: Path) -> Path:
    """Make a colour configuration with a table of its own; return its file."""
    (folder / "luts").mkdir(parents=True)
    (folder / "luts" / "warm.spi1d").write_text(WARM, "utf-8")
    (folder / "config.ocio").write_text(COLOURS, "utf-8")
    return folder / "config.ocio"


def run(
    python: Path, what: str, folder: Path, environment: dict[str, str], *kinds: str
) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), str(SCENES), what, str(folder), *kinds],
        env=environment,
        capture_output=True,
        text=True,
        timeout=BLENDER_SECONDS_MAX,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert lines, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("version", list(PYTHONS))
def test_every_kind_of_file_travels(version: str, tmp_path: Path) -> None:
    python = PYTHONS[version]
    if not python.is_file():
        pytest.skip(f"There is no environment with Blender {version}; scripts/test.py makes it.")
    studio = tmp_path / "studio"
    studio.mkdir()
    with local_farm.LocalFarm(tmp_path / "farm", str(python)) as farm:
        farm.start_coordinator()
        made = run(python, "make", studio, farm.environment)
        assert not made["failed"], "\n".join(made["failed"].values())
        cannot = {kind for kind in SINCE if version < SINCE[kind]} | BROKEN.get(version, set())
        assert set(made["cannot"]) == cannot
        jobs: dict[str, Any] = made["jobs"]
        # Blender reads its colour configuration when it starts.
        studio_colours = {"OCIO": str(colours(studio / "work" / "colours"))}
        coloured = run(
            python, "make", studio, farm.environment | studio_colours, "colour_configuration"
        )
        assert not coloured["failed"], "\n".join(coloured["failed"].values())
        jobs |= coloured["jobs"]

        # From here on nobody has the originals under the paths the scenes know.
        (studio / "work").rename(studio / "away")
        for about in jobs.values():
            bare = studio / "bare" / about["blend"]
            bare.parent.mkdir(parents=True)
            shutil.copy(studio / "away" / about["blend"], bare)
        farm.start_node("one")
        wait_until(
            lambda: all(farm.job(about["job"])["ended"] for about in jobs.values()),
            "every job has ended",
            BLENDER_SECONDS_MAX,
        )
        others: list[str] = []
        for name, about in jobs.items():
            frame = farm.ask("GET", f"/api/v1/jobs/{about['job']}/frames")["frames"][0]
            assert frame["state"] == "done", f"{name}: {frame['problem']}"
            assert not frame["warnings"], f"{name}: {frame['warnings']}"
            there = studio / f"{name}.png"
            there.write_bytes(
                farm.fetch(f"/api/v1/jobs/{about['job']}/frames/{about['frame']}/files/0")
            )
            here = pixels(studio / "here" / f"{name}.png")
            if not (pixels(there) == here).all():
                others.append(name)
        assert not others, "the node made other pictures"

        (studio / "jobs.json").write_text(json.dumps(jobs), "utf-8")
        alone = run(python, "render", studio, farm.environment, "bare", "alone")["rendered"]
        alike = {
            name
            for name in alone
            if (pixels(studio / "alone" / f"{name}.png") == pixels(studio / f"{name}.png")).all()
        }
        assert alike == ALIKE_WITHOUT_FILES
