"""The *Farm* panel in Properties > Output: the farm, what is sent, and the jobs of this user."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

from ...protocol.frames import FrameRangeError, parse_frames
from ..scene import outputs
from . import pictures, preferences, pump, render_operators

JOBS_SHOWN = 6
"""Jobs in the panel; the status page has them all."""

_ENGINES = {
    "CYCLES": "Cycles",
    "BLENDER_EEVEE": "EEVEE",
    "BLENDER_EEVEE_NEXT": "EEVEE",
    "BLENDER_WORKBENCH": "Workbench",
}
_STATE_ICONS = {
    "queued": "SORTTIME",
    "rendering": "RENDER_ANIMATION",
    "assembling": "RENDER_ANIMATION",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "X",
}


class _OutputPanel:
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "output"


class RENDERMILL_PT_farm(_OutputPanel, bpy.types.Panel):
    """Render on the farm, and see how it goes."""

    bl_label = "Farm"
    bl_idname = "RENDERMILL_PT_farm"

    def draw(self, context: Any) -> None:
        """Draw the farm found, the two buttons, and what is being sent."""
        layout: Any = self.layout
        current = pump.state_if_loaded()
        row = layout.row()
        preferences.draw_link(row)
        if current is not None and current.farm is not None:
            row.operator("rendermill.open_page", text="", icon="URL")
        if current is not None and current.notice:
            preferences.draw_text(layout, current.notice, icon="ERROR")
        if current is None or current.link.value == "off":
            layout.operator("rendermill.connect", icon="FILE_REFRESH")
        elif current.farm is None and current.link_text:
            row = layout.row()
            row.operator("rendermill.connect", text="Search Again", icon="FILE_REFRESH")
            row.operator("preferences.addon_show", text="Preferences").module = preferences.PACKAGE
        submission = current.sending if current is not None else None
        if submission is not None:
            row = layout.row(align=True)
            row.progress(factor=submission.fraction, type="BAR", text=submission.text)
            row.operator("rendermill.cancel_sending", text="", icon="X")
            return
        preferences.draw_text(layout, sent_text(context.scene), icon="SCENE")
        column = layout.column(align=True)
        column.scale_y = 1.2
        column.operator("rendermill.render_animation", icon="RENDER_ANIMATION")
        column.operator("rendermill.render_image", icon="RENDER_STILL")


def sent_text(scene: Any) -> str:
    """What would be sent of a scene: "12 frames (1-12), Cycles, 1920 x 1080"."""
    text = scene.rendermill.frames.strip()
    first, last, step = scene.frame_start, scene.frame_end, scene.frame_step
    if text:
        count, frames = _count_of(text)
    else:
        count = max(0, (last - first) // step + 1)
        frames = f"{first}-{last}" + (f":{step}" if step > 1 else "")
    image = outputs.frame_image(scene)
    engine = _ENGINES.get(scene.render.engine, scene.render.engine)
    number = "1 frame" if count == 1 else f"{count} frames" if count else "no frame"
    return f"{number} ({frames}), {engine}, {image.width} x {image.height}"


@lru_cache(maxsize=8)
def _count_of(text: str) -> tuple[int, str]:
    # Kept: a panel is drawn anew with every move of the mouse, and a range may be long.
    try:
        return len(parse_frames(text)), text
    except FrameRangeError as error:
        return 0, str(error)


class RENDERMILL_PT_options(_OutputPanel, bpy.types.Panel):
    """Options of the next job."""

    bl_label = "Options"
    bl_parent_id = "RENDERMILL_PT_farm"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Draw the options."""
        layout: Any = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        options = context.scene.rendermill
        layout.prop(options, "frames")
        layout.prop(options, "priority")
        layout.prop(options, "order")
        layout.prop(options, "tags")
        if context.scene.render.is_movie_format:
            layout.prop(options, "film_frames")
        layout.prop(context.window_manager.rendermill, "trust_scripts")


