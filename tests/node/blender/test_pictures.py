"""The picture is the one Blender would have made: names and pixels against a direct render."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from rendermill.node.blender import checks, script
from rendermill.node.blender.session import BlenderSession
from rendermill.protocol.job import FrameImage, JobSpec, OutputRoot, Requirements, SceneRoot

from .conftest import BLENDER_SECONDS

FRAMES = (2, 1, 3)
"""Out of order, as a farm hands them out."""


def pixels(path: Path) -> bytes:
    """What a picture shows, without the metadata that tells when it was made."""
    data = path.read_bytes()
    if not data.startswith(b"\x76\x2f\x31\x01"):
        with Image.open(path) as picture:
            return repr((picture.size, picture.mode)).encode() + picture.tobytes()
    parts, position = checks._exr_parts(data, multipart=bool(data[5] & 0x10))
    chunks = sum(part.chunks(tiled=False) or 0 for part in parts)
    names = b"".join(part.attributes["channels"] for part in parts)
    return names + data[position + 8 * chunks :]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): pixels(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def render(
    session: BlenderSession, spec: JobSpec, workspace: Path, scratch: Path, frames=FRAMES
) -> dict[str, dict[str, bytes]]:
    """Render frames and return what each root received."""
    await session.open(spec, workspace)
    roots: dict[str, dict[str, bytes]] = {}
    for frame in frames:
        output = scratch / f"{spec.name}-{frame}"
        rendered = await session.render(frame, output)
        assert rendered.files
        assert rendered.stats.peak_memory_bytes > 0
        assert rendered.thumbnail is not None
        with Image.open(rendered.thumbnail) as small:
            assert small.format == "JPEG"
            assert max(small.size) <= 512
        for file in rendered.files:
            roots.setdefault(file.root, {})[file.path] = pixels(file.source)
    return roots


async def test_every_picture_is_the_one_of_a_bare_blender(any_studio, make_session, tmp_path):
    """One session over seven jobs, persistent data on, against plain range renders."""
    studio, session = any_studio, make_session()
    scratch = tmp_path / "scratch"
    studio.direct("1,2,3", "moving", "range_reader", "layers", "outputs", "stereo", "linked")
    studio.direct("-5,2", "plain")
    exr = FrameImage(width=32, height=18, file_format="OPEN_EXR_MULTILAYER")
    views = FrameImage(width=32, height=18, file_format="PNG", views=("_L", "_R"))
    nodes = (
        OutputRoot(id="main", label="Render output", folder="/nowhere", name="frame_"),
        OutputRoot(id="out1", label="Pictures", folder="/nowhere", node="Pictures"),
        OutputRoot(
            id="out2",
            label="Layers",
            folder="/nowhere",
            node="Layers",
            name="" if studio.info.version >= (5, 0, 0) else "all_",
        ),
    )
    await session.start(studio.info)
    for spec in (
        studio.spec("moving"),
        studio.spec("range_reader"),
        studio.spec("layers", image=exr),
        studio.spec("stereo", image=views),
        studio.spec("outputs", outputs=nodes),
    ):
        name = spec.name
        made = await render(session, spec, studio.workspace(name, tmp_path), scratch)
        assert made["main"] == tree(studio.folder / name / "out"), name
        # Were all frames the same picture, comparing them would prove little.
        assert len(set(made["main"].values())) == len(made["main"]), name
        if name == "outputs":
            assert made["out1"] == tree(studio.folder / name / "passes")
            assert made["out2"] == tree(studio.folder / name / "deep")
            assert len(made["out1"]) == len(made["out2"]) == 3

    plain = studio.spec(
        "plain",
        outputs=(OutputRoot(id="main", label="Render output", folder="/nowhere", name="a_##_b"),),
    )
    made = await render(
        session, plain, studio.workspace("plain", tmp_path), scratch, frames=(-5, 2)
    )
    expected = tree(studio.folder / "plain" / "out")
    assert made["main"] == {name: expected[name] for name in ("a_-05_b.png", "a_02_b.png")}

    workspace = studio.workspace("linked", tmp_path)
    expected = tree(studio.folder / "linked" / "out")
    # The artist's tree is gone: only the rewritten absolute paths can find library and texture.
    hidden = studio.folder / "linked-hidden"
    (studio.folder / "linked").rename(hidden)
    try:
        linked = studio.spec("linked")
        report = await session.open(linked, workspace)
        assert report.warnings == ()
        assert (await render(session, linked, workspace, scratch))["main"] == expected
    finally:
        hidden.rename(studio.folder / "linked")
    assert session.frames_rendered == 3 * 6 + 2
    assert session.version == studio.info.version


def test_the_script_renders_the_same_by_hand(studio, tmp_path):
    studio.direct("1,2,3", "plain")
    workspace, target = studio.workspace("plain", tmp_path), tmp_path / "by-hand"
    spec = dataclasses.replace(
        studio.spec("plain"),
        outputs=(OutputRoot(id="main", label="Render output", folder="/nowhere", name="a_##_b"),),
    )
    source, parameters = tmp_path / "script.py", tmp_path / "parameters.json"
    source.write_text(script.generate(spec))
    parameters.write_text(json.dumps(script.parameters(spec, workspace, target, (1, 3))))
    done = subprocess.run(
        [studio.info.path, str(source), str(parameters)],
        capture_output=True,
        text=True,
        timeout=BLENDER_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = tree(studio.folder / "plain" / "out")
    made = tree(target / "main")
    assert made == {name: expected[name] for name in ("a_01_b.png", "a_03_b.png")}


async def test_percentage_and_crop_give_the_size_asked_for(any_studio, make_session, tmp_path):
    any_studio.direct("1", "crop")
    session = make_session()
    await session.start(any_studio.info)
    spec = any_studio.spec("crop", image=FrameImage(width=16, height=9, file_format="PNG"))
    workspace = any_studio.workspace("crop", tmp_path)
    report = await session.open(spec, workspace)
    assert report.size == (16, 9)
    made = await render(session, spec, workspace, tmp_path / "scratch", frames=(1,))
    name = "frame_0001.png"
    assert made["main"][name] == tree(any_studio.folder / "crop" / "out")[name]


async def test_a_film_is_rendered_as_pictures(any_studio, make_session, tmp_path):
    session = make_session()
    await session.start(any_studio.info)
    spec = any_studio.spec("film_output")
    made = await render(
        session, spec, any_studio.workspace("film_output", tmp_path), tmp_path / "scratch", (2,)
    )
    assert list(made["main"]) == ["frame_0002.png"]


OPENGL = sorted(Path("/usr/lib").glob("*/libEGL.so*"))


async def test_eevee(studio, make_session, tmp_path):
    """Software OpenGL will do; where there is none at all, the probe says so, not this test."""
    if not OPENGL:
        pytest.skip("There is no OpenGL here: install libegl1 and libgl1-mesa-dri.")
    session = make_session()
    await session.start(studio.info)
    requires = Requirements(blender=studio.info.version, engine=studio.eevee)
    spec = studio.spec("eevee", requires=requires)
    made = await render(
        session, spec, studio.workspace("eevee", tmp_path), tmp_path / "scratch", (1, 2)
    )
    shutil.copytree(tmp_path / "scratch" / "home" / ".cache", studio.shaders, dirs_exist_ok=True)
    studio.direct("1,2,3", "eevee")
    expected = tree(studio.folder / "eevee" / "out")
    assert made["main"] == {name: expected[name] for name in ("frame_0001.png", "frame_0002.png")}


async def test_an_open_job_is_not_opened_again(studio, make_session, tmp_path):
    session = make_session()
    await session.start(studio.info)
    spec, workspace = studio.spec("linked"), studio.workspace("linked", tmp_path)
    kept = tmp_path / "job.py"
    first = await session.open(spec, workspace, kept)
    pid = session.pid
    await session.start(studio.info)
    again = await session.open(spec, workspace)
    assert first.seconds > 0
    assert again.seconds == 0
    assert session.pid == pid
    assert kept.read_text() == script.generate(spec)
    assert session.job == spec
    await session.leave()
    assert session.job is None
    assert session.pid == pid


async def test_roots_of_another_system(studio, make_session, tmp_path):
    """Windows folders in the job do not disturb a node that runs something else."""
    session = make_session()
    await session.start(studio.info)
    roots = (
        *studio.spec("linked").roots,
        SceneRoot(folder="D:\\Projects\\film", path="drive_d"),
    )
    spec = studio.spec("linked", roots=roots)
    report = await session.open(spec, studio.workspace("linked", tmp_path))
    assert report.warnings == ()
