"""Real Blenders, scenes made in them, and what they render when nobody stands between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from rendermill.node.blender.session import BlenderSession, SessionOptions
from rendermill.protocol.job import (
    Capability,
    FrameImage,
    JobKind,
    JobSpec,
    OutputRoot,
    Requirements,
    SceneRoot,
)
from rendermill.protocol.machine import BlenderInfo

SCENES = Path(__file__).with_name("scenes.py")
ENVIRONMENTS = Path(__file__).parents[3] / ".envs"
PYTHONS = {
    "4.5": Path(sys.executable),
    "4.2": ENVIRONMENTS / "bpy-4.2" / "bin" / "python",
    "5.0": ENVIRONMENTS / "bpy-5.0" / "bin" / "python",
    "5.2": ENVIRONMENTS / "bpy-5.2" / "bin" / "python",
}
BLENDER_SECONDS = 700
"""Before a Blender is given up; software OpenGL compiles shaders for a minute on quiet cores."""
VERSIONS = {"4.2": (4, 2, 23), "4.5": (4, 5, 15), "5.0": (5, 0, 1), "5.2": (5, 2, 3)}


@dataclass(frozen=True)
class Studio:
    """One Blender version and a fresh set of scenes made in it."""

    label: str
    python: Path
    folder: Path
    shaders: Path
    """Compiled shaders of a software OpenGL; compiling them twice takes most of a minute."""

    @property
    def info(self) -> BlenderInfo:
        return BlenderInfo(
            version=VERSIONS[self.label],
            path=str(self.python),
            is_module=True,
            capabilities=(Capability.FFMPEG,),
        )

    @property
    def eevee(self) -> str:
        return "BLENDER_EEVEE" if self.info.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.python), str(SCENES), *arguments],
            capture_output=True,
            text=True,
            timeout=BLENDER_SECONDS,
            check=False,
            env={**os.environ, "XDG_CACHE_HOME": str(self.shaders)},
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def direct(self, frames: str, *names: str) -> None:
        """Render scenes where they were made, each into its own output path."""
        self.run("direct", frames, *(str(self.folder / name / f"{name}.blend") for name in names))

    def spec(self, name: str, **changes: object) -> JobSpec:
        fields: dict[str, object] = {
            "name": name,
            "submitter": "artist@desk",
            "kind": JobKind.ANIMATION,
            "blend": f"scene/{name}.blend",
            "scene": "Scene",
            "frames": "1-3",
            "requires": Requirements(blender=VERSIONS[self.label], engine="CYCLES"),
            "roots": (SceneRoot(folder=str(self.folder / name), path="scene"),),
            "outputs": (output(),),
            "image": FrameImage(width=32, height=18, file_format="PNG"),
        }
        return JobSpec(**(fields | changes))  # type: ignore[arg-type]

    def workspace(self, name: str, folder: Path) -> Path:
        """Move the files of a scene to where a node would have put them."""
        target = folder / f"workspace-{name}"
        shutil.copytree(
            self.folder / name, target / "scene", ignore=shutil.ignore_patterns("out", "deep")
        )
        return target


def output(name: str = "frame_", **fields: str) -> OutputRoot:
    return OutputRoot(id="main", label="Render output", folder="/nowhere", name=name, **fields)


def _studio(label: str, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    python = PYTHONS[label]
    if not python.exists():
        pytest.skip(f"There is no environment with bpy {label} at {python}.")
    folder = tmp_path_factory.mktemp(f"studio-{label}")
    studio = Studio(label, python, folder / "artist", folder / "shaders")
    studio.folder.mkdir()
    studio.run("make", str(studio.folder))
    return studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """The Blender of this very environment."""
    return _studio("4.5", tmp_path_factory)


@pytest.fixture(scope="session", params=["4.2", "4.5", "5.0", "5.2"])
def any_studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """Every Blender version that is installed here."""
    return _studio(request.param, tmp_path_factory)


MakeSession = Callable[..., BlenderSession]


@pytest_asyncio.fixture
async def make_session(tmp_path: Path) -> AsyncIterator[MakeSession]:
    """Make sessions that leave nothing behind."""
    made: list[BlenderSession] = []

    def make(**options: object) -> BlenderSession:
        session = BlenderSession(
            tmp_path / "scratch",
            on_log=lambda _: None,
            options=SessionOptions(readable=(tmp_path,), **options),  # type: ignore[arg-type]
        )
        made.append(session)
        return session

    yield make
    for session in made:
        await session.close()
