"""Everything else a button does: joining, connecting, acting on jobs, opening page and folder."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from pathlib import Path
from typing import Any

import bpy

from . import job_panels, preferences, pump, viewer

_ACTIONS = (
    ("pause", "Pause", "Take no new frames of this job"),
    ("resume", "Resume", "Go on with this job"),
    ("cancel", "Cancel", "Stop this job; finished frames are kept"),
    ("retry", "Retry Failed", "Render the frames again that failed or were cancelled"),
    ("delete", "Remove", "Let the farm forget this job; frames already here stay"),
    ("approve", "Approve", "The scout frames look right: render the rest"),
    ("reject", "Reject", "The scout frames look wrong: do not render the rest"),
)
_QUESTIONS = {
    "cancel": ('Stop the job "{}"?', "Frames that are done are kept.", "Stop the Job"),
    "delete": (
        'Let the farm forget the job "{}"?',
        "Frames that are on this computer stay. Those that are only on the farm are lost.",
        "Remove",
    ),
    "reject": ('Reject the scout frames of "{}"?', "The rest is not rendered.", "Reject"),
}
"""What is asked before something that may not come back: a question, what follows, the button. None
of them is called Cancel: Blender has a button of that name beside it, which does nothing."""


def newest_job() -> str:
    """Id of the job that a command without one is about: of this file, else of this user."""
    current = pump.state_if_loaded()
    if current is None:
        return ""
    here, others = job_panels.shown_jobs(current)
    return next((job.id for job in (*here, *others)), "")


def question(action: str, name: str) -> tuple[str, str, str] | None:
    """Return what is asked before acting on the job called ``name``: title, sentence and button;
    None where nothing is."""
    if action not in _QUESTIONS:
        return None
    title, message, button = _QUESTIONS[action]
    return title.format(name), message, button


def folder_of(job: str) -> Path | None:
    """Return the folder that the frames of a job come into; None for one that was not sent from
    here. Reads a small file where none has come since Blender was started."""
    current = pump.state_if_loaded()
    if current is None or current.farm is None or not job:
        return None
    delivery = current.deliveries.get(job)
    if delivery is not None and delivery.newest is not None:
        return delivery.newest.parent
    from ..client.delivery import MAIN
    from ..client.sent_jobs import recall_sent

    sent = recall_sent(job, current.farm.farm_id)
    roots = () if sent is None else sent.outputs
    return next((Path(root.folder) for root in roots if root.id == MAIN), None)


class RENDERMILL_OT_join(bpy.types.Operator):
    """Join a farm with the token that its coordinator prints"""

    bl_idname = "rendermill.join"
    bl_label = "Join Farm"

    url: bpy.props.StringProperty(name="Coordinator", options={"SKIP_SAVE"})
    token: bpy.props.StringProperty(name="Join Token", subtype="PASSWORD", options={"SKIP_SAVE"})

    def execute(self, context: Any) -> set[Any]:
        """Join, remember the farm, and connect to it."""
        addon = context.preferences.addons.get(preferences.PACKAGE)
        stored = addon.preferences if addon is not None else None
        url = self.url.strip() or (stored.coordinator_url.strip() if stored else "")
        token = self.token.strip() or (stored.join_token.strip() if stored else "")
        if not token:
            self.report({"ERROR"}, "Paste the join token that the coordinator prints.")
            return {"CANCELLED"}
        try:
            current = pump.state()
            request = pump.join(url, token)
        except pump.ClientMissing as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if stored is not None:
            # It is good for one use and must not stay where others can read it.
            stored.join_token = ""
        if bpy.app.background:
            pump.wait_for(lambda: current.outcome(request) is not None, lambda: None)
            sentence = current.outcome(request)
            if sentence:
                self.report({"ERROR"}, sentence)
                return {"CANCELLED"}
            pump.connect_if_joined()
        return {"FINISHED"}


class RENDERMILL_OT_connect(bpy.types.Operator):
    """Look for the farm again"""

    bl_idname = "rendermill.connect"
    bl_label = "Connect to Farm"

    def execute(self, context: Any) -> set[Any]:
        """Begin anew."""
        try:
            pump.state().notice = ""
            pump.connect(preferences.get().coordinator_url or None, again=True)
        except pump.ClientMissing as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class RENDERMILL_OT_act(bpy.types.Operator):
    """Act on a job of the farm"""

    bl_idname = "rendermill.act"
    bl_label = "Act on Farm Job"
    bl_options = {"INTERNAL"}

    job: bpy.props.StringProperty(options={"SKIP_SAVE"})
    action: bpy.props.EnumProperty(items=_ACTIONS, options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context: Any, properties: Any) -> str:
        """Say what this button does."""
        return next(text for key, _, text in _ACTIONS if key == properties.action)

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Ask before what cannot be taken back."""
        job = pump.state().jobs.get(self.job)
        asked = question(self.action, self.job if job is None else job.name)
        if asked is None:
            return self.execute(context)
        title, message, button = asked
        return context.window_manager.invoke_confirm(
            self, event, title=title, message=message, confirm_text=button
        )

    def execute(self, context: Any) -> set[Any]:
        """Hand the wish over; how it went comes as an event."""
        from ..client.following import Act

        current = pump.state()
        current.notice = ""
        label = next(label for key, label, _ in _ACTIONS if key == self.action)
        job = current.jobs.get(self.job)
        request = pump.send(Act(self.job, self.action))
        current.wishes[request] = label if job is None else f'{label} "{job.name}"'
        return {"FINISHED"}


