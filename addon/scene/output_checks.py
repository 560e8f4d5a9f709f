"""What is wrong with where frames go and what they are called."""

# ruff: noqa: ARG001 - every check takes the same two arguments, whichever it needs

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bpy

from ...protocol.frames import parse_frames
from ...protocol.job import JobKind
from ...protocol.manifest import PART_MAX_BYTES
from ...protocol.scene import CapturedScene
from . import compat, needs, outputs, repairs
from .findings import Finding, Findings, Repair, Severity, listed
from .paths import is_absolute, is_windows_absolute
from .steps import elsewhere

_NAME_ROOM_BYTES = 40
"""What writing a file beside its place adds to its name."""


def check_output_writable(scene: Any, captured: CapturedScene) -> Findings:
    """Frames must be able to land where the scene says."""
    foreign = _foreign_outputs(scene)
    roots = captured.spec.outputs
    there = yield from elsewhere(lambda: [_why_not_writable(Path(r.folder)) for r in roots])
    for root, reason in zip(roots, there, strict=True):
        folder = Path(root.folder)
        repair = repairs.render_beside_file(scene, root.owner, root.node)
        if (root.owner, root.node) in foreign:
            yield Finding(
                Severity.ERROR,
                f"{root.label} goes to {foreign[root.owner, root.node]}, a path of Windows.",
                f"Here it would become a folder of that name in {folder}.",
                "Choose a folder of this computer.",
                id="output",
                repair=repair,
            )
            continue
        if reason:
            yield Finding(
                Severity.ERROR,
                f"{root.label} goes to {folder}, where no file can be made.",
                reason,
                "Choose another output folder.",
                id="output",
                repair=repair,
            )


def _why_not_writable(folder: Path) -> str:
    """Return why no file can be made in a folder or, where it is none yet, above; '' if one can."""
    existing = next((part for part in (folder, *folder.parents) if part.exists()), None)
    if existing is not None and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return ""
    if existing is None or existing != folder:
        return f"{existing or folder.anchor} cannot be written to."
    return "It is a file." if existing.is_file() else "It cannot be written to."


def _foreign_outputs(scene: Any) -> dict[tuple[str, str], str]:
    """Return (owner, node) -> path of the outputs that lead to a drive of another system."""
    if os.name == "nt":
        return {}
    values = {("", ""): scene.render.filepath}
    for owner, node in outputs.file_output_nodes(scene):
        values[owner, node.name] = compat.file_output_folder(node)
    return {key: value for key, value in values.items() if is_windows_absolute(value)}


def check_output_names(scene: Any, captured: CapturedScene) -> Findings:
    """Names that are too long for a disk."""
    frames = parse_frames(captured.spec.frames)
    for path, label in outputs.expected_files(scene, frames[-1]):
        name = os.path.basename(path)
        if len(os.fsencode(name)) > PART_MAX_BYTES - _NAME_ROOM_BYTES:
            yield Finding(
                Severity.ERROR,
                f"{label} writes {name[:40]}..., a name of {len(os.fsencode(name))} bytes.",
                f"File systems end at {PART_MAX_BYTES}, and a file that is on its way needs "
                f"{_NAME_ROOM_BYTES} more.",
                "Choose a shorter name.",
                id="long_name",
            )


def check_output_path(scene: Any, captured: CapturedScene) -> Findings:
    """Blender itself must be able to read the templates of the output path."""
    if not compat.has_path_templates() or "{" not in scene.render.filepath:
        return
    try:
        scene.render.frame_path(frame=scene.frame_current)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].lstrip("- ")
        yield Finding(
            Severity.FATAL,
            f"Blender cannot read the output path {scene.render.filepath!r}.",
            reason,
            "Correct the part in braces.",
            id="output_template",
        )


