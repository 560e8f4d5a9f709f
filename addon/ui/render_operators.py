"""*Render Animation on Farm* and *Render Image on Farm*: what the whole add-on is for."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import bpy

from ...protocol.job import PRIORITY_MAX, PRIORITY_MIN, PRIORITY_NORMAL, FrameOrder, JobKind
from ..scene.checks import Finding
from . import preferences, properties, pump, survey, viewer
from .layouts import draw_text
from .packing import Packing, PackingRefused, Step, sentence

# Blender collects the properties of a base class only where that is no type of its own.
_Operator = bpy.types.Operator if TYPE_CHECKING else object

log = logging.getLogger(__name__)

STEP_SECONDS = 0.02
"""Time for packing in one turn of the timer: below what a hand on the mouse notices."""
TIMER_SECONDS = 0.03
_DIALOG_UNITS = 520
DIALOG_FINDINGS = 5
PANEL_FINDINGS = 40
"""Findings drawn, worst first: a dialog must fit on a screen."""

last_packing: Packing | None = None
"""The newest attempt: its findings are what dialogs and panels show."""


class _RenderOnFarm(_Operator):
    """What both operators share."""

    kind: JobKind
    bl_options = {"REGISTER"}

    frames: bpy.props.StringProperty(
        name="Frames",
        description='Frames to render, like "1-250" or "1-10:2, 40". Empty: those of the scene',
        options={"SKIP_SAVE"},
    )
    job_name: bpy.props.StringProperty(
        name="Name", description="Name of the job. Empty: that of the file", options={"SKIP_SAVE"}
    )
    priority: bpy.props.IntProperty(
        name="Priority",
        description="Jobs of higher priority get nodes first",
        default=PRIORITY_NORMAL,
        min=PRIORITY_MIN,
        max=PRIORITY_MAX,
        options={"SKIP_SAVE"},
    )
    send_anyway: bpy.props.BoolProperty(
        name="Send Anyway",
        description="Send the scene although checks found errors",
        options={"SKIP_SAVE"},
    )
    deliver: bpy.props.BoolProperty(
        name="Fetch Frames",
        description="Write finished frames into the output path of the scene",
        default=True,
        options={"SKIP_SAVE"},
    )
    wait: bpy.props.BoolProperty(
        name="Wait",
        description=(
            "When called without a window: return only when every frame has been delivered (with "
            "Fetch Frames), not as soon as the job is accepted"
        ),
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether there is a scene, and none is being sent."""
        current = pump.state_if_loaded()
        if current is not None and current.sending is not None:
            cls.poll_message_set("A scene is being sent; wait for it or cancel it")
            return False
        return context.scene is not None

    # --- without a window ------------------------------------------------------------------

    def execute(self, context: Any) -> set[Any]:
        """Send the scene and, with ``wait``, stay until every frame is here."""
        try:
            self._know_nodes(context)
            packing = self._packing(context)
            packing.run()
            request = self._hand_over(packing)
            self._report_warnings(packing)
            return self._follow(context, request)
        except (PackingRefused, pump.ClientMissing) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            viewer.put_back()

    def _know_nodes(self, context: Any) -> None:
        """Wait for the farm where the scene names nodes: only the farm knows which those are."""
        current = pump.state()
        if not properties.words_of(context.scene.rendermill.nodes) or current.are_nodes_known:
            return
        pump.connect(preferences.get().coordinator_url or None)
        pump.wait_for(lambda: current.are_nodes_known or current.link_text != "", lambda: None)
        if not current.are_nodes_known:
            raise PackingRefused(current.link_text)

    def _follow(self, context: Any, request: int) -> set[Any]:
        current = pump.state()
        submission = current.submissions[request]
        console = _Console(submission.name)
        must_stay = self.wait and submission.deliver

        def is_over() -> bool:
            return submission.is_over or (not submission.is_sending and not must_stay)

        pump.wait_for(is_over, lambda: console.show(current, submission))
        context.window_manager.rendermill.last_job = submission.job
        if submission.step.value in ("failed", "cancelled"):
            self.report({"ERROR"}, submission.text)
            return {"CANCELLED"}
        return self._outcome(current, submission, waited=must_stay)

    def _outcome(self, current: Any, submission: Any, *, waited: bool) -> set[Any]:
        job = current.jobs[submission.job]
        if waited and job.state.value != "done":
            failed = job.counts.failed
            reason = f": {job.problem}" if job.problem else "."
            what = f"{failed} frames failed" if failed != 1 else "1 frame failed"
            text = f"The job was {job.state.value}; {what}{reason}"
            self.report({"ERROR"}, text)
            return {"CANCELLED"}
        self.report({"INFO"}, f'"{submission.name}" is on the farm as job {submission.job}')
        return {"FINISHED"}

    # --- in a window -----------------------------------------------------------------------

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Send the scene step by step, with a progress bar; Escape cancels."""
        if bpy.app.background:
            return self.execute(context)
        try:
            self._packing_now = self._packing(context)
        except (PackingRefused, pump.ClientMissing) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._steps: Iterator[Step] | None = self._packing_now.steps()
        self._request = 0
        self._bar = _StatusBar(context)
        self._say("Looking for files")
        manager = context.window_manager
        self._timer = manager.event_timer_add(TIMER_SECONDS, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[Any]:
        """Pack a little, or show how the sending goes. Whatever happens, Blender gets back what
        this has taken: its status bar, its keys."""
        try:
            return self._step(context, event)
        except Exception as error:
            log.exception("sending failed")
            if self._steps is not None:
                self._packing_now.discard()
            self.report({"ERROR"}, f"Rendermill failed: {error!r}. Nothing of your file is lost.")
            return self._end(context, {"CANCELLED"})

    def _step(  # noqa: PLR0911 - one return for each thing that may happen
        self, context: Any, event: Any
    ) -> set[Any]:
        if event.type == "ESC" and event.value == "PRESS":
            return self._give_up(context)
        if event.type != "TIMER":
            # While the scene is read nothing may change it; afterwards work goes on.
            return {"RUNNING_MODAL"} if self._steps is not None else {"PASS_THROUGH"}
        if self._steps is not None:
            return self._pack(context)
        submission = pump.state().submissions.get(self._request)
        if submission is None:
            # The add-on was switched off and on while the scene was on its way.
            return self._end(context, {"CANCELLED"})
        self._bar.show(submission.text, submission.fraction)
        if submission.is_sending:
            return {"PASS_THROUGH"}
        context.window_manager.rendermill.last_job = submission.job
        if submission.step.value == "failed":
            self.report({"ERROR"}, submission.text)
            return self._end(context, {"CANCELLED"})
        if submission.step.value == "cancelled":
            self.report({"INFO"}, "Cancelled: nothing was queued on the farm")
            return self._end(context, {"CANCELLED"})
        self.report({"INFO"}, f'"{submission.name}" is on the farm. {submission.text}')
        return self._end(context, {"FINISHED"})

    def cancel(self, context: Any) -> None:
        """Called by Blender when it ends the operator itself: another file, or closing."""
        if self._steps is not None:
            self._packing_now.discard()
        # What was handed over goes on: the farm's thread needs neither window nor file.
        self._end(context, {"CANCELLED"})

    def _pack(self, context: Any) -> set[Any]:
        end = time.perf_counter() + STEP_SECONDS
        try:
            while self._steps is not None and time.perf_counter() < end:
                step = next(self._steps, None)
                if step is None:
                    self._steps = None
                    pump.state().packing = ""
                    survey.adopt(self._packing_now)
                    self._request = self._hand_over(self._packing_now)
                    self._report_warnings(self._packing_now)
                    break
                self._say(step.label)
                if step.rests:
                    break
        except PackingRefused as error:
            self._steps = None
            survey.adopt(self._packing_now)
            may_insist = self._packing_now.may_insist
            self._end(context, {"CANCELLED"})
            if may_insist and not self.send_anyway:
                self._ask()
            else:
                self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"RUNNING_MODAL"}

    def _say(self, text: str) -> None:
        pump.state().packing = text
        self._bar.show(text, 0.0)

    def _ask(self) -> None:
        getattr(bpy.ops, "rendermill").send_anyway(  # noqa: B009 - unknown to Blender's stubs
            "INVOKE_DEFAULT",
            operator=self.bl_idname,
            frames=self.frames,
            job_name=self.job_name,
            priority=self._packing_now.options["priority"],
        )

    def _give_up(self, context: Any) -> set[Any]:
        if self._steps is not None:
            self._steps = None
            self._packing_now.discard()
            self.report({"INFO"}, "Cancelled: nothing was sent")
            return self._end(context, {"CANCELLED"})
        from ..client.following import Cancel

        # The end comes as an event: until then chunks may still be on their way.
        pump.send(Cancel(self._request))
        return {"RUNNING_MODAL"}

    def _end(self, context: Any, result: set[Any]) -> set[Any]:
        self._steps = None
        current = pump.state_if_loaded()
        if current is not None:
            current.packing = ""
        viewer.put_back()
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        self._bar.close()
        return result

    # --- both ------------------------------------------------------------------------------

    def _packing(self, context: Any) -> Packing:
        global last_packing  # noqa: PLW0603 - the newest attempt, for dialogs and panels
        current = pump.state()
        from ..client import artist

        # What is shown of another job is no part of this scene.
        viewer.set_aside()
        wanted = job_options(context.scene, current, self.kind)
        options = wanted["options"]
        is_set = self.properties.is_property_set
        if self.frames.strip():
            options["frames"] = self.frames.strip()
        if is_set("priority"):
            options["priority"] = self.priority
        options["name"] = self.job_name.strip()
        last_packing = Packing(
            scene=context.scene,
            **wanted,
            send_anyway=self.send_anyway,
            snapshots=artist.snapshots_dir(),
        )
        return last_packing

    def _hand_over(self, packing: Packing) -> int:
        from ..client.following import Submit
        from .farm_state import Submission

        captured = packing.captured
        assert captured is not None
        stored = preferences.get()
        pump.connect(stored.coordinator_url or None)
        is_set = self.properties.is_property_set
        deliver = self.deliver if is_set("deliver") else stored.deliver
        request = pump.send(Submit(captured, send_anyway=self.send_anyway, deliver=deliver))
        pump.state().begin(Submission(request, captured.spec.name, deliver))
        return request

    def _report_warnings(self, packing: Packing) -> None:
        for finding in packing.findings:
            if finding.severity.value in ("error", "warning"):
                self.report({"WARNING"}, sentence(finding))


def job_options(scene: Any, current: Any, kind: JobKind = JobKind.ANIMATION) -> dict[str, Any]:
    """Return what a scene's own options make of its next job: arguments of `Packing`.

    ``current``: the `FarmState`.
    """
    from ..client import artist

    own = scene.rendermill
    ids, unknown = current.nodes_named(properties.words_of(own.nodes))
    frames = own.frames.strip() if kind is JobKind.ANIMATION else ""
    session: Any = getattr(bpy.context.window_manager, "rendermill")  # noqa: B009
    return {
        "kind": kind,
        "nodes": tuple(current.nodes.values()) if current.are_nodes_known else None,
        "unknown_nodes": unknown,
        "options": {
            "frames": frames or None,
            "priority": own.priority,
            "order": FrameOrder(own.order),
            "tags": properties.words_of(own.tags),
            "nodes": ids,
            "max_nodes": own.max_nodes,
            # A single image has nothing to wait for.
            "scouts": own.scouts and kind is JobKind.ANIMATION,
            "trust_scripts": session.trust_scripts,
            "film_frames": own.film_frames,
            "submitter": artist.submitter(),
        },
    }


class RENDERMILL_OT_render_animation(_RenderOnFarm, bpy.types.Operator):
    """Render the animation of this scene on every machine of the farm.
    The frames land in the output path, as if this computer had rendered them"""

    bl_idname = "rendermill.render_animation"
    bl_label = "Render Animation on Farm"
    kind = JobKind.ANIMATION


class RENDERMILL_OT_render_image(_RenderOnFarm, bpy.types.Operator):
    """Render the current frame of this scene on the farm.
    The image lands in the output path"""

    bl_idname = "rendermill.render_image"
    bl_label = "Render Image on Farm"
    kind = JobKind.IMAGE


class RENDERMILL_OT_send_anyway(bpy.types.Operator):
    """Show what the checks found, and send the scene all the same if wanted"""

    bl_idname = "rendermill.send_anyway"
    bl_label = "The Farm May Not Render This as You Expect"
    bl_options = {"INTERNAL"}

    operator: bpy.props.StringProperty(options={"SKIP_SAVE"})
    frames: bpy.props.StringProperty(options={"SKIP_SAVE"})
    job_name: bpy.props.StringProperty(options={"SKIP_SAVE"})
    priority: bpy.props.IntProperty(options={"SKIP_SAVE"})

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Ask."""
        return context.window_manager.invoke_props_dialog(
            self, width=_DIALOG_UNITS, title=self.bl_label, confirm_text="Send Anyway"
        )

    def draw(self, context: Any) -> None:
        """Draw the findings, worst first."""
        if last_packing is not None:
            draw_findings(
                self.layout, last_packing.findings, width=_DIALOG_UNITS, most=DIALOG_FINDINGS
            )

    def execute(self, context: Any) -> set[Any]:
        """Send."""
        category, verb = self.operator.lower().replace("_ot_", ".").split(".", 1)
        operator = getattr(getattr(bpy.ops, category), verb)
        return operator(
            "INVOKE_DEFAULT",
            frames=self.frames,
            job_name=self.job_name,
            priority=self.priority,
            send_anyway=True,
        )


