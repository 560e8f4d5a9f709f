"""Buttons about the scene that is to be sent: look at it, repair it, choose who renders it."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from typing import Any

import bpy

from ..scene.checks import RepairError
from . import errands, properties, pump, render_operators, survey

_HEADLESS_SECONDS = 3600.0


class RENDERMILL_OT_check_scene(bpy.types.Operator):
    """Look at the scene as if it were sent: its files, what has changed, what the checks say"""

    bl_idname = "rendermill.check_scene"
    bl_label = "Check Scene for the Farm"

    def execute(self, context: Any) -> set[Any]:
        """Begin; what is found shows in the panel, and without a window in what is reported."""
        try:
            pump.state()
        except pump.ClientMissing as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        survey.want()
        if bpy.app.background:
            while survey.is_under_way():
                survey.work(_HEADLESS_SECONDS)
            errands.wait()
            self._report()
        return {"FINISHED"}

    def _report(self) -> None:
        report = survey.latest
        if report is None:
            return
        if report.problem:
            self.report({"WARNING"}, report.problem)
        for finding in report.findings:
            self.report({"WARNING"}, render_operators.sentence(finding))


class RENDERMILL_OT_repair(bpy.types.Operator):
    """Repair what the check has found"""

    bl_idname = "rendermill.repair"
    bl_label = "Repair for the Farm"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    place: bpy.props.IntProperty(options={"SKIP_SAVE", "HIDDEN"})
    what: bpy.props.StringProperty(options={"SKIP_SAVE", "HIDDEN"})

    def execute(self, context: Any) -> set[Any]:
        """Repair it, and look at the scene again."""
        packing, report = render_operators.last_packing, survey.latest
        known = [*(report.findings if report else ()), *(packing.findings if packing else ())]
        # By what it says as well: another check may have come between drawing and pressing.
        finding = next((each for each in known if each.what == self.what), None)
        if finding is None or finding.repair is None:
            self.report({"ERROR"}, "The scene has changed since; check it again.")
            return {"CANCELLED"}
        try:
            finding.repair.apply()
        except RepairError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        survey.want_after_repair(opens_dialog=finding.repair.opens_dialog)
        return {"FINISHED"}


class RENDERMILL_OT_choose_node(bpy.types.Operator):
    """Let only chosen nodes take the next jobs of this scene; with none chosen, any may"""

    bl_idname = "rendermill.choose_node"
    bl_label = "Choose Farm Node"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    node: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: Any) -> set[Any]:
        """Choose it, or no longer."""
        options = context.scene.rendermill
        names = list(properties.words_of(options.nodes))
        if self.node in names:
            names.remove(self.node)
        else:
            names.append(self.node)
        options.nodes = ", ".join(names)
        return {"FINISHED"}


CLASSES = (RENDERMILL_OT_check_scene, RENDERMILL_OT_repair, RENDERMILL_OT_choose_node)
