"""What would go wrong on the farm, said before anything is sent: one small function each."""

# ruff: noqa: ARG001 - every check takes the same two arguments, whichever it needs

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

from ...protocol.frames import parse_frames
from ...protocol.job import JobKind
from ...protocol.scene import CapturedScene
from . import compat, embedded_python, needs, outputs, simulations
from .findings import Finding, Repair, RepairError, Severity
from .paths import label_of, resolve
from .snapshot import has_relative_paths_without_base

__all__ = ["Finding", "Repair", "RepairError", "Severity", "check"]

NAMES_MAX = 8
"""Names spelled out in one finding; of more, the number is said."""


def check(scene: Any, captured: CapturedScene) -> list[Finding]:
    """Return all findings about ``scene`` as ``captured`` from the open file, worst first."""
    found = [finding for look in CHECKS for finding in look(scene, captured)]
    order = list(Severity)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def check_camera(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """A scene without a camera cannot be rendered, unless its sequencer is."""
    for part in needs.rendered_scenes(scene):
        bound = any(marker.camera is not None for marker in part.timeline_markers)
        if compat.renders_sequencer(part) or part.camera is not None or bound:
            continue
        yield Finding(
            Severity.FATAL,
            f'The scene "{part.name}" has no camera.',
            "Blender cannot render it.",
            "Add a camera, or choose one in the scene's properties.",
        )


def check_view_layers(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """At least one view layer must be enabled for rendering."""
    if not captured.spec.view_layers and not compat.renders_sequencer(scene):
        yield Finding(
            Severity.FATAL,
            f'No view layer of the scene "{scene.name}" is used for rendering.',
            "There is nothing to render.",
            'Turn on "Use for Rendering" in the properties of a view layer.',
        )


def check_engine(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Engines of add-ons are on no node."""
    for part in needs.rendered_scenes(scene):
        engine = part.render.engine
        if engine not in compat.FARM_ENGINES and not compat.renders_sequencer(part):
            yield Finding(
                Severity.FATAL,
                f'The scene "{part.name}" is set to the render engine {engine}.',
                "It belongs to an add-on, and nodes have only the engines of Blender itself.",
                "Choose Cycles, EEVEE or Workbench.",
            )


def check_missing_files(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Files that the scene names and that are not here."""
    for missing in captured.missing:
        library = missing.user.startswith("Library ")
        yield Finding(
            Severity.ERROR,
            f"{missing.user} needs {missing.source}, which does not exist.",
            "Everything linked from it is missing." if library else "It would be missing too.",
            "Relocate the library in the Blender File view of the Outliner."
            if library
            else "Use File > External Data > Find Missing Files.",
        )


def check_missing_data(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Datablocks that a library no longer has."""
    absent = {str(missing.source) for missing in captured.missing}
    for item in bpy.data.user_map():
        # Of a library that is missing itself, one finding says it all.
        library: Any = item.library
        if not item.is_missing or library is None or resolve(library.filepath) in absent:
            continue
        yield Finding(
            Severity.ERROR,
            f"{label_of(item)} is not in its library {library.filepath} any more.",
            "It is an empty placeholder.",
            "Link it again, or give it back its name in the library.",
        )


def check_unsaved(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Paths relative to a file that has no place yet lead nowhere."""
    if bpy.data.filepath:
        return
    if scene.render.filepath.startswith("//"):
        yield Finding(
            Severity.ERROR,
            "The file has never been saved, and its output path is relative to it.",
            f"The frames would go to {captured.spec.outputs[0].folder}.",
            "Save the file, or set an absolute output path.",
        )
    if has_relative_paths_without_base():
        yield Finding(
            Severity.ERROR,
            "The file has never been saved, and it names other files relative to itself.",
            "They cannot be found.",
            "Save the file.",
        )


def check_output_writable(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Frames must be able to land where the scene says."""
    for root in captured.spec.outputs:
        folder = Path(root.folder)
        existing = next((part for part in (folder, *folder.parents) if part.exists()), None)
        if existing is not None and existing.is_dir() and os.access(existing, os.W_OK):
            continue
        reason = "It is a file." if existing and existing.is_file() else "It cannot be written to."
        yield Finding(
            Severity.ERROR,
            f"{root.label} goes to {folder}, where no file can be made.",
            reason if existing == folder else f"{existing or folder.anchor} cannot be written to.",
            "Choose another output folder.",
        )


def check_output_path(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
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
        )


def check_film(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Say what becomes of a video: a film that a node encodes, or pictures."""
    if not outputs.writes_film(scene):
        return
    image, film = captured.spec.image.file_format, captured.spec.film
    if captured.spec.kind is JobKind.IMAGE:
        yield Finding(Severity.INFO, f"The output is a video; the image is sent as {image}.")
        return
    if film is None:
        yield Finding(
            Severity.WARNING,
            f"The output is a video, and its frames come as {image} without a film.",
            outputs.why_no_film(scene, parse_frames(captured.spec.frames)),
            "Choose an image format, or other frames.",
        )
        return
    yield Finding(
        Severity.INFO,
        f"The frames are rendered losslessly, and encoded as {film.name} when all are there.",
    )
    if scene.render.ffmpeg.use_autosplit:
        yield Finding(
            Severity.INFO,
            "The film comes as one file; Autosplit Output is for a Blender that encodes as it "
            "renders.",
        )


def check_python(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Python in the file is blocked on nodes unless the artist vouches for it."""
    if captured.spec.trust_scripts:
        return
    drivers = list(embedded_python.blocked_drivers())
    if drivers:
        names = _listed([f"{who} ({expression})" for who, expression in drivers])
        yield Finding(
            Severity.ERROR,
            f"{_count(len(drivers), 'driver needs', 'drivers need')} Python: {names}.",
            "Python in the file does not run on the farm, so they keep their last value.",
            "Write them as simple expressions, or submit the scene as trusted.",
        )
    texts = list(embedded_python.registered_texts())
    if texts:
        yield Finding(
            Severity.WARNING,
            f"{_listed(texts)} would run when the file is opened.",
            "Python in the file does not run on the farm.",
            "If frames depend on it, submit the scene as trusted.",
        )
    modules = list(embedded_python.freestyle_scripts(scene))
    if modules:
        yield Finding(
            Severity.ERROR,
            f"Freestyle runs {_listed(modules)}.",
            "Python in the file does not run on the farm.",
            "Submit the scene as trusted, or use Freestyle's parameter editor.",
        )


def check_simulations(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Simulations must be baked over the frames of the job."""
    frames = parse_frames(captured.spec.frames)
    for item in simulations.unbaked(scene, frames):
        yield Finding(
            Severity.WARNING,
            f"{item.label} {item.reason}.",
            "Nodes render frames in any order and would not have played it from its start.",
            "Bake it over all frames of the job.",
        )


def check_same_names(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
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
            )


def check_sequencer(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """The sequencer takes the place of the scene when it has strips."""
    if not compat.renders_sequencer(scene):
        return
    yield Finding(
        Severity.INFO,
        "The sequencer is rendered, not the 3D scene itself.",
        "It has strips, and Sequencer is on under Output > Post Processing.",
    )
    for strip in compat.strips(scene):
        if strip.type == "SCENE" and not strip.mute and strip.scene is None:
            yield Finding(
                Severity.WARNING,
                f'The strip "{strip.name}" has no scene.',
                "It renders as nothing.",
                "Choose a scene for it, or delete it.",
            )


def check_compositor(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Compositor nodes that read view layers which are not rendered, or write nothing."""
    nodes = [] if compat.renders_sequencer(scene) else list(needs.compositor_nodes(scene))
    if not nodes:
        return
    for node in nodes:
        if node.bl_idname != "CompositorNodeRLayers":
            continue
        source = node.scene or scene
        layer = source.view_layers.get(node.layer)
        if layer is None or not layer.use:
            yield Finding(
                Severity.WARNING,
                f'The compositor reads the view layer "{node.layer}", which is not rendered.',
                "Its image is empty.",
                'Turn on "Use for Rendering" for it, or choose another in the node.',
            )
    if not compat.has_composite_output(scene):
        yield Finding(
            Severity.WARNING,
            "The compositor has no output node.",
            "The main image may stay as the renderer left it, or empty.",
            "Add a Composite node (since Blender 5.0, a Group Output).",
        )


def check_single_layer(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Render Single Layer depends on which view layer a window shows."""
    if scene.render.use_single_layer and len(captured.spec.view_layers) > 1:
        yield Finding(
            Severity.WARNING,
            "Render Single Layer is on, which renders the view layer that the window shows.",
            "Nodes have no window and render the first one.",
            "Turn it off, and turn off the view layers that are not wanted.",
        )


def check_colour_configuration(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """Nodes use Blender's own colour configuration."""
    configuration = os.environ.get("OCIO", "")
    if configuration:
        yield Finding(
            Severity.WARNING,
            f"This Blender uses the colour configuration {configuration} (OCIO).",
            "Nodes use their own, so colours may differ.",
            "Set OCIO to the same configuration on every node.",
        )


def check_device(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """A scene that asks for a GPU waits for a node with one, even if here it ran on the CPU."""
    if captured.spec.requires.device.value != "gpu":
        return
    preferences: Any = bpy.context.preferences
    cycles = preferences.addons.get("cycles")
    kind = getattr(getattr(cycles, "preferences", None), "compute_device_type", "NONE")
    if kind == "NONE":
        yield Finding(
            Severity.INFO,
            "Cycles is set to GPU Compute, and this Blender has no GPU enabled.",
            "Here it would be rendered on the CPU; the farm waits for a node with a GPU.",
            "Set the device to CPU if it should not wait.",
        )


def check_warnings(scene: Any, captured: CapturedScene) -> Iterator[Finding]:
    """What was noticed while the scene was captured."""
    for sentence in captured.warnings:
        yield Finding(Severity.WARNING, sentence)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{shown} and {more} more" if more > 0 else shown


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


CHECKS: tuple[Callable[[Any, CapturedScene], Iterator[Finding]], ...] = (
    check_camera,
    check_view_layers,
    check_engine,
    check_output_path,
    check_missing_files,
    check_missing_data,
    check_unsaved,
    check_output_writable,
    check_same_names,
    check_python,
    check_simulations,
    check_compositor,
    check_sequencer,
    check_film,
    check_single_layer,
    check_colour_configuration,
    check_device,
    check_warnings,
)
"""Every check, in the order in which findings of one severity are listed."""
