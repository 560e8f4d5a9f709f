"""The add-on's preferences: which farm, how to get into it, and what happens to finished frames."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from dataclasses import dataclass
from typing import Any

import bpy

from . import pump

PACKAGE = (__package__ or "").removesuffix(".addon.ui")
"""Name under which Blender knows the add-on: ``bl_ext.<repository>.rendermill``, or
``rendermill`` where it is imported from a Python environment."""


class RENDERMILL_AddonPreferences(bpy.types.AddonPreferences):
    """Rendermill's page in the preferences."""

    bl_idname = PACKAGE

    coordinator_url: bpy.props.StringProperty(
        name="Coordinator",
        description=(
            "Address of the farm's coordinator, like studio-pc:7878. Empty: the coordinator on "
            "this computer, or the farm that was joined last"
        ),
    )
    join_token: bpy.props.StringProperty(
        name="Join Token",
        description="The text that starts with rm1. and that the coordinator prints when it starts",
        subtype="PASSWORD",
        options={"SKIP_SAVE"},
    )
    deliver: bpy.props.BoolProperty(
        name="Fetch Frames as They Finish",
        description=(
            "Write finished frames into the output path of the scene while the farm renders. "
            "Otherwise they stay on the farm until they are fetched"
        ),
        default=True,
    )
    connect_at_start: bpy.props.BoolProperty(
        name="Look for the Farm When Blender Starts",
        description="Otherwise the farm is looked for when something is sent",
        default=True,
    )

    def draw(self, context: Any) -> None:
        """Draw the page."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        self._draw_farm(layout.box())
        layout.prop(self, "deliver")
        layout.prop(self, "connect_at_start")

    def _draw_farm(self, box: Any) -> None:
        draw_link(box)
        box.prop(self, "coordinator_url")
        row = box.row(align=True)
        row.prop(self, "join_token")
        row.operator("rendermill.join", text="Join", icon="LINKED")
        box.operator("rendermill.connect", text="Connect", icon="FILE_REFRESH")


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences as plain values."""

    coordinator_url: str = ""
    deliver: bool = True
    connect_at_start: bool = True


def get() -> Preferences:
    """Return the preferences; the defaults where the add-on is imported but not enabled."""
    everything: Any = bpy.context.preferences
    addon = everything.addons.get(PACKAGE)
    if addon is None or addon.preferences is None:
        return Preferences()
    stored = addon.preferences
    return Preferences(
        coordinator_url=stored.coordinator_url.strip(),
        deliver=stored.deliver,
        connect_at_start=stored.connect_at_start,
    )


def draw_link(layout: Any) -> None:
    """Draw one line about the farm: found, looked for, or why not."""
    if pump.problem():
        draw_text(layout, pump.problem(), icon="ERROR")
        return
    current = pump.state_if_loaded()
    if current is None or current.link.value == "off":
        text = current.link_text if current is not None else ""
        draw_text(layout, text or "Not connected to a farm", icon="UNLINKED")
        return
    if current.link.value == "searching" or current.farm is None:
        draw_text(layout, current.link_text or "Looking for the farm …", icon="SORTTIME")
        return
    ready = current.nodes_ready()
    nodes = "1 node ready" if ready == 1 else f"{ready} nodes ready"
    layout.label(text=f"{current.farm.farm}: {nodes}", icon="LINKED")


def draw_text(layout: Any, text: str, *, icon: str = "NONE", width: int = 0) -> None:
    """Draw a sentence over as many lines as it needs in ``width`` units; 0: in the region."""
    everything: Any = bpy.context.preferences
    region: Any = bpy.context.region
    if not width:
        width = int(region.width / everything.system.ui_scale) if region is not None else 400
    # About seven units a letter; Blender has no label that wraps.
    letters = max(24, int(width / 7.0) - 6)
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= letters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    column = layout.column(align=True)
    for index, line in enumerate(lines):
        column.label(text=line, icon=icon if index == 0 else "BLANK1")


CLASSES = (RENDERMILL_AddonPreferences,)
