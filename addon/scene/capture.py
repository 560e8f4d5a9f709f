"""The open scene as a job: what to render, which files it needs, where the frames belong.

Reads the open file and changes nothing in it. Whatever Blender itself reads from the .blend stays
in the .blend; the `JobSpec` holds only what the farm must know.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import bpy

from ... import __version__
from ...protocol.frames import FRAME_MAX, FRAME_MIN, format_frames, parse_frames
from ...protocol.job import (
    PRIORITY_NORMAL,
    FrameOrder,
    JobKind,
    JobSpec,
    Requirements,
)
from ...protocol.manifest import check_path
from ...protocol.scene import CapturedScene, MissingFile, SceneFile
from . import colours, needs, outputs
from .cache_frames import spans_of
from .dependencies import Dependencies, dependency_steps
from .snapshot import UNTITLED
from .steps import Steps, at_once, elsewhere
from .tree import Tree, plant


class CaptureError(ValueError):
    """The open scene cannot become a job; the message says why and what to do."""


def capture_steps(
    source: Any,
    *,
    kind: JobKind,
    frames: str | None = None,
    snapshot: Path | None = None,
    dependencies: Dependencies | None = None,
    name: str = "",
    priority: int = PRIORITY_NORMAL,
    order: FrameOrder = FrameOrder.FORWARD,
    trust_scripts: bool = False,
    tags: tuple[str, ...] = (),
    submitter: str = "",
    film_frames: bool = False,
    nodes: tuple[str, ...] = (),
    max_nodes: int = 0,
    scouts: bool = False,
) -> Steps[CapturedScene]:
    """Return the scene of ``source`` (a Scene, or a Context) as a job with all its files.

    ``frames`` is a range in the grammar of `protocol.frames`; without it an animation has the
    scene's frames and an image the current one. ``snapshot`` is the copy that travels (see
    `snapshot.save_snapshot`); without it the saved file itself travels, which lacks unsaved
    changes. ``film_frames``: of a film the frames are wanted, too. ``nodes``: ids of the nodes that
    may render it; none: any. ``max_nodes``, ``scouts``: as in `JobSpec`. ``dependencies`` may be
    found beforehand, with the `cache_frames.spans_of` the frames.

    Raises `CaptureError` and `protocol.frames.FrameRangeError`.
    """
    scene: Any = getattr(source, "scene", None) or source
    wanted = frame_numbers(scene, kind, frames)
    numbers = yield from _frames_left(scene, kind, wanted)
    blend = blend_path()
    if snapshot is None and not bpy.data.filepath:
        raise CaptureError("The file has never been saved, and there is no snapshot to send.")
    found = dependencies
    if found is None:
        found = Dependencies(spans_of(scene, numbers))
        yield from dependency_steps(found)
    tree, files, missing = yield from elsewhere(partial(_travelling, blend, snapshot, found))
    film = outputs.film(scene, numbers, film_frames) if kind is JobKind.ANIMATION else None
    capabilities = yield from needs.capability_steps(scene, makes_film=film is not None)
    warnings = list(found.warnings)
    if snapshot is None and bpy.data.is_dirty:
        warnings.append("The open file has changes that are not saved and will not be rendered.")
    spec = JobSpec(
        name=name or _job_name(scene),
        submitter=submitter or _submitter(),
        kind=kind,
        blend=_blend_place(tree, blend),
        scene=scene.name,
        frames=format_frames(numbers),
        requires=Requirements(
            blender=_blender_version(),
            engine=scene.render.engine,
            device=needs.device(scene),
            capabilities=capabilities,
            tags=tags,
            nodes=nodes,
        ),
        roots=tuple(tree.roots),
        outputs=outputs.output_roots(scene),
        image=outputs.frame_image(scene, film),
        view_layers=view_layers(scene),
        camera=scene.camera.name if scene.camera is not None else "",
        samples=needs.samples(scene),
        fps=scene.render.fps / scene.render.fps_base,
        overwrite=scene.render.use_overwrite,
        placeholders=scene.render.use_placeholder,
        trust_scripts=trust_scripts,
        film=film,
        priority=priority,
        order=order,
        max_nodes=max_nodes,
        scouts=scouts,
        colour_configuration=_colour_configuration(tree, found.colour_configuration),
        client=f"rendermill {__version__}, Blender {bpy.app.version_string}",
    )
    return CapturedScene(
        spec=spec,
        files=files,
        missing=missing,
        warnings=tuple(warnings),
        scratch=snapshot.parent if snapshot is not None else None,
        blend=blend if bpy.data.filepath else "",
        notes=_notes(found, len(wanted) - len(numbers)),
        placeholder=outputs.frame_pattern(scene) if scene.render.use_placeholder else "",
    )


capture = at_once(capture_steps)
"""`capture_steps` in one go: returns a `CapturedScene`."""


def _travelling(
    blend: str, snapshot: Path | None, found: Dependencies
) -> tuple[Tree, tuple[SceneFile, ...], tuple[MissingFile, ...]]:
    """Return where everything stands, the files that travel, and those that do not."""
    tree = plant(blend, found.files)
    _blend_place(tree, blend)
    files = _scene_files(tree, blend, snapshot, found)
    return tree, files, (*found.missing, *_refused(tree, found), *_twins(tree, blend, found))


def _colour_configuration(tree: Tree, configuration: str) -> str:
    """Return the configuration of this Blender as `JobSpec` names it."""
    if configuration.startswith(colours.BUILT_IN):
        return configuration
    # One with a name that cannot travel is among the missing files.
    return tree.places.get(configuration, "")


def _frames_left(scene: Any, kind: JobKind, frames: tuple[int, ...]) -> Steps[tuple[int, ...]]:
    """Return the frames that are rendered: without *Overwrite*, none that is there already."""
    if kind is not JobKind.ANIMATION or scene.render.use_overwrite:
        return frames
    paths = outputs.frame_paths(scene, frames)
    empty_too = scene.render.use_placeholder
    there = yield from elsewhere(lambda: outputs.frames_there(paths, empty_too=empty_too))
    left = tuple(frame for frame in frames if frame not in there)
    if not left:
        raise CaptureError(
            "All frames are in the output folder already, and Overwrite is off: there is nothing "
            "to render. Turn Overwrite on, or choose another folder."
        )
    return left


def _notes(found: Dependencies, frames_there: int) -> tuple[str, ...]:
    notes: list[str] = []
    files, kept = len(found.cache_files), found.cache_files_kept
    if kept < files:
        notes.append(
            f"Of {files} files of simulation caches {kept} are sent: what the frames of the job "
            f"need."
        )
    if frames_there:
        some = "1 frame is" if frames_there == 1 else f"{frames_there} frames are"
        notes.append(f"{some} in the output folder already, and not rendered: Overwrite is off.")
    return tuple(notes)


def frame_numbers(scene: Any, kind: JobKind, frames: str | None) -> tuple[int, ...]:
    """Return the frames to render, ascending. Raises `CaptureError` or `FrameRangeError`."""
    if frames is not None and frames.strip():
        return parse_frames(frames)
    if kind is JobKind.IMAGE:
        return (scene.frame_current,)
    if scene.frame_end < scene.frame_start:
        raise CaptureError(
            f"The frame range of the scene is empty: it starts at {scene.frame_start} and ends "
            f"at {scene.frame_end}."
        )
    first, last = max(scene.frame_start, FRAME_MIN), min(scene.frame_end, FRAME_MAX)
    # Through the grammar, so that its limits hold here too.
    return parse_frames(f"{first}-{last}:{scene.frame_step}")


def blend_path() -> str:
    """Return where the open file lies, or where an unsaved one would if it lay alone."""
    if bpy.data.filepath:
        return os.path.normpath(bpy.data.filepath)
    # No relative path can lead anywhere from an unsaved file, so any place does; Blender itself
    # resolves them against the folder it was started in.
    return os.path.join(os.getcwd(), UNTITLED)


def view_layers(scene: Any) -> tuple[str, ...]:
    """Return the names of the view layers that are rendered."""
    return tuple(layer.name for layer in scene.view_layers if layer.use)


def _blender_version() -> tuple[int, int, int]:
    major, minor, patch = bpy.app.version
    return major, minor, patch


def _job_name(scene: Any) -> str:
    stem = Path(blend_path()).stem
    return stem if len(bpy.data.scenes) == 1 else f"{stem} ({scene.name})"


def _submitter() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _blend_place(tree: Tree, blend: str) -> str:
    if blend in tree.refused:
        raise CaptureError(
            f"{tree.refused[blend]} Save the .blend under a name and in a folder that Windows, "
            f"macOS and Linux all accept."
        )
    return check_path(tree.places[blend])


def _scene_files(
    tree: Tree, blend: str, snapshot: Path | None, found: Dependencies
) -> tuple[SceneFile, ...]:
    files = [SceneFile(snapshot or Path(blend), tree.places[blend])]
    taken = {tree.places[blend].casefold()}
    for path in found.files:
        place = tree.places.get(path)
        # Two spellings of one file: the first one stands for both, a node finds it by case.
        if place is not None and place.casefold() not in taken:
            taken.add(place.casefold())
            files.append(SceneFile(Path(path), place))
    return tuple(files)


def _twins(tree: Tree, blend: str, found: Dependencies) -> Iterator[MissingFile]:
    """Yield the files that cannot travel because another one has the same name but for case."""
    first = {tree.places[blend].casefold(): blend}
    for path, user in found.files.items():
        place = tree.places.get(path)
        other = path if place is None else first.setdefault(place.casefold(), path)
        if other != path and not _is_same_file(path, other):
            yield MissingFile(Path(path), user)


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _refused(tree: Tree, found: Dependencies) -> tuple[MissingFile, ...]:
    return tuple(
        MissingFile(Path(path), found.files[path]) for path in tree.refused if path in found.files
    )
