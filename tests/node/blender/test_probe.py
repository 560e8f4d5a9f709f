"""What a Blender can do is found by trying, and films are made of frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from rendermill.node.blender import find
from rendermill.node.blender.attempt import AttemptFailed
from rendermill.node.blender.film import encode_film
from rendermill.node.blender.probe import ProbeFailed, probe
from rendermill.protocol.job import Capability
from rendermill.protocol.machine import BlenderInfo
from rendermill.protocol.messages import FailureKind

WHEEL = {
    Capability.OPENIMAGEDENOISE,
    Capability.OSL,
    Capability.ALEMBIC,
    Capability.USD,
    Capability.OPENVDB,
    Capability.FFMPEG,
}
"""What every wheel from PyPI has been seen to have."""


async def test_a_quick_look(any_studio, tmp_path):
    candidate = find.candidate_at(any_studio.python)
    answers = tmp_path / "answers.json"
    info = await probe(candidate, tmp_path, answers=answers, quick=True)
    assert info.version[:2] == any_studio.info.version[:2]
    assert info.is_module
    assert info.engines == ("CYCLES",)
    # The wheel of 4.2 is built without sound.
    sound = set() if info.version < (4, 5, 0) else {Capability.AUDASPACE}
    assert set(info.capabilities) == WHEEL | sound
    assert "no fluid" in " ".join(info.problems)
    assert not answers.exists()
    assert not list(tmp_path.glob("probe-*"))


async def test_every_engine_and_the_answers_kept(studio, tmp_path):
    candidate = find.candidate_at(studio.python)
    answers = tmp_path / "answers.json"
    if studio.shaders.exists():
        shutil.copytree(studio.shaders, tmp_path / "home" / ".cache")
    info = await probe(candidate, tmp_path, answers=answers)
    # Where OpenGL works all engines do, and where not, a sentence says so.
    missing = {"BLENDER_EEVEE_NEXT", "BLENDER_WORKBENCH"} - set(info.engines)
    assert (Capability.OPENGL in info.capabilities) == (len(missing) < 2)
    for engine in missing:
        assert any(problem.startswith(f"{engine} does not work") for problem in info.problems)
    assert "CYCLES" in info.engines
    # Asked again, it is not asked again: a scratch that cannot be made would say so.
    (tmp_path / "blocked").write_text("")
    assert await probe(candidate, tmp_path / "blocked", answers=answers, quick=True) == info
    answers.write_text('{"damaged')
    with pytest.raises(FileExistsError):
        await probe(candidate, tmp_path / "blocked", answers=answers, quick=True)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("blender", "exit 3", "run as a Blender.*exit code 3"),
        ("blender", "kill -SEGV $$", "SIGSEGV"),
        ("python", "echo No module named bpy >&2; exit 1", "import bpy.*No module named bpy"),
        ("blender", "exit 0", "run as a Blender"),
    ],
)
async def test_a_program_that_is_no_blender(tmp_path, name, text, words):
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    with pytest.raises(ProbeFailed, match=words):
        await probe(find.candidate_at(program), tmp_path / "scratch")


async def test_a_film(any_studio, tmp_path):
    frames = []
    for index in range(5):
        path = tmp_path / "frames" / f"shot_{index * 2:04}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (33, 18), (index * 50, 80, 200 - index * 40)).save(path)
        frames.append(path)
    target = tmp_path / "out" / "film.mp4"
    made = await encode_film(any_studio.info, frames, target, fps=25, scratch=tmp_path / "scratch")
    assert made == target
    said = any_studio.run("film", str(target))
    line = next(line for line in said.splitlines() if line.startswith("FILM"))
    assert line.split()[1:] == ["5", "32", "18", "25.0"]
    assert [path.name for path in target.parent.iterdir()] == ["film.mp4"]


async def test_a_film_of_what_is_no_picture(studio, tmp_path):
    broken = tmp_path / "broken_0001.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(AttemptFailed) as caught:
        await encode_film(
            studio.info, [broken], tmp_path / "film.mp4", fps=24, scratch=tmp_path / "scratch"
        )
    assert caught.value.kind is FailureKind.OUTPUT
    assert not (tmp_path / "film.mp4").exists()


async def test_a_film_that_cannot_be(tmp_path):
    info = BlenderInfo(version=(4, 5, 0), path="/nowhere", is_module=False)
    frame = tmp_path / "a.png"
    for frames, target, fps, words in (
        ([], "f.mp4", 24, "at least one frame"),
        ([frame], "f.avi", 24, "should end in .mp4"),
        ([frame], "f.mp4", 0, "frames a second"),
        ([frame, tmp_path / "b" / "a.png"], "f.mp4", 24, "one folder"),
    ):
        with pytest.raises(ValueError, match=words):
            await encode_film(info, frames, Path(target), fps=fps, scratch=tmp_path)
    with pytest.raises(AttemptFailed, match="no FFmpeg"):
        await encode_film(info, [frame], Path("f.mp4"), fps=24, scratch=tmp_path)
