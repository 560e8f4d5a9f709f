"""Jobs in the *Farm* panel: those of the open file, and the others of this user."""

from __future__ import annotations

import os
from typing import Any

import bpy

from ...protocol.states import JOB_ENDED, JobState
from . import pictures, pump
from .layouts import draw_text
from .panels import OutputPanel
from .wording import (
    delivery_text,
    frame_text,
    job_fraction,
    job_text,
    job_word,
    problems_of,
    waits_for_approval,
)

_PICTURE_SCALE = 7.0
_STATE_ICONS = {
    "queued": "SORTTIME",
    "rendering": "RENDER_ANIMATION",
    "assembling": "RENDER_ANIMATION",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "X",
}


def shown_jobs(current: Any) -> tuple[list[Any], list[Any]]:
    """Return the jobs of the open file and the other jobs of this user, newest first."""
    from ..client import artist

    blend = os.path.normpath(bpy.data.filepath) if bpy.data.filepath else ""
    return current.shown_jobs(artist.submitter(), blend)


class _JobsPanel(OutputPanel):
    bl_parent_id = "RENDERMILL_PT_farm"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a farm is known."""
        current = pump.state_if_loaded()
        return current is not None and current.farm is not None


class RENDERMILL_PT_jobs_here(_JobsPanel, bpy.types.Panel):
    """The jobs that were made of the open file."""

    bl_label = "Jobs of This File"

    def draw(self, context: Any) -> None:
        """Draw them, the newest with everything."""
        current = pump.state()
        jobs, _ = shown_jobs(current)
        _draw_jobs(self.layout, current, jobs, "This file has no jobs on the farm")


class RENDERMILL_PT_jobs(_JobsPanel, bpy.types.Panel):
    """The other jobs of this user."""

    bl_label = "My Other Jobs"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Any) -> None:
        """Draw them."""
        current = pump.state()
        _, jobs = shown_jobs(current)
        _draw_jobs(self.layout, current, jobs, "No other jobs")


def _draw_jobs(layout: Any, current: Any, jobs: list[Any], none: str) -> None:
    from .farm_state import JOBS_SHOWN

    if not jobs:
        layout.label(text=none)
    for place, job in enumerate(jobs[:JOBS_SHOWN]):
        is_open = current.unfolded.get(job.id, place == 0 or job.state not in JOB_ENDED)
        _draw_job(layout.box(), current, job, is_open)
    if len(jobs) > JOBS_SHOWN:
        layout.label(text=f"and {len(jobs) - JOBS_SHOWN} more on the status page")


def _draw_job(box: Any, current: Any, job: Any, is_open: bool) -> None:
    row = box.row()
    arrow = "DOWNARROW_HLT" if is_open else "RIGHTARROW"
    fold = row.operator("rendermill.unfold_job", text="", icon=arrow, emboss=False)
    fold.job, fold.is_open = job.id, not is_open
    row.label(text=job.name, icon="PAUSE" if job.paused else _STATE_ICONS[job.state.value])
    state = row.row()
    state.alignment = "RIGHT"
    state.label(text=job_word(job))
    if not is_open:
        return
    box.progress(factor=job_fraction(job), type="BAR", text=job_text(job))
    facts = [frame_text(job)]
    if job.nodes:
        facts.append("on 1 node" if len(job.nodes) == 1 else f"on {len(job.nodes)} nodes")
    if any(facts):
        draw_text(box, ", ".join(fact for fact in facts if fact), icon="TIME")
    if job.waiting_because:
        draw_text(box, job.waiting_because, icon="INFO")
    if waits_for_approval(job):
        row = box.row(align=True)
        _act(row, job, "approve", "Approve the Rest", "CHECKMARK")
        _act(row, job, "reject", "Reject", "X")
    for problem in problems_of(job):
        draw_text(box, problem, icon="ERROR")
    delivery = current.deliveries.get(job.id)
    if delivery is not None:
        _draw_delivery(box, delivery)
    _draw_picture(box, current, job)
    _draw_actions(box, job, delivery)


def _draw_delivery(box: Any, delivery: Any) -> None:
    if delivery.problem:
        draw_text(box, delivery.problem, icon="ERROR")
    text = delivery_text(delivery)
    if text:
        draw_text(box, text, icon="IMPORT")


def _draw_picture(box: Any, current: Any, job: Any) -> None:
    picture = current.picture_of(job.id)
    if picture is None:
        return
    icon = pictures.icon_of(picture)
    if not icon:
        return
    box.template_icon(icon_value=icon, scale=_PICTURE_SCALE)
    row = box.row()
    row.alignment = "CENTER"
    row.label(text=f"Frame {picture.frame}")
    row.operator("rendermill.show_frame", text="", icon="IMAGE_DATA").job = job.id


def _act(row: Any, job: Any, action: str, text: str, icon: str) -> None:
    button = row.operator("rendermill.act", text=text, icon=icon)
    button.job, button.action = job.id, action


def actions_of(job: Any) -> list[tuple[str, str, str]]:
    """Return what can be done to a job: action, words, icon."""
    found: list[tuple[str, str, str]] = []
    if job.state not in JOB_ENDED:
        found.append(("resume", "Resume", "PLAY") if job.paused else ("pause", "Pause", "PAUSE"))
        found.append(("cancel", "Cancel", "X"))
    # With all frames done, what failed is the film.
    if job.counts.failed or job.counts.cancelled or job.state is JobState.FAILED:
        found.append(("retry", "Retry Failed", "FILE_REFRESH"))
    if job.state in JOB_ENDED:
        found.append(("delete", "Remove", "TRASH"))
    return found


def _draw_actions(box: Any, job: Any, delivery: Any) -> None:
    row = box.row(align=True)
    for action, text, icon in actions_of(job):
        _act(row, job, action, text, icon)
    if job.counts.done and (delivery is None or delivery.problem):
        row.operator("rendermill.fetch", text="Fetch", icon="IMPORT").job = job.id
    row = box.row(align=True)
    row.operator("rendermill.open_page", text="Web Page", icon="URL").job = job.id
    if job.counts.done:
        row.operator("rendermill.open_folder", text="Folder", icon="FILE_FOLDER").job = job.id


CLASSES = (RENDERMILL_PT_jobs_here, RENDERMILL_PT_jobs)
