"""The extension zip as a user gets it: installed in each Blender, its operator pressed for real.

Each Blender sees only what a real one brings (numpy, requests, zstandard and what they need); all
else must come out of the zip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".envs"

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or os.uname().machine != "x86_64",
        reason="builds and installs the zip for linux-x64",
    ),
    pytest.mark.timeout(2000),
]

BLENDER_BRINGS = (
    "bpy",
    "numpy",
    "numpy.libs",
    "requests",
    "urllib3",
    "idna",
    "certifi",
    "charset_normalizer",
    "zstandard",
)

IN_BLENDER = textwrap.dedent(
    """
    import json, os, site, sys
    shelf, zip_path, scene_folder = sys.argv[1:]
    sys.path.append(shelf)
    # Where Blender asks for its own packages, to put those of extensions before them.
    site.getsitepackages = lambda: [shelf]
    import bpy  # first: it makes the other importable
    import addon_utils

    addon_utils.enable("bl_pkg", default_set=True)
    bpy.ops.extensions.package_install_files(
        filepath=zip_path, repo="user_default", enable_on_install=True
    )
    name = "bl_ext.user_default.rendermill"
    report = {"enabled": name in bpy.context.preferences.addons.keys()}
    report["operator"] = hasattr(bpy.types, "RENDERMILL_OT_render_animation")

    import aiohttp, alembic, cryptography, msgpack, msgspec, PIL, psutil, rich, sqlalchemy, zeroconf
    modules = (aiohttp, alembic, cryptography, msgpack, msgspec, PIL, psutil, rich, sqlalchemy)
    report["wheels"] = {m.__name__: m.__file__ for m in (*modules, zeroconf)}

    # The coordinator and the node travel in the same zip: they must load as well.
    import importlib
    for part in ("commands", "coordinator.app", "node.daemon"):
        importlib.import_module(name + "." + part)

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    addon_utils.enable(name)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.render.filepath = os.path.join(scene_folder, "frames", "cube_")
    bpy.ops.wm.save_as_mainfile(filepath=os.path.join(scene_folder, "cube.blend"))
    outcome = bpy.ops.rendermill.render_animation(frames="1-3", deliver=False)
    report["outcome"] = sorted(outcome)

    module = sys.modules[name]
    addon_utils.disable(name)
    report["left"] = hasattr(bpy.types, "RENDERMILL_OT_render_animation")
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)
    """
)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this platform, made by the script."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "scripts/build_extension.py", "--platform", "linux-x64"]
    answer = subprocess.run(
        [*command, "--output", str(folder)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (made,) = folder.glob("*.zip")
    return made


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A live coordinator with a home of its own; its variables for whoever wants in."""
    variables = {**os.environ, "RENDERMILL_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "rendermill", "coordinator", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"], env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line, "the coordinator did not start"
            yield {**variables, "URL": json.loads(line)["url"]}
        finally:
            process.terminate()
            assert process.wait(120) == 0


def test_only_what_belongs_in_it_travels(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        names = set(archive.namelist())
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "protocol/job.py"} <= names
    assert any(name.endswith(".html") for name in names), "the status page"
    roots = {name.split("/")[0] for name in names}
    assert roots.isdisjoint({"tests", "scripts", "docs", "requirements", ".envs", ".git", "dist"})
    for python in ("cp311", "cp313"):
        assert any(f"-{python}-" in name for name in names if name.startswith("wheels/aiohttp"))


@pytest.mark.parametrize("environment", ["bpy-4.2", "dev", "bpy-5.0", "bpy-5.2"])
def test_it_installs_and_its_operator_sends_a_job(
    environment: str, extension: Path, coordinator: dict[str, str], tmp_path: Path
) -> None:
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python.parent.parent} has not been made; scripts/test.py makes it")
    (packages,) = (ENVIRONMENTS / environment / "lib").glob("python*/site-packages")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in BLENDER_BRINGS:
        if (packages / name).exists():
            (shelf / name).symlink_to(packages / name)
    resources, scene = tmp_path / "resources", tmp_path / "scene"
    resources.mkdir()
    scene.mkdir()
    script = tmp_path / "in_blender.py"
    script.write_text(IN_BLENDER)
    # -I and -S: neither this folder nor the environment's packages are on the path.
    answer = subprocess.run(
        [str(python), "-I", "-S", str(script), str(shelf), str(extension), str(scene)],
        env={**coordinator, "BLENDER_USER_RESOURCES": str(resources)},
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, answer.stdout[-3000:] + answer.stderr[-3000:]
    report = json.loads(lines[0].removeprefix("REPORT "))
    assert report["enabled"]
    assert report["operator"]
    outside = {name: at for name, at in report["wheels"].items() if str(resources) not in at}
    assert outside == {}, "not from the zip"
    assert report["outcome"] == ["FINISHED"]
    assert not report["left"], "unregister left the operator behind"
    assert _frames_of_the_only_job(coordinator) == "1-3"


def _frames_of_the_only_job(coordinator: dict[str, str]) -> str:
    local = Path(coordinator["RENDERMILL_HOME"], "config", "local.json").read_text()
    request = urllib.request.Request(
        coordinator["URL"] + "/api/v1/jobs",
        headers={"Authorization": f"Bearer {json.loads(local)['token']}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        (job,) = json.load(answer)["jobs"]
    return job["frames"]
