"""The *Farm* panel in Properties > Output: the farm, what is sent, how, and what to mind.

Drawing reads what is known (`pump`, `survey`, `node_here`) and nothing else: no file, no network.
"""

from __future__ import annotations

import importlib.util
import time
from functools import lru_cache
from typing import Any

import bpy

from ...protocol.frames import FrameRangeError, parse_frames
from ..scene import outputs
from . import preferences, properties, pump, render_operators, survey
from .layouts import draw_text
from .wording import ago_text, size_text

NODES_SHOWN = 24
"""Nodes with a button of their own; more are typed."""
NAMES_SHOWN = 3
HAS_NUMPY = importlib.util.find_spec("numpy") is not None
"""Blender's makers bring it along; some distributions of Linux do not. See `client.settling`."""

_ENGINES = {
    "CYCLES": "Cycles",
    "BLENDER_EEVEE": "EEVEE",
    "BLENDER_EEVEE_NEXT": "EEVEE",
    "BLENDER_WORKBENCH": "Workbench",
}


class OutputPanel:
    """Where all of ours are."""

    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "output"


class RENDERMILL_PT_farm(OutputPanel, bpy.types.Panel):
    """Render on the farm, and see how it goes."""

    bl_label = "Farm"
    bl_idname = "RENDERMILL_PT_farm"

    def draw(self, context: Any) -> None:
        """Draw the farm found, the two buttons, and what is being sent."""
        layout: Any = self.layout
        current = pump.state_if_loaded()
        row = layout.row()
        column = row.column()
        has_page = current is not None and current.farm is not None
        has_preferences = preferences.stored() is not None
        preferences.draw_link(column, beside=has_page + has_preferences)
        buttons = row.row(align=True)
        if has_page:
            buttons.operator("rendermill.open_page", text="", icon="URL")
        if has_preferences:
            show = buttons.operator("preferences.addon_show", text="", icon="PREFERENCES")
            show.module = preferences.PACKAGE
        if current is not None and current.notice:
            row = layout.row()
            draw_text(row.column(), current.notice, icon="INFO", beside=1)
            row.operator("rendermill.dismiss", text="", icon="X")
        if current is None or current.link.value == "off":
            layout.operator("rendermill.connect", icon="FILE_REFRESH")
        elif current.farm is None and current.link_text:
            layout.operator("rendermill.connect", text="Search Again", icon="FILE_REFRESH")
        if current is not None and current.farm is None:
            preferences.draw_farm_offer(layout)
        if current is not None and _draw_sending(layout, current):
            return
        column = layout.column(align=True)
        column.scale_y = 1.2
        column.operator("rendermill.render_animation", icon="RENDER_ANIMATION")
        column.operator("rendermill.render_image", icon="RENDER_STILL")


def _draw_sending(layout: Any, current: Any) -> bool:
    if current.packing:
        layout.progress(factor=0.0, type="BAR", text=f"{current.packing} (Esc cancels)")
        return True
    submission = current.sending
    if submission is None:
        return False
    row = layout.row(align=True)
    row.progress(factor=submission.fraction, type="BAR", text=submission.text)
    row.operator("rendermill.cancel_sending", text="", icon="X")
    return True


class RENDERMILL_PT_scene(OutputPanel, bpy.types.Panel):
    """What would be sent of this scene."""

    bl_label = "What Is Sent"
    bl_parent_id = "RENDERMILL_PT_farm"

    def draw(self, context: Any) -> None:
        """Draw frames, engine and resolution as they are now, and the files as last looked at."""
        layout: Any = self.layout
        scene = context.scene
        draw_text(layout, frames_text(scene), icon="RENDER_ANIMATION")
        draw_text(layout, picture_text(scene), icon="SCENE")
        report = survey.latest
        row = layout.row()
        column = row.column()
        if report is not None and report.is_about(scene):
            for text, icon in files_text(report):
                draw_text(column, text, icon=icon, beside=1)
        elif survey.is_under_way():
            column.label(text="Looking at the files ...", icon="SORTTIME")
        else:
            column.label(text="The files have not been looked at", icon="FILE")
        row.operator("rendermill.check_scene", text="", icon="FILE_REFRESH")


