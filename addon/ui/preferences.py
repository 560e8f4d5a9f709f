"""The add-on's preferences: which farm, how to get into it, and what happens to finished frames."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from dataclasses import dataclass, fields
from typing import Any

import bpy

from . import node_here, pump, upkeep
from .layouts import draw_text
from .node_here import Doing
from .wording import size_text

PACKAGE = (__package__ or "").removesuffix(".addon.ui")
"""Name under which Blender knows the add-on: ``bl_ext.<repository>.rendermill``, or
``rendermill`` where it is imported from a Python environment."""

_WHEN = (
    ("ALWAYS", "Always", "Other programs go first, but the node renders while you work"),
    ("IDLE", "When Nobody Is There", "Only while keyboard and mouse have not been touched"),
    ("HOURS", "In These Hours", "Only in certain hours of the week"),
)
_CACHES = (
    ("scenes", "Scenes of the node on this computer"),
    ("chunks", "What is known of files read before"),
    ("pictures", "Small pictures of frames"),
    ("copies", "Copies of scenes on their way"),
)


def _node_switched(self: Any, _context: Any) -> None:
    """The checkbox was clicked, or a script has set it."""
    if self.node_here:
        node_here.start(get(), then=pump.redraw)
    elif node_here.here.doing is not Doing.OFF:
        node_here.stop(then=pump.redraw)


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
    show_newest: bpy.props.BoolProperty(
        name="Show the Newest in an Image Editor",
        description=(
            "Show each frame as it comes home in an Image Editor that shows nothing else. The "
            "file is not changed by it"
        ),
        default=False,
    )
    connect_at_start: bpy.props.BoolProperty(
        name="Look for the Farm When Blender Starts",
        description="Otherwise the farm is looked for when something is sent",
        default=True,
    )
    node_here: bpy.props.BoolProperty(
        name="Render for the Farm on This Computer",
        description=(
            "Start a node on this computer, with this Blender, at the lowest priority. It is "
            "started again with Blender until this is turned off"
        ),
        default=False,
        update=_node_switched,
    )
    node_when: bpy.props.EnumProperty(
        name="When", description="When the node renders", items=_WHEN, default="IDLE"
    )
    node_idle_minutes: bpy.props.IntProperty(
        name="Minutes",
        description="How long nobody must have touched keyboard and mouse",
        default=10,
        min=1,
        max=24 * 60,
    )
    node_schedule: bpy.props.StringProperty(
        name="Hours",
        description='Hours of the week, like "mon-fri 19:00-07:30; sat,sun 00:00-24:00"',
        default="mon-fri 19:00-07:30; sat,sun 00:00-24:00",
    )
    node_hands_back: bpy.props.BoolProperty(
        name="Stop at Once When I Return",
        description=(
            "Give the frame in progress back within seconds, and the farm renders it elsewhere. "
            "Otherwise it is finished first"
        ),
        default=False,
    )
    node_stays: bpy.props.BoolProperty(
        name="Go On When Blender Is Closed",
        description="The node goes on until it is turned off here. Otherwise it ends with Blender",
        default=False,
    )
    node_cache_gb: bpy.props.IntProperty(
        name="Room for Scenes (GB)",
        description="Most that scenes may take on this computer's disk; the oldest go first",
        default=50,
        min=1,
        max=100_000,
    )

    def draw(self, context: Any) -> None:
        """Draw the page."""
        layout: Any = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        self._draw_farm(layout.box())
        box = layout.box()
        box.label(text="Finished Frames", icon="IMAGE_DATA")
        box.prop(self, "deliver")
        row = box.row()
        row.active = self.deliver
        row.prop(self, "show_newest")
        self._draw_node(layout.box())
        self._draw_caches(layout.box())

    def _draw_farm(self, box: Any) -> None:
        draw_link(box)
        current = pump.state_if_loaded()
        if current is not None and current.visitor is not None and current.farm is not None:
            who = current.visitor
            draw_text(box, f"Signed in as {who.name} ({', '.join(who.may)})", icon="USER")
        column = box.column()
        column.prop(self, "coordinator_url", placeholder="Found by itself")
        row = column.row(align=True)
        row.prop(self, "join_token", placeholder="rm1. ...")
        row.operator("rendermill.join", text="Join", icon="LINKED")
        if current is not None and current.notice:
            # Here as well as in the panel: who pastes a token does not look at another editor.
            row = box.row()
            draw_text(row.column(), current.notice, icon="INFO", beside=1)
            row.operator("rendermill.dismiss", text="", icon="X")
        column.prop(self, "connect_at_start")
        row = box.row(align=True)
        row.operator("rendermill.connect", text="Search Again", icon="FILE_REFRESH")
        trying = current is not None and current.is_trying
        row.operator(
            "rendermill.try_connection", text="Testing ..." if trying else None, icon="CHECKMARK"
        )
        if current is not None and current.tried is not None:
            icon = "CHECKMARK" if current.tried.is_good else "ERROR"
            draw_text(box, current.tried.sentence, icon=icon)
        draw_farm_offer(box)

    def _draw_node(self, box: Any) -> None:
        box.prop(self, "node_here")
        here = node_here.here
        text, icon = _NODE_WORDS[here.doing]
        if here.doing is Doing.RUNNING and here.node is not None and not self.node_here:
            text = "A node runs in the background; turn this on and off to stop it"
        if text:
            draw_text(box, here.sentence or text, icon=icon)
        column = box.column()
        column.prop(self, "node_when")
        if self.node_when == "IDLE":
            column.prop(self, "node_idle_minutes")
        elif self.node_when == "HOURS":
            column.prop(self, "node_schedule")
        if self.node_when != "ALWAYS":
            column.prop(self, "node_hands_back")
        column.prop(self, "node_stays")
        column.prop(self, "node_cache_gb")
        if here.doing in (Doing.RUNNING, Doing.FAILED) and self.node_here:
            again = "Apply Changes" if here.doing is Doing.RUNNING else "Start Again"
            box.operator("rendermill.restart_node", text=again, icon="FILE_REFRESH")

    def _draw_caches(self, box: Any) -> None:
        row = box.row()
        row.label(text="Caches", icon="DISK_DRIVE")
        row.operator("rendermill.measure_caches", text="Measure", icon="FILE_REFRESH")
        quotas = {"scenes": f", at most {self.node_cache_gb} GB"}
        for name, label in _CACHES:
            row = box.row()
            size = upkeep.sizes.get(name)
            text = "" if size is None else f": {size_text(size)}"
            row.label(text=f"{label}{text}{quotas.get(name, '')}")
            part = row.row()
            part.alignment = "RIGHT"
            part.operator("rendermill.clear_cache", text="Clear", icon="TRASH").cache = name
        if upkeep.problem:
            draw_text(box, upkeep.problem, icon="ERROR")


_NODE_WORDS = {
    Doing.UNKNOWN: ("", "NONE"),
    Doing.OFF: ("", "NONE"),
    Doing.STARTING: ("Starting ...", "SORTTIME"),
    Doing.RUNNING: ("It runs, with this Blender, at the lowest priority", "CHECKMARK"),
    Doing.STOPPING: ("Stopping; the frame in progress may be finished first", "SORTTIME"),
    Doing.FAILED: ("It could not be started", "ERROR"),
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences as plain values."""

    coordinator_url: str = ""
    deliver: bool = True
    show_newest: bool = False
    connect_at_start: bool = True
    node_here: bool = False
    node_when: str = "IDLE"
    node_idle_minutes: int = 10
    node_schedule: str = ""
    node_hands_back: bool = False
    node_stays: bool = False
    node_cache_gb: int = 50


