"""A film encoded from its frames is the film that Blender encodes while it renders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from rendermill.node.blender.attempt import AttemptFailed
from rendermill.node.blender.session import BlenderSession
from rendermill.protocol.frames import FILM_FRAME, parse_frames
from rendermill.protocol.job import (
    Film,
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo

from .conftest import PYTHONS, VERSIONS

SCENES = Path(__file__).with_name("film_scenes.py")
BLENDER_SECONDS = 300


@dataclass(frozen=True)
class FilmStudio:
    """A Blender in which films are made directly, and the folder they lie in."""

    label: str
    folder: Path

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [str(PYTHONS[self.label]), str(SCENES), *words],
            capture_output=True,
            text=True,
            timeout=BLENDER_SECONDS,
            check=False,
            env={**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def has_sound(self) -> bool:
        """The wheel of 4.2 is built without any."""
        return self.label != "4.2"

    @property
    def info(self) -> BlenderInfo:
        return BlenderInfo(
            version=VERSIONS[self.label], path=str(PYTHONS[self.label]), is_module=True
        )

    def make(self, kind: str) -> str:
        """Make the scene of that kind, and a copy for the node; return the film's name."""
        said = self.run("make", str(self.folder / "artist"), kind)
        shutil.copytree(self.folder / "artist", self.folder / "workspace" / "scene")
        return next(line for line in said.splitlines() if line.startswith("NAME "))[5:]

    def render_directly(self) -> Path:
        """What the artist's own Blender makes."""
        self.run("direct", str(self.folder / "artist" / "film.blend"))
        (film,) = (self.folder / "artist" / "out").iterdir()
        return film

    def decode(self, film: Path, *, sound: bool) -> dict[str, object]:
        """Return hashes of every picture and of the sound, the size and the rate."""
        heard = "sound" if sound and self.has_sound else "silent"
        said = self.run("decode", str(self.folder / f"decoded-{film.name}"), str(film), heard)
        line = next(line for line in said.splitlines() if line.startswith("DECODED "))
        return json.loads(line[8:])

    def spec(self, name: str, frames: str, file_format: str) -> JobSpec:
        return JobSpec(
            name="film",
            submitter="artist@desk",
            kind=JobKind.ANIMATION,
            blend="scene/film.blend",
            scene="Scene",
            frames=frames,
            requires=Requirements(blender=VERSIONS[self.label], engine="CYCLES"),
            roots=(SceneRoot(folder=str(self.folder / "artist"), path="scene"),),
            outputs=(OutputRoot(id="main", label="Render output", folder="/no", name="f_"),),
            image=FrameImage(width=32, height=32, file_format=file_format),
            film=Film(name=name, folder="/no", fps=24.0),
        )


def film_studio(label: str, folder: Path) -> FilmStudio:
    if not PYTHONS[label].exists():
        pytest.skip(f"There is no environment with bpy {label} at {PYTHONS[label]}.")
    return FilmStudio(label, folder)


async def encode(studio: FilmStudio, session: BlenderSession, spec: JobSpec) -> Path:
    """Render every frame as a node does, then the film; return it."""
    scratch = studio.folder / "scratch"
    workspace = studio.folder / "workspace"
    frames = scratch / "frames"
    frames.mkdir(parents=True)
    await session.start(studio.info)
    await session.open(spec, workspace)
    pictures: list[tuple[int, Path]] = []
    for number in parse_frames(spec.frames):
        rendered = await session.render(number, scratch / f"output-{number}")
        path = frames / f"{number}{rendered.files[0].source.suffix}"
        shutil.move(rendered.files[0].source, path)
        pictures.append((number, path))
    told: list[float] = []
    made = await session.encode(
        spec, workspace, pictures, scratch / "film-1", lambda fraction, _: told.append(fraction)
    )
    assert made.frame == FILM_FRAME
    assert told == sorted(told)
    assert made.warnings == ()
    (file,) = made.files
    assert spec.film is not None
    assert (file.root, file.path) == ("main", spec.film.name)
    return file.source