def check_same_names(scene: Any, captured: CapturedScene) -> Findings:
    """Two outputs that write the same files would leave only one of them."""
    writers: dict[str, str] = {}
    frame = parse_frames(captured.spec.frames)[0]
    for path, label in outputs.expected_files(scene, frame):
        other = writers.setdefault(os.path.normcase(path), label)
        if other != label:
            yield Finding(
                Severity.ERROR,
                f"{other} and {label} both write {path}.",
                "Only one of the files would remain.",
                "Give one of them another folder or name.",
                id="same_output",
            )


def check_shared_names(scene: Any, captured: CapturedScene) -> Findings:
    """Another scene of the file that writes the same files, should it be rendered too."""
    frame = parse_frames(captured.spec.frames)[0]
    mine = {os.path.normcase(path): path for path, _ in outputs.expected_files(scene, frame)}
    parts = needs.rendered_scenes(scene)
    shared: dict[str, str] = {}
    for other in bpy.data.scenes:
        # A scene that is a part of this one, or that nobody could render, writes nothing.
        if other in parts or (other.camera is None and not compat.renders_sequencer(other)):
            continue
        theirs = {os.path.normcase(path) for path, _ in outputs.expected_files(other, frame)}
        both = sorted(mine.keys() & theirs)
        if both:
            shared[other.name] = mine[both[0]]
    if shared:
        names = listed([f'"{name}"' for name in sorted(shared)])
        yield Finding(
            Severity.WARNING,
            f'The scene "{scene.name}" writes {next(iter(shared.values()))}, and so does {names}.',
            "Where both are on the farm, the frames of one would replace those of the other, or be "
            "kept back.",
            "Give each scene an output folder or a name of its own.",
            id="shared_names",
            repair=repairs.folder_of_its_own(scene),
        )


def check_absolute_outputs(scene: Any, captured: CapturedScene) -> Findings:
    """File Output nodes that write to one place of this computer, wherever the file lies."""
    found: list[tuple[str, str, Repair | None]] = []
    for owner, node in outputs.file_output_nodes(scene):
        value = compat.file_output_folder(node)
        if not is_absolute(value) or (os.name != "nt" and is_windows_absolute(value)):
            continue
        folder, _ = outputs.node_output(node)
        repair = repairs.make_output_relative(scene, owner, node.name)
        found.append((node.label or node.name, folder, repair))
    there = yield from elsewhere(lambda: [os.path.isdir(folder) for _, folder, _ in found])
    for (name, folder, repair), is_there in zip(found, there, strict=True):
        yield Finding(
            Severity.INFO if is_there else Severity.WARNING,
            f'The File Output node "{name}" writes to {folder}'
            + ("." if is_there else ", which is not there yet."),
            "Nodes do not write there themselves: its files are brought to that folder of this "
            "computer with the frames, wherever the .blend is moved to.",
            "Make the path relative to the file.",
            id="absolute_output",
            repair=repair,
        )


def check_film(scene: Any, captured: CapturedScene) -> Findings:
    """Say what becomes of a video: a film that a node encodes, or pictures."""
    if not outputs.writes_film(scene):
        return
    image, film = captured.spec.image.file_format, captured.spec.film
    if captured.spec.kind is JobKind.IMAGE:
        yield Finding(
            Severity.INFO, f"The output is a video; the image is sent as {image}.", id="video"
        )
        return
    if film is None:
        yield Finding(
            Severity.WARNING,
            f"The output is a video, and its frames come as {image} without a film.",
            outputs.why_no_film(scene, parse_frames(captured.spec.frames)),
            "Choose an image format, or other frames.",
            id="video",
        )
        return
    yield Finding(
        Severity.INFO,
        f"The frames are rendered losslessly, and encoded as {film.name} when all are there.",
        id="video",
    )
    if scene.render.ffmpeg.use_autosplit:
        yield Finding(
            Severity.INFO,
            "The film comes as one file; Autosplit Output is for a Blender that encodes as it "
            "renders.",
            id="video",
        )
