"""Everything else a button does: joining, connecting, acting on jobs, opening page and folder."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from pathlib import Path
from typing import Any

import bpy

from . import preferences, pump

_ACTIONS = (
    ("pause", "Pause", "Take no new frames of this job"),
    ("resume", "Resume", "Go on with this job"),
    ("cancel", "Cancel", "Stop this job; finished frames are kept"),
    ("retry", "Retry Failed", "Render the frames again that failed or were cancelled"),
    ("delete", "Remove", "Let the farm forget this job; frames already here stay"),
)


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
            from ..client.following import Join

            request = pump.send(Join(url, token))
        except pump.ClientMissing as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        current.notice = ""
        if stored is not None:
            # It is good for one use and must not stay where others can read it.
            stored.join_token = ""
        if bpy.app.background:
            pump.wait_for(lambda: current.outcome(request) is not None, lambda: None)
            sentence = current.outcome(request)
            if sentence:
                self.report({"ERROR"}, sentence)
                return {"CANCELLED"}
        pump.connect(url or None, again=True)
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
        if self.action in ("cancel", "delete"):
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, context: Any) -> set[Any]:
        """Hand the wish over; how it went comes as an event."""
        from ..client.following import Act

        pump.state().notice = ""
        pump.send(Act(self.job, self.action))
        return {"FINISHED"}


class RENDERMILL_OT_fetch(bpy.types.Operator):
    """Fetch the finished frames of this job into the output path it was sent with"""

    bl_idname = "rendermill.fetch"
    bl_label = "Fetch Frames"

    job: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: Any) -> set[Any]:
        """Begin the delivery; a second one for the same job takes its place."""
        from ..client.following import Deliver

        current = pump.state()
        current.delivering[pump.send(Deliver(self.job))] = self.job
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

    folder: bpy.props.StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE"})

    def execute(self, context: Any) -> set[Any]:
        """Open it in the system's file browser."""
        if not Path(self.folder).is_dir():
            self.report({"ERROR"}, f"{self.folder} does not exist yet: no frame has come home.")
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=self.folder)
        return {"FINISHED"}


CLASSES = (
    RENDERMILL_OT_join,
    RENDERMILL_OT_connect,
    RENDERMILL_OT_act,
    RENDERMILL_OT_fetch,
    RENDERMILL_OT_cancel_sending,
    RENDERMILL_OT_open_page,
    RENDERMILL_OT_open_folder,
)