class RENDERMILL_PT_findings(_OutputPanel, bpy.types.Panel):
    """What the checks found when the scene was sent last."""

    bl_label = "Checks"
    bl_parent_id = "RENDERMILL_PT_farm"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether there is something to say about this scene."""
        packing = render_operators.last_packing
        return packing is not None and bool(packing.findings) and packing.is_about(context.scene)

    def draw(self, context: Any) -> None:
        """Draw the findings, worst first."""
        packing = render_operators.last_packing
        if packing is not None:
            render_operators.draw_findings(self.layout, packing)


class RENDERMILL_PT_jobs(_OutputPanel, bpy.types.Panel):
    """The jobs of this user, newest first."""

    bl_label = "My Jobs"
    bl_parent_id = "RENDERMILL_PT_farm"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a farm is known."""
        current = pump.state_if_loaded()
        return current is not None and current.farm is not None

    def draw(self, context: Any) -> None:
        """Draw the newest jobs."""
        from ..client import artist

        layout: Any = self.layout
        current = pump.state()
        jobs = current.jobs_of(artist.submitter())
        if not jobs:
            layout.label(text="No jobs yet")
        for job in jobs[:JOBS_SHOWN]:
            _draw_job(layout.box(), current, job)
        if len(jobs) > JOBS_SHOWN:
            layout.label(text=f"and {len(jobs) - JOBS_SHOWN} more on the status page")


def _draw_job(box: Any, current: Any, job: Any) -> None:
    from .farm_state import job_fraction, job_text, job_word

    row = box.row()
    row.label(text=job.name, icon="PAUSE" if job.paused else _STATE_ICONS[job.state.value])
    state = row.row()
    state.alignment = "RIGHT"
    state.label(text=job_word(job))
    box.progress(factor=job_fraction(job), type="BAR", text=job_text(job))
    if job.waiting_because:
        preferences.draw_text(box, job.waiting_because, icon="INFO")
    if job.problem and job.counts.failed:
        preferences.draw_text(box, job.problem, icon="ERROR")
    delivery = current.deliveries.get(job.id)
    if delivery is not None:
        _draw_delivery(box, delivery)
    _draw_actions(box, job, delivery)


def _draw_delivery(box: Any, delivery: Any) -> None:
    if delivery.problem:
        preferences.draw_text(box, delivery.problem, icon="ERROR")
    frames = "1 frame" if delivery.frames_here == 1 else f"{delivery.frames_here} frames"
    text = f"{frames} in the output folder"
    if delivery.kept:
        text += f", {delivery.kept} older files left as they were"
    box.label(text=text, icon="IMPORT")
    if delivery.newest is not None:
        icon = pictures.icon_of(delivery.newest)
        if icon:
            box.template_icon(icon_value=icon, scale=7.0)
            caption = box.row()
            caption.alignment = "CENTER"
            caption.label(text=f"Frame {delivery.newest_frame}")


def _draw_actions(box: Any, job: Any, delivery: Any) -> None:
    from ...protocol.states import JOB_ENDED

    row = box.row(align=True)
    actions: list[tuple[str, str, str]] = []
    if job.state not in JOB_ENDED:
        actions.append(("resume", "Resume", "PLAY") if job.paused else ("pause", "Pause", "PAUSE"))
        actions.append(("cancel", "Cancel", "X"))
    if job.counts.failed or job.counts.cancelled:
        actions.append(("retry", "Retry", "FILE_REFRESH"))
    for action, text, icon in actions:
        button = row.operator("rendermill.act", text=text, icon=icon)
        button.job, button.action = job.id, action
    if job.counts.done and (delivery is None or delivery.problem):
        row.operator("rendermill.fetch", text="Fetch", icon="IMPORT").job = job.id
    row = box.row(align=True)
    row.operator("rendermill.open_page", text="Status Page", icon="URL").job = job.id
    if delivery is not None and delivery.newest is not None:
        folder = str(Path(delivery.newest).parent)
        row.operator("rendermill.open_folder", text="Folder", icon="FILE_FOLDER").folder = folder


CLASSES = (
    RENDERMILL_PT_farm,
    RENDERMILL_PT_findings,
    RENDERMILL_PT_options,
    RENDERMILL_PT_jobs,
)
