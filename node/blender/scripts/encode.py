"""Encodes the film of a job from its finished frames, as Blender would have while rendering.

The scene itself does it, with all its FFmpeg settings, its sound strips and its speakers: only the
picture is replaced. One image strip above all others holds the frames, which are read and written
without any change: what the film contains is what was rendered, bit for bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import bpy

from . import compat, problems  # pyright: ignore[reportAttributeAccessIssue]
from .scene import OpenJob, Refused, sentence

CHANNELS_MAX = 128
"""Of Blender's sequencer."""
INTERVAL_SECONDS = 0.25
"""Between two reports of progress, at least."""


def encode_film(
    job: OpenJob,
    pictures: list[tuple[int, str]],
    output: str,
    report: Callable[[float, str], None],
) -> dict[str, Any]:
    """Encode ``pictures``, (frame, path) in ascending order, into one file below ``output``.

    ``job`` was opened as its artist left it (`OpenJob` with ``film``), and is of no use afterwards.
    Returns ``seconds``, ``warnings`` and ``film``, the path. Raises `Refused`.
    """
    started = time.perf_counter()
    first, last = pictures[0][0], pictures[-1][0]
    scene = job.scene
    if not any(thing.type == "SPEAKER" for thing in scene.objects):
        _leave_out_what_is_silent(scene)
    _show_pictures(scene, pictures, job.spec["image"])
    step = pictures[1][0] - first if len(pictures) > 1 else 1
    _set_output(scene, os.path.join(output, "film"))
    with _Progress(len(pictures), report) as progress:
        try:
            _render(scene, first, last, step)
        except RuntimeError as error:
            raise Refused(f"Blender did not encode the film: {sentence(error)}") from error
    if progress.cancelled:
        raise Refused("Blender cancelled the encoding by itself; its log says why.")
    film = _only_file(output)
    _check(film, len(pictures), job.spec["image"])
    return {
        "seconds": time.perf_counter() - started,
        "warnings": [*job.warnings, *problems.blocked_scripts()],
        "film": film,
    }


def _leave_out_what_is_silent(scene: Any) -> None:
    """Without speakers the sequencer makes all the sound: no object has to be worked out."""
    for child in list(scene.collection.children):
        scene.collection.children.unlink(child)
    for thing in list(scene.collection.objects):
        scene.collection.objects.unlink(thing)
    if scene.rigidbody_world is not None:
        scene.rigidbody_world.enabled = False


def _show_pictures(scene: Any, pictures: list[tuple[int, str]], image: dict[str, Any]) -> None:
    """Put the frames into one image strip above all others, each at its frame."""
    editor = scene.sequence_editor or scene.sequence_editor_create()
    channel = max((strip.channel for strip in compat.top_strips(scene)), default=0) + 1
    if channel > CHANNELS_MAX:
        raise Refused(
            f"The sequencer uses its channel {CHANNELS_MAX}, which the pictures of the film need; "
            "move those strips down and submit the scene again."
        )
    first, path = pictures[0]
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_image("Film", path, channel, first, fit_method="ORIGINAL")
    names = dict(pictures)
    for frame in range(first + 1, pictures[-1][0] + 1):
        # Between the frames of a step nothing is rendered; the strip has to go on all the same.
        path = names.get(frame, path)
        strip.elements.append(os.path.basename(path))
    strip.frame_final_duration = pictures[-1][0] - first + 1
    strip.blend_type = "REPLACE"
    editor.channels[channel].mute = False
    is_linear = image["file_format"] == "OPEN_EXR"
    strip.alpha_mode = "PREMUL" if is_linear else "STRAIGHT"
    if not strip.colorspace_settings.name:
        raise Refused(f"Blender cannot read the picture of frame {first}.", "node")
    # The strip's own space: nothing is converted on the way into the sequencer or out of it.
    scene.sequencer_colorspace_settings.name = strip.colorspace_settings.name
    if not is_linear:
        _write_as_displayed(scene)


def _write_as_displayed(scene: Any) -> None:
    """The frames went through the view transform when they were rendered: now it does nothing."""
    settings = scene.render.image_settings
    settings.color_management = "FOLLOW_SCENE"
    if bpy.app.version < (4, 5, 0) and settings.color_mode == "BW":
        # There the films of a scene keep their colour, and those of a sequencer do not.
        settings.color_mode = "RGB"
    scene.display_settings.display_device = "sRGB"
    view = scene.view_settings
    view.view_transform = "Standard"
    view.look = "None"
    view.exposure, view.gamma = 0.0, 1.0
    view.use_curve_mapping = False
    if hasattr(view, "use_white_balance"):
        view.use_white_balance = False
    # Noise was added then, too.
    scene.render.dither_intensity = 0.0


def _set_output(scene: Any, path: str) -> None:
    render = scene.render
    render.filepath = path
    render.use_file_extension = True
    render.use_overwrite, render.use_placeholder = True, False
    render.use_sequencer, render.use_compositing = True, False
    render.use_multiview = False
    # Burnt in when the frames were rendered.
    render.use_stamp = False
    render.ffmpeg.use_autosplit = False


def _render(scene: Any, first: int, last: int, step: int) -> None:
    # The first setter pushes the other along, so it takes the order that ends right.
    scene.frame_start = first
    scene.frame_end = last
    scene.frame_step = step
    if bpy.app.version >= (5, 0, 0):
        render: Any = bpy.ops.render.render
        render(animation=True, scene=scene.name, frame_start=first, frame_end=last)
        return
    bpy.ops.render.render(animation=True, scene=scene.name)


def _only_file(output: str) -> str:
    names = sorted(os.listdir(output))
    if len(names) != 1:
        raise Refused(f"Blender made {len(names)} files and one film was to come.")
    return os.path.join(output, names[0])


def _check(film: str, frames: int, image: dict[str, Any]) -> None:
    """Read the film back. Raises `Refused` for one that is broken, cut short or of another size."""
    if os.path.getsize(film) == 0:
        raise Refused("Blender made an empty film.")
    try:
        clip: Any = bpy.data.movieclips.load(film)
    except RuntimeError as error:
        raise Refused(f"Blender cannot read its own film: {sentence(error)}") from error
    size, length = tuple(clip.size), clip.frame_duration
    bpy.data.movieclips.remove(clip)
    if size != (image["width"], image["height"]):
        raise Refused(
            f"The film has {size[0]} x {size[1]} pixels, and its frames have "
            f"{image['width']} x {image['height']}."
        )
    # More is no fault: where a container does not count frames, the end of the sound counts.
    if length < frames:
        raise Refused(f"The film has {length} frames, and {frames} were encoded.")


class _Progress:
    """Counts the frames that were encoded and tells how far the film is."""

    def __init__(self, frames: int, report: Callable[[float, str], None]) -> None:
        self._frames = frames
        self._report = report
        self._done = 0
        self._last = 0.0
        self.cancelled = False
        self._handlers = (("render_write", self._written), ("render_cancel", self._cancel))

    def __enter__(self) -> _Progress:
        self._report(0.0, "Encoding")
        for name, handler in self._handlers:
            getattr(bpy.app.handlers, name).append(handler)
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._handlers:
            handlers = getattr(bpy.app.handlers, name)
            if handler in handlers:
                handlers.remove(handler)

    def _written(self, *_: Any) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last >= INTERVAL_SECONDS:
            self._last = now
            text = f"Encoding frame {self._done}/{self._frames}"
            self._report(min(1.0, self._done / self._frames), text)

    def _cancel(self, *_: Any) -> None:
        self.cancelled = True