CASES = [
    # kind, frames, format of the frames, whether there is sound in the film
    pytest.param("4.5", "stamped", "2-8:3", "PNG", True, id="4.5-stamp-look-dither-step"),
    pytest.param("4.5", "alpha", "1-10", "PNG", True, id="4.5-ffv1-alpha-flac"),
    pytest.param("4.5", "animation", "1-10", "PNG", True, id="4.5-qtrle-alpha-speaker"),
    pytest.param("4.5", "deep", "1-10", "OPEN_EXR", True, id="4.5-prores-10-bits"),
    pytest.param("4.5", "sequenced", "1-10", "PNG", True, id="4.5-sequencer"),
    pytest.param("4.2", "stamped", "2-8:3", "PNG", True, id="4.2-stamp-look-dither-step"),
    pytest.param("4.2", "grey", "1-10", "PNG", False, id="4.2-grey"),
    pytest.param("5.0", "stamped", "2-8:3", "PNG", True, id="5.0-stamp-look-dither-step"),
    pytest.param("5.0", "deep", "1-10", "OPEN_EXR", True, id="5.0-prores-10-bits"),
    pytest.param("5.2", "stamped", "2-8:3", "PNG", True, id="5.2-stamp-look-dither-step"),
]


@pytest.mark.parametrize(("label", "kind", "frames", "file_format", "sound"), CASES)
async def test_it_is_the_film_that_blender_makes(
    label, kind, frames, file_format, sound, make_session, tmp_path
):
    """Every picture and every sample of sound; codecs that keep what they are given."""
    studio = film_studio(label, tmp_path)
    name = studio.make(kind)
    direct = studio.render_directly()
    film = await encode(studio, make_session(), studio.spec(name, frames, file_format))
    assert direct.name == name
    assert film.suffix == direct.suffix
    wanted = studio.decode(direct, sound=sound)
    assert studio.decode(film, sound=sound) == wanted
    pictures = wanted["pictures"]
    assert isinstance(pictures, list)
    assert len(pictures) >= len(parse_frames(frames))
    assert (wanted["sound"] is not None) == (sound and studio.has_sound)


@pytest.mark.parametrize("label", ["4.2", "4.5", "5.0", "5.2"])
async def test_h264_in_mp4(label, make_session, tmp_path):
    """The same streams; its pictures may differ in Blender itself from one run to the next."""
    studio = film_studio(label, tmp_path)
    name = studio.make("h264")
    session = make_session()
    film = await encode(studio, session, studio.spec(name, "3-9", "PNG"))
    seen = studio.decode(film, sound=True)
    assert isinstance(seen["pictures"], list)
    assert len(seen["pictures"]) == 7
    assert (seen["size"], seen["fps"]) == ([32, 32], 24.0)
    assert (seen["sound"] is not None) == studio.has_sound
    # The Blender goes on, and renders frames of the same job again.
    spec = studio.spec(name, "3-9", "PNG")
    await session.open(spec, tmp_path / "workspace")
    await session.render(4, tmp_path / "scratch" / "again")


async def test_a_film_of_what_is_no_picture(make_session, tmp_path):
    studio = film_studio("4.5", tmp_path)
    spec = studio.spec(studio.make("h264"), "1-2", "PNG")
    session = make_session()
    await session.start(studio.info)
    broken = [(number, tmp_path / "scratch" / f"{number}.png") for number in (1, 2)]
    for _, path in broken:
        path.write_bytes(b"no picture")
    with pytest.raises(AttemptFailed, match="cannot read the picture of frame 1"):
        await session.encode(spec, tmp_path / "workspace", broken, tmp_path / "scratch" / "film-1")


async def test_the_sequencers_last_channel_is_needed(make_session, tmp_path):
    studio = film_studio("4.5", tmp_path)
    spec = studio.spec(studio.make("full"), "1-1", "PNG")
    session = make_session()
    await session.start(studio.info)
    await session.open(spec, tmp_path / "workspace")
    made = await session.render(1, tmp_path / "scratch" / "one")
    picture = [(1, made.files[0].source)]
    with pytest.raises(AttemptFailed, match="channel 128"):
        await session.encode(spec, tmp_path / "workspace", picture, tmp_path / "scratch" / "film")
