"""Buttons of this computer as a node, and as the coordinator of a farm."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
import re
from typing import Any

import bpy

from . import errands, node_here, preferences, pump

_TOKEN = re.compile(r"rm1\.\S+")


def _stay() -> None:
    if bpy.app.background:
        errands.wait()


class RENDERMILL_OT_node_here(bpy.types.Operator):
    """Start or stop rendering for the farm on this computer"""

    bl_idname = "rendermill.node_here"
    bl_label = "Render for the Farm on This Computer"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether there are preferences to keep it in."""
        return preferences.stored() is not None

    def execute(self, context: Any) -> set[Any]:
        """Click the checkbox of the preferences."""
        own = preferences.stored()
        own.node_here = not own.node_here
        _stay()
        here = node_here.here
        if here.doing is node_here.Doing.FAILED:
            self.report({"ERROR"}, here.sentence)
            return {"CANCELLED"}
        text = "starts" if own.node_here else "stops"
        self.report({"INFO"}, f"The node on this computer {text}")
        return {"FINISHED"}


class RENDERMILL_OT_restart_node(bpy.types.Operator):
    """Stop the node on this computer and start it with what the preferences say now"""

    bl_idname = "rendermill.restart_node"
    bl_label = "Restart Farm Node on This Computer"

    def execute(self, context: Any) -> set[Any]:
        """Do it."""
        node_here.restart(preferences.get())
        _stay()
        if node_here.here.doing is node_here.Doing.FAILED:
            self.report({"ERROR"}, node_here.here.sentence)
            return {"CANCELLED"}
        return {"FINISHED"}


class RENDERMILL_OT_start_farm(bpy.types.Operator):
    """Start the coordinator of a farm on this computer. It goes on when Blender is closed"""

    bl_idname = "rendermill.start_farm"
    bl_label = "Start a Farm on This Computer"

    farm: bpy.props.StringProperty(
        name="Name",
        description="Name of the farm, for people. Empty: that of this computer",
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Any) -> set[Any]:
        """Start it and connect to it."""
        node_here.start_farm(self.farm.strip(), then=_connect)
        _stay()
        if node_here.here.farm_sentence:
            self.report({"ERROR"}, node_here.here.farm_sentence)
            return {"CANCELLED"}
        return {"FINISHED"}


def _connect() -> None:
    pump.connect(preferences.get().coordinator_url or None, again=True)


class RENDERMILL_OT_stop_farm(bpy.types.Operator):
    """Stop the coordinator on this computer. Its jobs go on when it is started again"""

    bl_idname = "rendermill.stop_farm"
    bl_label = "Stop the Farm on This Computer"

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Ask: others may be rendering with it."""
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=self.bl_label,
            message="Nothing is rendered for anybody until it is started again.",
            confirm_text="Stop the Farm",
        )

    def execute(self, context: Any) -> set[Any]:
        """Stop it."""
        node_here.stop_farm()
        _stay()
        return {"FINISHED"}


class RENDERMILL_OT_copy_join_token(bpy.types.Operator):
    """Copy the token with which other computers and people join the farm that runs here"""

    bl_idname = "rendermill.copy_join_token"
    bl_label = "Copy Join Token of the Farm"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a coordinator runs here."""
        return node_here.here.coordinator is not None

    def execute(self, context: Any) -> set[Any]:
        """Read it where the coordinator has said it."""
        from pathlib import Path

        running = node_here.here.coordinator
        assert running is not None

        def copy(text: str) -> None:
            tokens = _TOKEN.findall(text)
            if tokens:
                manager: Any = bpy.context.window_manager
                manager.clipboard = tokens[-1]
                pump.tell("The join token is in the clipboard; give it only to who may join.")
            else:
                pump.tell(f"The coordinator has not said its token yet; its log is {running.log}")

        def failed(error: Exception) -> None:
            pump.tell(f"The token cannot be read: {error}.")

        errands.begin(lambda: Path(running.log).read_text("utf-8", "replace"), copy, failed)
        _stay()
        return {"FINISHED"}


CLASSES = (
    RENDERMILL_OT_node_here,
    RENDERMILL_OT_restart_node,
    RENDERMILL_OT_start_farm,
    RENDERMILL_OT_stop_farm,
    RENDERMILL_OT_copy_join_token,
)
