"""What would go wrong on the farm, said before anything is sent: one small function each."""

# ruff: noqa: ARG001 - every check takes the same two arguments, whichever it needs

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import bpy

from ...protocol.frames import parse_frames
from ...protocol.scene import CapturedScene
from ...protocol.views import NodeView
from . import colours, compat, needs, repairs, simulations
from .code_checks import check_add_ons, check_python
from .farm_checks import check_farm
from .file_checks import (
    check_changed_images,
    check_missing_data,
    check_missing_files,
    check_readable,
    check_unsaved,
)
from .findings import Finding, Findings, Repair, RepairError, Severity
from .output_checks import (
    check_absolute_outputs,
    check_film,
    check_output_names,
    check_output_path,
    check_output_writable,
    check_same_names,
    check_shared_names,
)
from .steps import PAUSE, Steps, elsewhere, in_one_go

__all__ = ["Finding", "Repair", "RepairError", "Severity", "check"]


def check(
    scene: Any, captured: CapturedScene, nodes: Iterable[NodeView] | None = None
) -> list[Finding]:
    """Return all findings about ``scene`` as ``captured`` from the open file, worst first.

    ``nodes`` are all nodes of the farm, where those are known: what none of them has is told too.
    """
    found: list[Finding] = []
    in_one_go(check_steps(found, scene, captured, nodes))
    return found


def check_steps(
    found: list[Finding],
    scene: Any,
    captured: CapturedScene,
    nodes: Iterable[NodeView] | None = None,
) -> Steps[None]:
    """As `check`, into an empty list, which is in order after the last step."""
    for look in CHECKS:
        yield from _gather(found, look(scene, captured))
        yield PAUSE
    if nodes is not None:
        yield from _gather(found, check_nodes(scene, captured, nodes))
    told = {finding.id for finding in found}
    found[:] = [finding for finding in found if _SAID_BETTER_BY.get(finding.id) not in told]
    order = list(Severity)
    found.sort(key=lambda finding: order.index(finding.severity))


_SAID_BETTER_BY = {"gpu_not_here": "no_gpu", "no_engine": "foreign_engine"}
"""Findings that would only repeat another; two buttons that do the same make one wonder."""


def _gather(found: list[Finding], looking: Findings) -> Steps[None]:
    """Keep what a check finds and pass on its steps: it is not paused but where it says so."""
    answer = None
    try:
        while True:
            item = looking.send(answer)
            answer = None
            if isinstance(item, Finding):
                found.append(item)
            else:
                answer = yield item
    except StopIteration:
        return


def check_nodes(scene: Any, captured: CapturedScene, nodes: Iterable[NodeView]) -> Findings:
    """What the scene asks for that no node of the farm has: see `farm_checks`."""
    offers: dict[str, Callable[[Any], Repair | None]] = {
        "no_gpu": repairs.use_processors,
        "no_openimagedenoise": repairs.no_denoising,
    }
    for finding in check_farm(captured.spec.requires, nodes):
        offer = offers.get(finding.id)
        yield replace(finding, repair=offer(scene)) if offer is not None else finding


def check_camera(scene: Any, captured: CapturedScene) -> Findings:
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
            id="no_camera",
            repair=repairs.use_camera(part),
        )


def check_view_layers(scene: Any, captured: CapturedScene) -> Findings:
    """At least one view layer must be enabled for rendering."""
    if not captured.spec.view_layers and not compat.renders_sequencer(scene):
        yield Finding(
            Severity.FATAL,
            f'No view layer of the scene "{scene.name}" is used for rendering.',
            "There is nothing to render.",
            'Turn on "Use for Rendering" in the properties of a view layer.',
            id="no_view_layer",
            repair=repairs.use_view_layers(scene),
        )


def check_engine(scene: Any, captured: CapturedScene) -> Findings:
    """Engines of add-ons are on no node."""
    for part in needs.rendered_scenes(scene):
        engine = part.render.engine
        if engine not in compat.FARM_ENGINES and not compat.renders_sequencer(part):
            yield Finding(
                Severity.FATAL,
                f'The scene "{part.name}" is set to the render engine {engine}.',
                "It belongs to an add-on, and nodes have only the engines of Blender itself.",
                "Choose Cycles, EEVEE or Workbench.",
                id="foreign_engine",
            )


