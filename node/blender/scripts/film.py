"""Entry: makes a film of numbered frames with the FFmpeg inside Blender, through its sequencer."""

from __future__ import annotations

import os
from typing import Any

import bpy

from . import compat  # pyright: ignore[reportAttributeAccessIssue]


def main(params: dict[str, Any]) -> int:
    """Encode ``params["frames"]``, paths in order, into ``params["target"]`` at ``fps``."""
    frames: list[str] = params["frames"]
    scene: Any = bpy.data.scenes.new("Film")
    if bpy.context.window is not None:
        bpy.context.window.scene = scene
    _set_output(scene, params["target"], params["fps"])
    width, height = _add_frames(scene, frames)
    # H.264 stores colour for blocks of 2 x 2 pixels: an odd last row or column is cut off.
    scene.render.resolution_x, scene.render.resolution_y = width // 2 * 2, height // 2 * 2
    scene.frame_start, scene.frame_end = 1, len(frames)
    bpy.ops.render.render(animation=True, scene=scene.name)
    return 0


def _set_output(scene: Any, target: str, fps: float) -> None:
    render = scene.render
    render.resolution_percentage = 100
    # 23.976 and its like are 24000 / 1001; everything else is a plain number.
    whole = round(fps)
    if abs(fps - whole) > 1e-6 and abs(fps * 1.001 - round(fps * 1.001)) < 1e-3:
        render.fps, render.fps_base = round(fps * 1.001), 1.001
    else:
        render.fps = max(1, whole)
        render.fps_base = max(1, whole) / fps
    render.filepath = target
    render.use_sequencer, render.use_compositing = True, False
    # The frames went through their scene's view transform when they were rendered.
    scene.view_settings.view_transform = "Standard"
    compat.set_image_format(render.image_settings, "FFMPEG")
    render.ffmpeg.format = "MPEG4"
    render.ffmpeg.codec = "H264"
    render.ffmpeg.constant_rate_factor = "HIGH"
    render.ffmpeg.ffmpeg_preset = "GOOD"
    render.ffmpeg.audio_codec = "NONE"


def _add_frames(scene: Any, frames: list[str]) -> tuple[int, int]:
    """Put the frames into one image strip; return the size of the first in pixels."""
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_image("Frames", frames[0], 1, 1, fit_method="ORIGINAL")
    for path in frames[1:]:
        strip.elements.append(os.path.basename(path))
    strip.frame_final_duration = len(frames)
    image = bpy.data.images.load(frames[0])
    width, height = image.size
    bpy.data.images.remove(image)
    return width, height