def frames_text(scene: Any) -> str:
    """Which frames are sent: ``12 frames (1-12)``."""
    text = scene.rendermill.frames.strip()
    first, last, step = scene.frame_start, scene.frame_end, scene.frame_step
    if text:
        count, frames = _count_of(text), text
    else:
        count = max(0, (last - first) // step + 1)
        frames = f"{first}-{last}" + (f":{step}" if step > 1 else "")
    number = "1 frame" if count == 1 else f"{count} frames" if count else "No frame"
    return f"{number} ({frames})"


def picture_text(scene: Any) -> str:
    """How they are rendered: ``Cycles, 1920 x 1080, PNG``."""
    image = outputs.frame_image(scene)
    engine = _ENGINES.get(scene.render.engine, scene.render.engine)
    return f"{engine}, {image.width} x {image.height}, {image.file_format}"


def files_text(report: survey.Report) -> list[tuple[str, str]]:
    """What is known of the files: sentences with their icons."""
    if report.problem:
        return [(report.problem, "ERROR")]
    size = report.size
    if size is None and report.captured is None:
        return []
    if size is None:
        return [("Measuring the files ...", "SORTTIME")]
    count = "1 file" if size.files == 1 else f"{size.files} files"
    besides = f"{count}, {size_text(size.total_bytes)}, and the .blend itself"
    lines = [(besides if size.files else "The .blend itself, no other files", "FILE")]
    if not HAS_NUMPY:
        lines.append(
            ("This Blender lacks numpy, so after a change most of the .blend is sent again", "INFO")
        )
    if size.sent_at is None:
        lines.append(("Never sent from this computer: all of it travels", "NONE"))
        return lines
    since = f"Since it was sent {ago_text(time.time() - size.sent_at)}: "
    parts = [
        f"{len(names)} {word} ({_some(names)})"
        for names, word in ((size.new, "new"), (size.changed, "changed"))
        if names
    ]
    if size.gone:
        parts.append(f"{size.gone} gone")
    if parts and size.changed_bytes:
        parts.append(f"{size_text(size.changed_bytes)} to send")
    lines.append((since + (", ".join(parts) or "no other file has changed"), "NONE"))
    return lines


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


@lru_cache(maxsize=8)
def _count_of(text: str) -> int:
    # Kept: a panel is drawn anew with every move of the mouse, and a range may be long.
    try:
        return len(parse_frames(text))
    except FrameRangeError:
        # Why it cannot be read, the look at the scene says.
        return 0


class RENDERMILL_PT_findings(OutputPanel, bpy.types.Panel):
    """What the checks have found, worst first."""

    bl_label = "Checks"
    bl_parent_id = "RENDERMILL_PT_farm"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether this scene was looked at."""
        report = survey.latest
        return report is not None and report.is_about(context.scene) and report.is_checked

    def draw_header_preset(self, context: Any) -> None:
        """Say in the header whether there is anything bad."""
        report = survey.latest
        if report is None:
            return
        bad = [each for each in report.findings if each.severity.value in ("fatal", "error")]
        layout: Any = self.layout
        layout.label(text=str(len(bad)) if bad else "", icon="ERROR" if bad else "CHECKMARK")

    def draw(self, context: Any) -> None:
        """Draw the findings, each with its button."""
        report = survey.latest
        if report is None:
            return
        render_operators.draw_findings(self.layout, report.findings)
        if not report.findings:
            layout: Any = self.layout
            layout.label(text="Nothing stands against rendering this on the farm")


class RENDERMILL_PT_options(OutputPanel, bpy.types.Panel):
    """Options of the next job."""

    bl_label = "Options"
    bl_parent_id = "RENDERMILL_PT_farm"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Draw the options."""
        layout: Any = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        scene = context.scene
        options = scene.rendermill
        column = layout.column()
        column.prop(options, "frames", placeholder="Those of the scene")
        column.prop(options, "priority")
        column.prop(options, "order")
        column.prop(options, "scouts")
        column = layout.column(heading="Output")
        column.prop(scene.render, "use_overwrite")
        column.prop(scene.render, "use_placeholder")
        if scene.render.is_movie_format:
            column.prop(options, "film_frames")
        column = layout.column()
        column.prop(options, "tags", placeholder="Any")
        column.prop(options, "max_nodes")
        column.prop(options, "nodes", placeholder="Any")
        _draw_nodes(layout, options)
        # Its name must be read to its end, also in a narrow panel.
        layout.use_property_split = False
        layout.prop(context.window_manager.rendermill, "trust_scripts")


def _draw_nodes(layout: Any, options: Any) -> None:
    current = pump.state_if_loaded()
    if current is None or not current.nodes:
        return
    chosen = properties.words_of(options.nodes)
    names = sorted(node.name for node in current.nodes.values())
    grid = layout.grid_flow(row_major=True, even_columns=True, align=True)
    for name in names[:NODES_SHOWN]:
        grid.operator("rendermill.choose_node", text=name, depress=name in chosen).node = name


CLASSES = (
    RENDERMILL_PT_farm,
    RENDERMILL_PT_scene,
    RENDERMILL_PT_findings,
    RENDERMILL_PT_options,
)
