"""One scene for every kind of file that a .blend can need; run inside a Blender, by a test.

    python FOLDER_OF_THIS make FOLDER [KIND ...]        build, render here, send to the farm
    python FOLDER_OF_THIS render FOLDER SOURCE TARGET   render the .blend files as they are

``make`` builds ``FOLDER/work/<kind>/shot.blend`` with its files around it, renders the one frame
that counts to ``FOLDER/here/<kind>.png`` and sends it with the operator. ``render`` makes
``FOLDER/TARGET/<kind>.png`` of what ``FOLDER/SOURCE/<kind>/shot.blend`` shows; ``FOLDER/jobs.json``
names the kinds. Each prints one line ``RESULT {json}``. Kinds that this Blender cannot make are
told with the reason.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# A Blender with a window of its own does not look for modules beside a script.
sys.path.insert(0, str(Path(__file__).parent))

import libraries
import pictures
import shapes
import simulations
from stage import CannotBeMade, Place

bpy: Any = importlib.import_module("bpy")

KINDS = (*pictures.KINDS, *shapes.KINDS, *libraries.KINDS, *simulations.KINDS)
ONLY_WHEN_NAMED = (pictures.colour_configuration,)
"""Of no use in a Blender that was not started for them."""


def render_to(picture: Path, frame: int) -> None:
    """Render one frame of the open scene to a PNG, as Blender would."""
    scene = bpy.context.scene
    first, last, path = scene.frame_start, scene.frame_end, scene.render.filepath
    scene.render.filepath = f"{picture.parent}/{picture.stem}_####"
    scene.frame_start = scene.frame_end = frame
    bpy.ops.render.render(animation=True)
    (picture.parent / f"{picture.stem}_{frame:04}.png").rename(picture)
    scene.frame_start, scene.frame_end, scene.render.filepath = first, last, path


def make(folder: Path, *kinds: str) -> dict[str, Any]:
    """Build the kinds named, or every one of `KINDS`; render each here, send it."""
    import rendermill
    from rendermill.addon.ui import pump
    from rendermill.addon.ui.farm_state import Link

    rendermill.register()
    pump.connect()
    while pump.state().link is not Link.CONNECTED:
        pump.drain()
        time.sleep(0.01)
    jobs: dict[str, Any] = {}
    cannot: dict[str, str] = {}
    failed: dict[str, str] = {}
    by_name = {build.__name__: build for build in (*KINDS, *ONLY_WHEN_NAMED)}
    for build in [by_name[kind] for kind in kinds] or KINDS:
        name = build.__name__
        place = Place(folder / "work" / name)
        try:
            frame = build(place)
            blend = Path(bpy.data.filepath)
            bpy.context.scene.frame_set(frame)
            bpy.ops.wm.save_mainfile(compress=False)
            bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
            render_to(folder / "here" / f"{name}.png", frame)
            bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
            result = bpy.ops.rendermill.render_image("EXEC_DEFAULT", deliver=False)
            assert result == {"FINISHED"}, result
        except CannotBeMade as error:
            cannot[name] = str(error)
        except Exception:  # noqa: BLE001 - told with the name of the kind
            failed[name] = traceback.format_exc()
        else:
            jobs[name] = {
                "job": bpy.context.window_manager.rendermill.last_job,
                "blend": str(blend.relative_to(folder / "work")),
                "frame": frame,
            }
    return {"jobs": jobs, "cannot": cannot, "failed": failed}


def render(folder: Path, source: str, target: str) -> dict[str, Any]:
    """Render each .blend in this Blender."""
    told = json.loads((folder / "jobs.json").read_text("utf-8"))
    (folder / target).mkdir()
    rendered: list[str] = []
    for name, about in told.items():
        try:
            bpy.ops.wm.open_mainfile(filepath=str(folder / source / about["blend"]), load_ui=False)
            render_to(folder / target / f"{name}.png", about["frame"])
        except RuntimeError:
            continue  # Blender itself says that it cannot: a difference too.
        rendered.append(name)
    return {"rendered": rendered}


def main() -> None:
    """Run what the command line names."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    what, folder = {"make": make, "render": render}[words[0]], Path(words[1])
    (folder / "here").mkdir(exist_ok=True)
    result = what(folder, *words[2:])
    sys.stdout.write(f"\nRESULT {json.dumps(result)}\n")
    sys.stdout.flush()
    # Blender as a module may crash or hang when the interpreter ends.
    os._exit(0)


if __name__ == "__main__":
    main()