def draw_findings(
    layout: Any, findings: Sequence[Finding], *, width: int = 0, most: int = PANEL_FINDINGS
) -> None:
    """Draw what the checks found, each with what to do; ``width`` as for `draw_text`."""
    icons = {"fatal": "CANCEL", "error": "ERROR", "warning": "INFO", "info": "BLANK1"}
    session: Any = getattr(bpy.context.window_manager, "rendermill")  # noqa: B009
    for place, finding in enumerate(findings[:most]):
        box = layout.box()
        draw_text(box, finding.what, icon=icons[finding.severity.value], width=width)
        more = " ".join(part for part in (finding.why, finding.fix) if part)
        if more:
            draw_text(box, more, width=width)
        if finding.repair is not None:
            button = box.operator(
                "rendermill.repair", text=finding.repair.label, icon="TOOL_SETTINGS"
            )
            button.place, button.what = place, finding.what
        elif finding.id.startswith("python_"):
            box.prop(session, "trust_scripts")
    if len(findings) > most:
        layout.label(text=f"And {len(findings) - most} more, see Output > Farm > Checks")


class _StatusBar:
    """The progress of a submission in Blender's status bar."""

    def __init__(self, context: Any) -> None:
        self._workspace = context.workspace
        self._shown = ("", 0.0)
        self.show("Looking for files", 0.0)

    def show(self, text: str, fraction: float) -> None:
        """Say what is done and how far it is, 0 to 1."""
        if (text, fraction) == self._shown:
            return
        self._shown = (text, fraction)

        # A plain function: Blender makes it a method of its header, where a bound one is not found.
        def draw(header: Any, _context: Any) -> None:
            layout = header.layout
            layout.label(text="Cancel", icon="EVENT_ESC")
            row = layout.row()
            row.ui_units_x = 18
            row.progress(factor=fraction, type="BAR", text=text)

        self._workspace.status_text_set(draw)

    def close(self) -> None:
        """Give the status bar back."""
        self._workspace.status_text_set(None)


class _Console:
    """Progress for who runs Blender without a window: lines on standard output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = ""

    def show(self, current: Any, submission: Any) -> None:
        """Say what has changed since the last time."""
        from .wording import job_text

        if submission.is_sending:
            # A line for each stage, not for each chunk.
            self._say(submission.stage)
            return
        if submission.step.value in ("failed", "cancelled"):
            return  # The operator reports it.
        job = current.jobs.get(submission.job)
        delivery = current.deliveries.get(submission.job)
        if job is None or not submission.deliver:
            self._say(submission.text)
        elif delivery is None:
            self._say(f"{submission.text}; waiting for frames")
        else:
            self._say(f"{job_text(job)}; {delivery.frames_here} delivered")

    def _say(self, text: str) -> None:
        if text == self._said:
            return
        self._said = text
        sys.stdout.write(f"{self._name}: {text}\n")
        sys.stdout.flush()


CLASSES = (
    RENDERMILL_OT_render_animation,
    RENDERMILL_OT_render_image,
    RENDERMILL_OT_send_anyway,
)
