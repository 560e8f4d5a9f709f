"""The packing script, run as the command line runs it: in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import headless
from rendermill.protocol.codec import from_plain
from rendermill.protocol.job import JobSpec

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

SCRIPT = Path(headless.__file__)


def pack(folder: Path, **params: Any) -> tuple[int, dict[str, Any]]:
    """Run the script from an empty folder; return exit code and result."""
    result = folder / "result.json"
    file = folder / "params.json"
    file.write_text(
        json.dumps({"folder": str(folder / "snapshot"), "result": str(result), **params}), "utf-8"
    )
    away = folder / "away"
    away.mkdir(exist_ok=True)
    process = subprocess.run(
        [sys.executable, str(SCRIPT), str(file)],
        cwd=away,
        env={**os.environ, "PYTHONNOUSERSITE": "1"},
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    answer = json.loads(result.read_text("utf-8")) if result.exists() else {}
    return process.returncode, answer or {"stderr": process.stderr}


def test_packs_a_scene(workshop: Any, cycles_scene: Any):
    image = bpy.data.images.load(str(workshop.png("textures/wööd.png")))
    image.use_fake_user = True
    blend = workshop.save("shots/scene.blend")
    before = blend.read_bytes()
    code, answer = pack(
        workshop.folder,
        blend=str(blend),
        frames="5-1:2, 9".replace("5-1:2", "1-5:2"),
        output=str(workshop.folder / "out/f_##"),
        priority=70,
        tags=["big"],
    )
    assert code == 0, answer
    captured = answer["captured"]
    spec = from_plain(captured["spec"], JobSpec)
    assert (spec.frames, spec.priority, spec.requires.tags) == ("1-5:2, 9", 70, ("big",))
    assert (spec.outputs[0].folder, spec.outputs[0].name) == (
        str(workshop.folder / "out"),
        "f_##",
    )
    assert captured["files"] == [
        {
            "source": str(workshop.folder / "snapshot/scene.blend"),
            "path": "scene/shots/scene.blend",
        },
        {
            "source": str(workshop.folder / "textures/wööd.png"),
            "path": "scene/textures/wööd.png",
        },
    ]
    assert captured["scratch"] == str(workshop.folder / "snapshot")
    assert (captured["missing"], answer["findings"]) == ([], [])
    assert blend.read_bytes() == before
    copy = workshop.folder / "snapshot/scene.blend"
    assert copy.read_bytes()[:7] == b"BLENDER"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"frames": "9-1"}, "runs backwards"),
        ({"scene": "Nowhere"}, 'There is no scene "Nowhere"'),
        ({"kind": "film"}, "There is no kind 'film'; choose one of animation, image."),
        ({"blend": "/nowhere/a.blend"}, "There is no file /nowhere/a.blend."),
    ],
)
def test_what_is_wrong_is_one_sentence(workshop: Any, params: dict[str, str], sentence: str):
    blend = workshop.save()
    code, answer = pack(workshop.folder, **{"blend": str(blend), **params})
    assert code == 1
    assert sentence in answer["error"]
    assert "\n" not in answer["error"]
    assert not (workshop.folder / "snapshot").exists()


def test_runs_as_a_script_of_a_blender_that_has_the_file_open(workshop: Any):
    """`blender -b SCENE --python headless.py -- PARAMS`: same interpreter, arguments after --."""
    blend = workshop.save()
    result = workshop.folder / "result.json"
    params = workshop.text(
        "params.json",
        json.dumps({"blend": str(blend), "folder": f"{workshop.folder}/s", "result": str(result)}),
    )
    program = (
        "import bpy, runpy, sys; "
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); "
        "bpy.context.scene.name = 'Opened'; "
        f"sys.argv = ['blender', '-b', sys.argv[1], '--python', 'x', '--', {str(params)!r}]; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    code = subprocess.run(
        [sys.executable, "-c", program, str(blend)], timeout=120, check=False, capture_output=True
    ).returncode
    assert code == 0
    # Opened a second time, it would have its old name again.
    assert json.loads(result.read_text("utf-8"))["captured"]["spec"]["scene"] == "Opened"


def test_a_file_that_is_no_scene(workshop: Any):
    code, answer = pack(workshop.folder, blend=str(workshop.text("broken.blend", "no scene")))
    assert code == 1
    assert "cannot open" in answer["error"]
    assert "broken.blend" in answer["error"]


def test_parameters_that_do_not_exist(workshop: Any):
    code, answer = pack(workshop.folder, blend=str(workshop.save()), colour="red")
    assert code == 2
    assert "There is no parameter 'colour'." in answer["stderr"]


def test_parameters_that_are_missing(workshop: Any):
    code, answer = pack(workshop.folder)
    assert code == 2
    assert "The parameter 'blend' is missing." in answer["stderr"]