class RENDERMILL_OT_fetch(bpy.types.Operator):
    """Fetch the finished frames of this job into the output path it was sent with"""

    bl_idname = "rendermill.fetch"
    bl_label = "Fetch Frames"

    job: bpy.props.StringProperty(
        name="Job",
        description="Id of the job. Empty: the newest of this file, or of yours",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Any) -> set[Any]:
        """Begin the delivery; a second one for the same job takes its place."""
        from ..client.following import Deliver

        job = self.job or newest_job()
        if not job:
            self.report({"ERROR"}, "You have no job on the farm.")
            return {"CANCELLED"}
        current = pump.state()
        current.delivering[pump.send(Deliver(job))] = job
        return {"FINISHED"}


class RENDERMILL_OT_cancel_sending(bpy.types.Operator):
    """Stop sending; no job is made on the farm"""

    bl_idname = "rendermill.cancel_sending"
    bl_label = "Cancel Sending"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether anything is being sent."""
        current = pump.state_if_loaded()
        return current is not None and current.sending is not None

    def execute(self, context: Any) -> set[Any]:
        """Cancel it."""
        from ..client.following import Cancel

        submission = pump.state().sending
        if submission is not None:
            pump.send(Cancel(submission.request))
        return {"FINISHED"}


class RENDERMILL_OT_open_page(bpy.types.Operator):
    """Open the farm's status page in the web browser"""

    bl_idname = "rendermill.open_page"
    bl_label = "Open Status Page"

    job: bpy.props.StringProperty(options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a farm is known."""
        current = pump.state_if_loaded()
        return current is not None and current.farm is not None

    def execute(self, context: Any) -> set[Any]:
        """Open it, signed in."""
        from ..client.status_page import write_way_in

        where = f"/jobs/{self.job}" if self.job else "/"
        try:
            page = write_way_in(pump.state().url, where)
        except OSError as error:
            self.report({"ERROR"}, f"The page cannot be opened: {error}.")
            return {"CANCELLED"}
        bpy.ops.wm.url_open(url=page.as_uri())
        return {"FINISHED"}


class RENDERMILL_OT_open_folder(bpy.types.Operator):
    """Open the folder with the frames of this job"""

    bl_idname = "rendermill.open_folder"
    bl_label = "Open Folder"

    job: bpy.props.StringProperty(
        name="Job",
        description="Id of the job. Empty: the newest of this file, or of yours",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Any) -> set[Any]:
        """Open it in the system's file browser."""
        folder = folder_of(self.job or newest_job())
        if folder is None:
            self.report(
                {"ERROR"},
                "The job was not sent from this computer, so its frames have no folder here. They "
                "can be saved from the farm's web page.",
            )
            return {"CANCELLED"}
        if not folder.is_dir():
            self.report({"ERROR"}, f"{folder} does not exist yet: no frame has come home.")
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


class RENDERMILL_OT_show_frame(bpy.types.Operator):
    """Show the newest frame of this job in an Image Editor, in a new window where there is none"""

    bl_idname = "rendermill.show_frame"
    bl_label = "Show Newest Farm Frame"

    job: bpy.props.StringProperty(
        name="Job",
        description="Id of the job. Empty: the newest of this file, or of yours",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether there are windows to show it in."""
        return not bpy.app.background and pump.state_if_loaded() is not None

    def execute(self, context: Any) -> set[Any]:
        """Show it."""
        picture = pump.state().picture_of(self.job or newest_job())
        if picture is None:
            self.report({"ERROR"}, "No frame of this job is here yet.")
            return {"CANCELLED"}
        if not viewer.show(picture.path):
            self.report({"ERROR"}, f"{picture.path} cannot be shown.")
            return {"CANCELLED"}
        return {"FINISHED"}


class RENDERMILL_OT_choose_action(bpy.types.Operator):
    """Pause, resume, cancel, retry or remove one of your jobs, found by typing"""

    bl_idname = "rendermill.choose_action"
    bl_label = "Act on a Farm Job"
    bl_property = "choice"

    _kept: list[tuple[str, str, str]] = []

    def _choices(self, context: Any) -> list[tuple[str, str, str]]:
        current = pump.state_if_loaded()
        here, others = job_panels.shown_jobs(current) if current is not None else ([], [])
        texts = {key: text for key, _, text in _ACTIONS}
        kept = RENDERMILL_OT_choose_action._kept
        kept.clear()
        for job in (*here, *others):
            actions = job_panels.actions_of(job)
            if job_panels.waits_for_approval(job):
                actions = [("approve", "Approve", ""), ("reject", "Reject", ""), *actions]
            kept.extend(
                (f"{action} {job.id}", f"{word}: {job.name}", texts[action])
                for action, word, _ in actions
            )
        return kept or [("none", "You have no jobs on the farm", "")]

    choice: bpy.props.EnumProperty(name="Action", description="What to do", items=_choices)

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a farm is known."""
        current = pump.state_if_loaded()
        return current is not None and current.farm is not None

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Let the artist type."""
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[Any]:
        """Do what was chosen, asking first where it cannot be taken back."""
        action, _, job = self.choice.partition(" ")
        if job:
            getattr(bpy.ops, "rendermill").act(  # noqa: B009 - unknown to Blender's stubs
                "INVOKE_DEFAULT", job=job, action=action
            )
        return {"FINISHED"}


class RENDERMILL_OT_unfold_job(bpy.types.Operator):
    """Show more of this job, or less"""

    bl_idname = "rendermill.unfold_job"
    bl_label = "Unfold Farm Job"
    bl_options = {"INTERNAL"}

    job: bpy.props.StringProperty(options={"SKIP_SAVE"})
    is_open: bpy.props.BoolProperty(options={"SKIP_SAVE"})

    def execute(self, context: Any) -> set[Any]:
        """Remember it until Blender is closed."""
        pump.state().unfolded[self.job] = self.is_open
        return {"FINISHED"}


class RENDERMILL_OT_dismiss(bpy.types.Operator):
    """Take this message away"""

    bl_idname = "rendermill.dismiss"
    bl_label = "Dismiss Farm Message"
    bl_options = {"INTERNAL"}

    def execute(self, context: Any) -> set[Any]:
        """Forget it."""
        pump.state().notice = ""
        return {"FINISHED"}


class RENDERMILL_OT_try_connection(bpy.types.Operator):
    """Go the way a scene would go to the farm, and say how it went"""

    bl_idname = "rendermill.try_connection"
    bl_label = "Test Farm Connection"

    def execute(self, context: Any) -> set[Any]:
        """Begin; the answer shows in the preferences."""
        from ..client.following import TryConnection

        try:
            current = pump.state()
            current.tried, current.is_trying = None, True
            pump.send(TryConnection(preferences.get().coordinator_url or None))
        except pump.ClientMissing as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if bpy.app.background:
            pump.wait_for(lambda: not current.is_trying, lambda: None)
            assert current.tried is not None
            kind = "INFO" if current.tried.is_good else "ERROR"
            self.report({kind}, current.tried.sentence)
            return {"FINISHED"} if current.tried.is_good else {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    RENDERMILL_OT_join,
    RENDERMILL_OT_connect,
    RENDERMILL_OT_act,
    RENDERMILL_OT_fetch,
    RENDERMILL_OT_cancel_sending,
    RENDERMILL_OT_open_page,
    RENDERMILL_OT_open_folder,
    RENDERMILL_OT_show_frame,
    RENDERMILL_OT_choose_action,
    RENDERMILL_OT_unfold_job,
    RENDERMILL_OT_dismiss,
    RENDERMILL_OT_try_connection,
)
