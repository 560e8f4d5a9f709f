"""What the artist sets for the next job, and what scripts may read back.

Options of a job lie in the scene and are saved with it. Trusting the file's scripts does not: a
file that came from elsewhere must not be able to say of itself that it is to be trusted.
"""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from typing import Any

import bpy

from ...protocol.job import PRIORITY_MAX, PRIORITY_MIN, PRIORITY_NORMAL, FrameOrder

_ORDERS = (
    (FrameOrder.FORWARD.value, "Forward", "First frame first"),
    (FrameOrder.BACKWARD.value, "Backward", "Last frame first"),
    (
        FrameOrder.BINARY.value,
        "Overview First",
        "First, last, middle, quarters, and so on: soon a picture of every part",
    ),
)


def _look_again(_self: Any, _context: Any) -> None:
    """An option has changed on which the checks depend: what they have said may be wrong now."""
    from . import survey  # which needs this module

    survey.want()


class RENDERMILL_SceneProperties(bpy.types.PropertyGroup):
    """Options of the jobs of one scene: ``scene.rendermill``."""

    frames: bpy.props.StringProperty(
        name="Frames",
        description='Frames to render, like "1-250" or "1-10:2, 40". Empty: those of the scene',
        update=_look_again,
    )
    priority: bpy.props.IntProperty(
        name="Priority",
        description="Jobs of higher priority get nodes first",
        default=PRIORITY_NORMAL,
        min=PRIORITY_MIN,
        max=PRIORITY_MAX,
    )
    order: bpy.props.EnumProperty(
        name="Order",
        description="In which order the frames are rendered",
        items=_ORDERS,
        default=FrameOrder.FORWARD.value,
    )
    film_frames: bpy.props.BoolProperty(
        name="Frames of the Film Too",
        description=(
            "Where the output is a video: bring the lossless frames as well, into a folder named "
            "after the film. They stay on the farm in any case, as long as the job does"
        ),
        default=False,
    )
    tags: bpy.props.StringProperty(
        name="Tags",
        description="Only nodes that have all of these tags take the job; separated by commas",
        update=_look_again,
    )
    nodes: bpy.props.StringProperty(
        name="Nodes",
        description="Names of the nodes that may take the job, separated by commas. Empty: any",
        update=_look_again,
    )
    max_nodes: bpy.props.IntProperty(
        name="Most Nodes",
        description="How many nodes may work on the job at once; 0: as many as there are",
        default=0,
        min=0,
        max=10_000,
    )
    scouts: bpy.props.BoolProperty(
        name="Scout Frames First",
        description=(
            "Render the first, the middle and the last frame, then wait: the rest is rendered "
            "when you approve them"
        ),
        default=False,
    )


class RENDERMILL_SessionProperties(bpy.types.PropertyGroup):
    """What holds until Blender is closed: ``window_manager.rendermill``."""

    trust_scripts: bpy.props.BoolProperty(
        name="Trust Scripts of This File",
        description=(
            "Let Python in the file (drivers, registered texts) run on the farm. Only for files "
            "whose origin you know; every such job is written to the farm's audit log"
        ),
        default=False,
        update=_look_again,
    )
    last_job: bpy.props.StringProperty(
        name="Last Job",
        description="Id of the job that was sent last, for scripts",
        options={"HIDDEN", "SKIP_SAVE"},
    )


def words_of(text: str) -> tuple[str, ...]:
    """Return what stands between commas, each once, in order: tags, names of nodes."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


@bpy.app.handlers.persistent
def _forget_trust(*_: Any) -> None:
    # Trust was given to the file that was open, not to the next one.
    session: Any = getattr(bpy.context.window_manager, "rendermill", None)
    if session is not None:
        session.trust_scripts = False


CLASSES = (RENDERMILL_SceneProperties, RENDERMILL_SessionProperties)


def register() -> None:
    """Hang the groups on scenes and on the session."""
    scene_type: Any = bpy.types.Scene
    session_type: Any = bpy.types.WindowManager
    scene_type.rendermill = bpy.props.PointerProperty(type=RENDERMILL_SceneProperties)
    session_type.rendermill = bpy.props.PointerProperty(type=RENDERMILL_SessionProperties)
    bpy.app.handlers.load_pre.append(_forget_trust)


def unregister() -> None:
    """Take the groups away."""
    if _forget_trust in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_forget_trust)
    scene_type: Any = bpy.types.Scene
    session_type: Any = bpy.types.WindowManager
    for owner in (scene_type, session_type):
        if hasattr(owner, "rendermill"):
            del owner.rendermill
