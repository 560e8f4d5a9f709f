"""The steps of the demo that run with the demo's own Python: what an artist does, and the proof.

``demo.py`` starts each in a process of its own: one Blender per process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the step named on the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="One step of the demo.")
    steps = parser.add_subparsers(dest="step", required=True)
    press = steps.add_parser("press", help="open the scene and press the button")
    press.add_argument("blend", type=Path)
    press.add_argument("frames")
    render = steps.add_parser("render", help="render frames here, without the farm")
    render.add_argument("blend", type=Path)
    render.add_argument("folder", type=Path)
    render.add_argument("frames", type=int, nargs="+")
    compare = steps.add_parser("compare", help="compare pictures of two folders, pixel by pixel")
    compare.add_argument("farm", type=Path)
    compare.add_argument("local", type=Path)
    film = steps.add_parser("film", help="make a film of the frames in a folder")
    film.add_argument("frames", type=Path)
    film.add_argument("target", type=Path)
    film.add_argument("scratch", type=Path)
    film.add_argument("fps", type=float)
    options = parser.parse_args()
    if options.step == "press":
        return _leave(_press(options.blend, options.frames))
    if options.step == "render":
        return _leave(_render(options.blend, options.folder, options.frames))
    if options.step == "compare":
        return _compare(options.farm, options.local)
    return _film(options.frames, options.target, options.scratch, options.fps)


def _leave(code: int) -> int:
    """End a process that has Blender in it: some of its wheels crash or hang while they close."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _press(blend: Path, frames: str) -> int:
    """Open the scene, call the operator behind the button and stay until every frame is here."""
    import bpy
    import rendermill

    bpy.ops.wm.open_mainfile(filepath=str(blend))
    rendermill.register()
    operator: Any = getattr(bpy.ops, "rendermill").render_animation  # noqa: B009 - not in the stubs
    try:
        outcome: set[str] = operator(frames=frames, wait=True, deliver=True)
    except RuntimeError as error:
        # What the operator reports as an error reaches a script as this exception.
        print(str(error).strip(), file=sys.stderr)
        return 1
    return 0 if outcome == {"FINISHED"} else 1


def _render(blend: Path, folder: Path, frames: Sequence[int]) -> int:
    """Render frames in this process as anyone would, with the output beside the farm's."""
    import bpy

    bpy.ops.wm.open_mainfile(filepath=str(blend))
    scene: Any = bpy.context.scene
    scene.render.filepath = str(folder / Path(scene.render.filepath).parent.name / "mill_####")
    tree = scene.node_tree if bpy.app.version < (5, 0, 0) else scene.compositing_node_group
    for node in tree.nodes:
        if node.bl_idname == "CompositorNodeOutputFile":
            name = "base_path" if bpy.app.version < (5, 0, 0) else "directory"
            setattr(node, name, str(folder / Path(getattr(node, name)).name) + os.sep)
    for frame in frames:
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True)
        print(f"frame {frame}", flush=True)
    return 0


def _compare(farm: Path, local: Path) -> int:
    """Compare every picture below ``local`` with its twin below ``farm``; one JSON line each."""
    import numpy as np
    from PIL import Image

    pictures = sorted(local.rglob("*.png"))
    same = bool(pictures)
    for picture in pictures:
        name = picture.relative_to(local)
        with Image.open(picture) as here, Image.open(farm / name) as there:
            one, other = np.asarray(here), np.asarray(there)
        equal = one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())
        same = same and equal
        line: dict[str, Any] = {"picture": name.as_posix(), "identical": equal}
        if not equal and one.shape == other.shape:
            difference = np.abs(one.astype(int) - other.astype(int))
            line["pixels"] = int((difference.reshape(*one.shape[:2], -1).max(axis=2) > 0).sum())
            line["largest"] = int(difference.max())
        print(json.dumps(line), flush=True)
    return 0 if same else 1


def _film(frames: Path, target: Path, scratch: Path, fps: float) -> int:
    """Make ``target`` of the pictures in ``frames``, with the Blender of this Python."""
    from rendermill.node.blender.attempt import AttemptFailed
    from rendermill.node.blender.film import encode_film
    from rendermill.node.blender.find import Candidate
    from rendermill.node.blender.probe import ProbeFailed, probe

    pictures = sorted(frames.glob("*.png"))

    async def encode() -> None:
        candidate = Candidate(Path(sys.executable), is_module=True)
        blender = await probe(candidate, scratch, quick=True)
        await encode_film(blender, pictures, target, fps=fps, scratch=scratch)

    scratch.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(encode())
    except (AttemptFailed, ProbeFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
