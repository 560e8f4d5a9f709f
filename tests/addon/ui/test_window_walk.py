"""The add-on in a real Blender window: see `window_walk`, which runs inside it.

Needs a Blender with windows, which ``python3 scripts/real_blender.py`` fetches (``scripts/test.py``
does that by itself), and a virtual screen; without one of them the test says which and why. The
extension is built here, for the Python of that Blender, and installed as an artist would.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from ...local_farms import local_farm

ROOT = Path(__file__).resolve().parents[3]


def script(name: str) -> ModuleType:
    """Return a module of the folder ``scripts``, which is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module(name)


blender_window = script("blender_window")
real_blender = script("real_blender")

BLENDERS = real_blender.find()
WALK_SECONDS_MAX = 600
LEFT_SECONDS_MAX = 120
DONE_SECONDS_MAX = 240
LONG = [f"shot_{frame:03d}.png" for frame in range(1, 25)]
pytestmark = pytest.mark.timeout(4 * WALK_SECONDS_MAX)


def python_of(blender: Path) -> str:
    """Return the version of a Blender's Python: ``3.13``."""
    code = "import sys; print('PYTHON %d.%d' % sys.version_info[:2])"
    asked = subprocess.run(
        [blender, "-b", "--factory-startup", "--python-expr", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.search(r"PYTHON ([\d.]+)", asked.stdout)
    assert found is not None, asked.stdout
    return found[1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension's zip for this platform and the Pythons of the Blenders that are here."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "scripts/build_extension.py", "--platform", "linux-x64"]
    for version in sorted({python_of(blender) for blender in BLENDERS}):
        command += ["--python", version]
    made = subprocess.run(
        [*command, "--output", str(folder)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return next(folder.glob("*.zip"))


@pytest.fixture
def display() -> Iterator[str]:
    with blender_window.screen() as name:
        yield name


def processes_of(home: Path) -> list[str]:
    """Return the command lines of processes that live with this home, zombies aside."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RENDERMILL_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def end_all(home: Path) -> None:
    """Kill what a walk that went wrong has left behind."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RENDERMILL_HOME") == str(home):
                process.kill()


def wait_until_gone(home: Path) -> list[str]:
    end = time.monotonic() + LEFT_SECONDS_MAX
    while (left := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def wait_until_done(farm: Any, job: str) -> None:
    end = time.monotonic() + DONE_SECONDS_MAX
    while (view := farm.job(job))["state"] != "done":
        assert time.monotonic() < end, view
        time.sleep(0.2)


@pytest.mark.skipif(not BLENDERS, reason=real_blender.why_missing())
@pytest.mark.skipif(
    bool(blender_window.missing_program()), reason=blender_window.missing_program() or "-"
)
@pytest.mark.parametrize("blender", BLENDERS, ids=lambda path: path.parent.name)
def test_the_walk(blender: Path, archive: Path, display: str, tmp_path: Path) -> None:
    work, resources = tmp_path / "work", tmp_path / "resources"
    for folder in (work, resources):
        folder.mkdir()

    def walk(act: str, home: Path) -> dict[str, Any]:
        """Go through one act as the user of this home; return what it noted."""
        notes_file = tmp_path / "notes.json"
        notes_file.unlink(missing_ok=True)
        ended = blender_window.run(
            blender,
            Path(__file__).with_name("window_walk.py"),
            [act, archive, work, notes_file],
            display=display,
            environment=local_farm.environment_of(home)
            | {"BLENDER_USER_RESOURCES": str(resources)},
            seconds_max=WALK_SECONDS_MAX,
        )
        keep = os.environ.get("KEEP_PICTURES")
        if keep:
            shutil.copytree(work, Path(keep) / blender.parent.name / act, dirs_exist_ok=True)
        said = ended.said
        assert notes_file.is_file(), said
        notes: dict[str, Any] = json.loads(notes_file.read_text())
        assert notes.pop("finished", False), said
        # What panels, menus and handlers raise, Blender prints and goes on.
        assert "Traceback" not in said, said
        assert not re.search(r"(?m)^(?:Error|TypeError).*rendermill", said), said
        assert ended.code == 0, said
        return notes

    studio, shed = tmp_path / "farm" / "home", tmp_path / "shed" / "home"
    with local_farm.LocalFarm(tmp_path / "farm") as farm:
        farm.start_coordinator("--name", "Attic")
        farm.start_node("atlas", "--blender", str(blender))
        farm.wait_ready(["atlas"])

        notes = walk("first hour", studio)
        (job, scouts) = notes.pop("left")
        assert scouts == ["shot_001.png", "shot_013.png", "shot_024.png"]
        assert notes == {
            "installed": [["FINISHED"], True],
            "problem": "",
            "farm": "Attic",
            "not drawn: panel": [],
            "after escape": [0, 0],
            "not drawn: check": [],
            "repair": 'Use "Camera"',
            "repaired": True,
            "after dialog": 0,
            "submissions": ["done"],
            "files": [f"shot_{frame:03d}.png" for frame in range(1, 7)],
            "last job": True,
            "not drawn: delivered": [],
            "not drawn: scouts": [],
            "cancelled": True,
            "after load": [True, "connected", True],
        }

        assert walk("next morning", studio) == {
            "enabled": True,
            "problem": "",
            "farm": "Attic",
            "found": [job],
            "not drawn: twice": [],
            "not approved yet": 3,
            "files": LONG,
            "threads": [],
        }
    assert wait_until_gone(studio) == []

    # Nothing of this farm is started here: it is asked and told as its status page would.
    at_home = local_farm.LocalFarm(tmp_path / "shed")
    try:
        notes = walk("at home", shed)
        (job, node) = notes.pop("overnight")
        assert notes == {
            "alone": True,
            "not drawn: alone": [],
            "farm": ["Shed", ""],
            "node": ["running", True],
            "files": [f"shot_{frame:03d}.png" for frame in range(1, 7)],
            "off": True,
        }
        at_home.ask("POST", f"/api/v1/jobs/{job}/approve")
        wait_until_done(at_home, job)
        assert walk("at home again", shed) == {
            "went on": [node, True, True],
            "overnight": [job, LONG],
        }
        assert wait_until_gone(shed) == []
    finally:
        end_all(shed)