def stored() -> Any:
    """Return Blender's own object of the preferences; None where the add-on is not enabled."""
    everything: Any = bpy.context.preferences
    addon = everything.addons.get(PACKAGE)
    return None if addon is None else addon.preferences


def get() -> Preferences:
    """Return the preferences; the defaults where the add-on is imported but not enabled."""
    own = stored()
    if own is None:
        return Preferences()
    values = {field.name: getattr(own, field.name) for field in fields(Preferences)}
    return Preferences(**(values | {"coordinator_url": own.coordinator_url.strip()}))


def draw_link(layout: Any, beside: int = 0) -> None:
    """Draw one sentence about the farm: found, looked for, or why not; ``beside`` as for
    `draw_text`."""
    text, icon = _link_words()
    draw_text(layout, text, icon=icon, beside=beside)


def _link_words() -> tuple[str, str]:
    if pump.problem():
        return pump.problem(), "ERROR"
    current = pump.state_if_loaded()
    if current is None or current.link.value == "off":
        text = current.link_text if current is not None else ""
        return text or "Not connected to a farm", "UNLINKED"
    if current.link.value == "searching" or current.farm is None:
        return current.link_text or "Looking for the farm ...", "SORTTIME"
    ready = current.nodes_ready()
    nodes = "1 node ready" if ready == 1 else f"{ready} nodes ready"
    at_once = current.frames_at_once()
    frames = "1 frame at once" if at_once == 1 else f"{at_once} frames at once"
    text = f"{current.farm.farm}: {nodes}, {frames}" if ready else f"{current.farm.farm}: {nodes}"
    return text, "LINKED"


def draw_farm_offer(layout: Any) -> None:
    """Draw how to get a farm, where none is found."""
    here, current = node_here.here, pump.state_if_loaded()
    if here.farm_sentence:
        draw_text(layout, here.farm_sentence, icon="ERROR")
    if here.is_starting_farm:
        draw_text(layout, "Starting a coordinator on this computer ...", icon="SORTTIME")
    elif current is not None and current.farm is None and current.link_text:
        draw_text(
            layout,
            "If there is none yet, start one here: this computer hands out the frames then, and "
            "others join it with a token.",
            icon="INFO",
        )
        layout.operator("rendermill.start_farm", icon="ADD")
    elif here.coordinator is not None:
        draw_text(layout, "The coordinator of a farm runs on this computer", icon="HOME")
        row = layout.row()
        row.operator("rendermill.copy_join_token", text="Copy Join Token", icon="COPYDOWN")
        row.operator("rendermill.stop_farm", text="Stop", icon="CANCEL")


CLASSES = (RENDERMILL_AddonPreferences,)
