"""Renders one frame exactly as Blender's own animation render would, name included."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import bpy

from . import problems, thumbnail
from .progress import Progress
from .scene import OpenJob, Refused, sentence


def render_frame(
    job: OpenJob, frame: int, output: str, report: Callable[[float, str], None]
) -> dict[str, Any]:
    """Render ``frame`` into the folders of the job's roots below ``output``.

    Returns ``seconds``, ``warnings``, ``silent`` (roots that Blender would not write to) and
    ``thumbnail`` (a picture of any size to make one from, or ""). Raises `Refused`.
    """
    started = time.perf_counter()
    job.redirect(output)
    with Progress(job.passes, report) as progress:
        try:
            _render(job, frame)
        except RuntimeError as error:
            raise Refused(f"Blender did not render the frame: {sentence(error)}") from error
    if "render_cancel" in progress.events:
        raise Refused("Blender cancelled the render by itself; its log says why.")
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "warnings": [*job.warnings, *problems.blocked_scripts()],
        "silent": job.silent_outputs,
        "thumbnail": thumbnail.save(job.scene, os.path.join(output, "thumbnail")),
        "stereo_3d": bool(
            job.scene.render.use_multiview
            and job.scene.render.image_settings.views_format == "STEREO_3D"
        ),
    }


def _render(job: OpenJob, frame: int) -> None:
    scene = job.scene
    if bpy.app.version >= (5, 0, 0):
        render: Any = bpy.ops.render.render
        render(animation=True, scene=scene.name, frame_start=frame, frame_end=frame)
    elif frame < 0 or job.range_is_read:
        _render_as_still(scene, frame)
    else:
        _render_as_range(scene, frame)


def _render_as_range(scene: Any, frame: int) -> None:
    """Before 5.0 an animation render takes its frames from the scene."""
    kept = scene.frame_start, scene.frame_end
    # The first setter pushes the other along, so it takes the order that ends right.
    scene.frame_start = frame
    scene.frame_end = frame
    try:
        bpy.ops.render.render(animation=True, scene=scene.name)
    finally:
        scene.frame_start, scene.frame_end = kept


def _render_as_still(scene: Any, frame: int) -> None:
    """Render a frame the range of the scene cannot hold, or whose scene reads that range.

    Blender 4.x clamps the range at 0. A still is the same picture under another name, so the
    name of the animation's file is worked out first; and it does not follow the cameras bound to
    markers, so the frame is set first.
    """
    render = scene.render
    kept = render.filepath
    path = render.frame_path(frame=frame)
    extension = render.file_extension if render.use_file_extension else ""
    scene.frame_set(frame)
    render.filepath = path[: len(path) - len(extension)] if extension else path
    try:
        bpy.ops.render.render(write_still=True, scene=scene.name)
    finally:
        render.filepath = kept
