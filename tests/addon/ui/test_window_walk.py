"""The add-on in a real Blender window: see `window_walk`, which runs inside it.

Needs a Blender with windows, a virtual screen, and the built extension for its wheels; without
one of them the test says which and how to get it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT, load_local_farm

_BLENDERS = sorted(Path("/opt").glob("real-blender-*/blender"))
_TOOLS = ("xvfb-run", "import")
_PICTURES = ("panel", "dialog", "sending", "delivered", "menu", "preferences")
_PACKAGE_PARTS = (
    "__init__.py",
    "blender_manifest.toml",
    "addon",
    "commands",
    "coordinator",
    "node",
    "protocol",
    "wire",
)


def python_of(blender: Path) -> str:
    """The Python of a Blender, as wheels name it: ``cp313``."""
    code = "import sys; print('PYTHON cp%d%d' % sys.version_info[:2])"
    asked = subprocess.run(
        [blender, "-b", "--factory-startup", "--python-expr", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"PYTHON (cp\d+)", asked.stdout)
    assert found is not None, asked.stdout
    return found[1]


def unpack_wheels(archive: Path, python: str, folder: Path) -> bool:
    """Unpack the wheels of the extension for one Python; False when it has none for it."""
    with zipfile.ZipFile(archive) as extension:
        wheels = [name for name in extension.namelist() if name.endswith(".whl")]
        fitting = [name for name in wheels if re.search(rf"-({python}|py3|cp3\d+-abi3)\b", name)]
        if not any(f"-{python}-" in name for name in fitting):
            return False
        for name in fitting:
            with extension.open(name) as data, zipfile.ZipFile(data) as wheel:
                wheel.extractall(folder)
    return True


@pytest.mark.parametrize("blender", _BLENDERS or [None], ids=lambda b: b and b.parent.name)
def test_the_walk(blender: Path | None, tmp_path: Path):
    if blender is None:
        pytest.skip("No Blender with windows in /opt/real-blender-*.")
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"{lacking[0]} is missing; run: apt-get install -y xvfb imagemagick")
    archives = sorted((ROOT / "dist").glob("rendermill-*-linux-x64.zip"))
    if not archives:
        pytest.skip("The extension is not built; run: python3 scripts/build_extension.py")
    site = tmp_path / "site"
    python = python_of(blender)
    if not unpack_wheels(archives[-1], python, site):
        pytest.skip(f"The extension was built without wheels for {python}.")

    # A live checkout, linked into Blender: what is tested is what lies here now.
    installed = tmp_path / "resources" / "extensions" / "user_default" / "rendermill"
    installed.mkdir(parents=True)
    for part in _PACKAGE_PARTS:
        (installed / part).symlink_to(ROOT / part)
    work, notes_file = tmp_path / "work", tmp_path / "notes.json"
    work.mkdir()
    module = load_local_farm()
    with module.LocalFarm(tmp_path / "farm") as farm:
        farm.start_coordinator("--name", "Attic")
        farm.start_node("atlas", "--blender", str(blender))
        farm.wait_ready(["atlas"])
        environment = farm.environment | {
            "BLENDER_USER_RESOURCES": str(tmp_path / "resources"),
            "PYTHONPATH": str(site),
            "LC_ALL": "C.UTF-8",
        }
        environment.pop("DISPLAY", None)
        walked = subprocess.run(
            [
                *("xvfb-run", "-a", "-s", "-screen 0 1600x900x24", str(blender)),
                *("--python-use-system-env", "--enable-event-simulate"),
                *("--window-geometry", "0", "0", "1600", "900"),
                *("-P", str(Path(__file__).with_name("window_walk.py"))),
                *("--", str(work), str(notes_file)),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        said = walked.stdout + walked.stderr
        assert notes_file.is_file(), said
        notes = json.loads(notes_file.read_text())
        assert notes.pop("finished", False), said + farm.members["atlas"].log_tail()
    assert notes == {
        "problem": "",
        "farm": "Attic",
        "after escape": [0, 0],
        "after dialog": 0,
        "submissions": ["done"],
        "files": [f"shot_{frame:03d}.png" for frame in range(1, 7)],
        "last job": True,
        "after load": [True, "connected", True],
        "threads": [],
    }
    # What panels, menus and handlers raise, Blender prints and goes on.
    assert "Traceback" not in said, said
    assert "rendermill" not in "\n".join(re.findall(r"(?m)^(?:Error|TypeError).*$", said)), said
    for name in _PICTURES:
        assert (work / f"{name}.png").stat().st_size > 0
    keep = os.environ.get("KEEP_PICTURES")
    if keep:
        shutil.copytree(work, Path(keep) / blender.parent.name, dirs_exist_ok=True)
