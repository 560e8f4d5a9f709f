"""The picture that travels with a file no browser shows is the one of Blender's render window."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from rendermill.protocol.job import FrameImage, JobKind, JobSpec, Requirements, SceneRoot
from rendermill.protocol.machine import BlenderInfo

from .conftest import PYTHONS, VERSIONS, output

MAKER = Path(__file__).with_name("preview_scenes.py")
MEAN_MOST = 3.0
"""Of 255 levels: what a JPEG of this quality may blur in a picture of 64 x 36 noisy pixels."""

CASES = [
    ("4.5", "AgX", "None", "OPEN_EXR", "16"),
    ("4.5", "AgX", "AgX - Punchy", "OPEN_EXR_MULTILAYER", "32"),
    ("4.5", "Filmic", "High Contrast", "OPEN_EXR", "32"),
    ("4.5", "Filmic", "None", "TIFF", "16"),
    ("4.2", "Filmic", "None", "OPEN_EXR_MULTILAYER", "16"),
    ("5.0", "AgX", "None", "OPEN_EXR_MULTILAYER", "16"),
    ("5.2", "AgX", "None", "OPEN_EXR_MULTILAYER", "16"),
]


def difference(one: Image.Image, other: Image.Image) -> float:
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return sum(stat.mean) / 3


def make(python: Path, *arguments: str) -> None:
    made = subprocess.run(
        [str(python), str(MAKER), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert made.returncode == 0, made.stderr + made.stdout


def spec(folder: Path, version: str, file_format: str) -> JobSpec:
    return JobSpec(
        name="preview",
        submitter="artist@desk",
        kind=JobKind.ANIMATION,
        blend="scene/scene.blend",
        scene="Scene",
        frames="1",
        requires=Requirements(blender=VERSIONS[version], engine="CYCLES"),
        roots=(SceneRoot(folder=str(folder), path="scene"),),
        outputs=(output(),),
        image=FrameImage(width=64, height=36, file_format=file_format),
    )


@pytest.mark.parametrize(("version", "view", "look", "file_format", "depth"), CASES)
async def test_it_shows_what_the_render_window_would(
    make_session, tmp_path, version, view, look, file_format, depth
):
    python = PYTHONS[version]
    if not python.exists():
        pytest.skip(f"There is no environment with bpy {version} at {python}.")
    scene = tmp_path / "workspace" / "scene"
    scene.mkdir(parents=True)
    await asyncio.to_thread(make, python, str(scene), view, look, file_format, depth)
    info = BlenderInfo(version=VERSIONS[version], path=str(python), is_module=True)
    session = make_session()
    await session.start(info)
    await session.open(spec(scene, version, file_format), tmp_path / "workspace")
    rendered = await session.render(1, tmp_path / "scratch" / "frame")
    assert rendered.preview is not None
    with Image.open(rendered.preview) as shown, Image.open(scene / "reference.png") as wanted:
        assert shown.format == "JPEG"
        assert shown.size == wanted.size == (64, 36)
        assert difference(shown, wanted) < MEAN_MOST
        # The tolerance tells view transforms apart: the raw picture would not pass.
        bent = wanted.convert("RGB").point(lambda level: min(255, int(level * 1.15)))
        assert difference(shown, bent) > MEAN_MOST
    assert rendered.thumbnail is not None


async def test_what_browsers_show_needs_none(make_session, studio, tmp_path):
    session = make_session()
    await session.start(studio.info)
    await session.open(studio.spec("plain"), studio.workspace("plain", tmp_path))
    rendered = await session.render(1, tmp_path / "scratch" / "plain")
    assert rendered.preview is None
    assert rendered.thumbnail is not None