def check_simulations(scene: Any, captured: CapturedScene) -> Findings:
    """Simulations must be baked over the frames of the job."""
    frames = parse_frames(captured.spec.frames)
    for item in (yield from simulations.unbaked_steps(scene, frames)):
        if item.is_hidden:
            yield Finding(
                Severity.WARNING,
                f"{item.label} {item.reason}.",
                "Blender does not tell whether it is baked. Without a bake each node would begin "
                "it anew with the first frame it is given.",
                "Bake it, unless that is done.",
                id="bake_in_file",
            )
            continue
        yield Finding(
            Severity.WARNING if item.is_partly else Severity.ERROR,
            f"{item.label} {item.reason}.",
            "Beyond its bake a simulation stands still, or goes on differently on each node."
            if item.is_partly
            else "Nodes render frames in any order and would not have played it from its start.",
            "Bake it over all frames of the job.",
            id="partly_baked" if item.is_partly else "unbaked",
            repair=item.repair,
        )


def check_sequencer(scene: Any, captured: CapturedScene) -> Findings:
    """The sequencer takes the place of the scene when it has strips."""
    if not compat.renders_sequencer(scene):
        return
    yield Finding(
        Severity.INFO,
        "The sequencer is rendered, not the 3D scene itself.",
        "It has strips, and Sequencer is on under Output > Post Processing.",
        id="sequencer",
    )
    for strip in compat.strips(scene):
        if strip.type == "SCENE" and not strip.mute and strip.scene is None:
            yield Finding(
                Severity.WARNING,
                f'The strip "{strip.name}" has no scene.',
                "It renders as nothing.",
                "Choose a scene for it, or delete it.",
                id="empty_strip",
            )


def check_compositor(scene: Any, captured: CapturedScene) -> Findings:
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
                id="unrendered_layer",
            )
    if not compat.has_composite_output(scene):
        yield Finding(
            Severity.WARNING,
            "The compositor has no output node.",
            "The main image may stay as the renderer left it, or empty.",
            "Add a Composite node (since Blender 5.0, a Group Output).",
            id="no_composite",
        )


def check_single_layer(scene: Any, captured: CapturedScene) -> Findings:
    """Render Single Layer depends on which view layer a window shows."""
    if scene.render.use_single_layer and len(captured.spec.view_layers) > 1:
        yield Finding(
            Severity.WARNING,
            "Render Single Layer is on, which renders the view layer that the window shows.",
            "Nodes have no window and render the first one.",
            "Turn it off, and turn off the view layers that are not wanted.",
            id="single_layer",
            repair=repairs.all_view_layers_in_render(scene),
        )


def check_colour_configuration(scene: Any, captured: CapturedScene) -> Findings:
    """Another colour configuration than Blender's own goes with the scene, if it can."""
    configuration = os.environ.get("OCIO", "")
    is_named = configuration.startswith(colours.BUILT_IN)
    if (
        configuration
        and not is_named
        and not (yield from elsewhere(lambda: os.path.isfile(configuration)))
    ):
        yield Finding(
            Severity.WARNING,
            f"The colour configuration {configuration} (OCIO) does not exist.",
            "This Blender has taken its own in its place, and so do the nodes.",
            "Correct the variable OCIO and start Blender again.",
            id="colour_configuration",
        )
    elif captured.spec.colour_configuration:
        yield Finding(
            Severity.INFO,
            f"This Blender uses the colour configuration {configuration} (OCIO).",
            "Nodes are given the same, with its tables, and start a Blender of their own for it.",
            id="colour_configuration",
        )


def check_device(scene: Any, captured: CapturedScene) -> Findings:
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
            "Here it would be rendered on the CPU; on the farm, only nodes with a GPU render it.",
            "Set the device to CPU if any node may.",
            id="gpu_not_here",
            repair=repairs.use_processors(scene),
        )


def check_warnings(scene: Any, captured: CapturedScene) -> Findings:
    """What was noticed while the scene was captured."""
    for sentence in captured.warnings:
        yield Finding(Severity.WARNING, sentence, id="warning")
    for sentence in captured.notes:
        yield Finding(Severity.INFO, sentence, id="note")


CHECKS: tuple[Callable[[Any, CapturedScene], Findings], ...] = (
    check_camera,
    check_view_layers,
    check_engine,
    check_output_path,
    check_missing_files,
    check_readable,
    check_changed_images,
    check_missing_data,
    check_unsaved,
    check_output_writable,
    check_output_names,
    check_same_names,
    check_python,
    check_add_ons,
    check_simulations,
    check_shared_names,
    check_absolute_outputs,
    check_compositor,
    check_sequencer,
    check_film,
    check_single_layer,
    check_colour_configuration,
    check_device,
    check_warnings,
)
"""Every check, in the order in which findings of one severity are listed."""
