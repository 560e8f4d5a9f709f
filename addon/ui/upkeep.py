"""What Rendermill keeps on this computer, measured and cleared from the preferences."""

from __future__ import annotations

# A property of Blender is written as an annotation that calls a function.
# pyright: reportInvalidTypeForm=false
from typing import Any

import bpy

from . import errands

_CACHES = (
    ("scenes", "Scenes", "Scenes that a node on this computer has fetched"),
    ("chunks", "Files", "What is known of files that were read before"),
    ("pictures", "Pictures", "Small pictures of finished frames"),
    ("copies", "Copies", "Copies of scenes that a crash has left"),
)

sizes: dict[str, int] = {}
"""Bytes by cache, as measured last; empty before."""
problem = ""
"""Why a cache could not be measured or cleared, one sentence."""


def measure() -> None:
    """Measure every cache, elsewhere."""

    def work() -> dict[str, int]:
        from ...background import scene_cache
        from ..client.caches import measure_caches

        found = {cache.value: size.total_bytes for cache, size in measure_caches().items()}
        return found | {"scenes": scene_cache.size()}

    def done(found: dict[str, int]) -> None:
        sizes.clear()
        sizes.update(found)

    errands.begin(work, done, _failed)


def clear(name: str) -> None:
    """Clear a cache and measure again."""
    global problem  # noqa: PLW0603 - main thread only
    problem = ""

    def work() -> None:
        from ...background import scene_cache
        from ..client.caches import Cache
        from ..client.caches import clear as clear_cache

        if name == "scenes":
            scene_cache.clear()
        else:
            clear_cache(Cache(name))

    errands.begin(work, lambda _: measure(), _failed)


def _failed(error: Exception) -> None:
    global problem  # noqa: PLW0603
    problem = str(error)


def forget() -> None:
    """Know nothing."""
    global problem  # noqa: PLW0603
    sizes.clear()
    problem = ""


class RENDERMILL_OT_measure_caches(bpy.types.Operator):
    """Measure how much Rendermill keeps on this computer"""

    bl_idname = "rendermill.measure_caches"
    bl_label = "Measure Farm Caches"

    def execute(self, context: Any) -> set[Any]:
        """Begin; the sizes show in the preferences."""
        measure()
        if bpy.app.background:
            errands.wait()
        return {"FINISHED"}


class RENDERMILL_OT_clear_cache(bpy.types.Operator):
    """Delete what Rendermill keeps on this computer to be quicker; nothing is lost but time"""

    bl_idname = "rendermill.clear_cache"
    bl_label = "Clear Farm Cache"

    cache: bpy.props.EnumProperty(
        name="Cache", description="Which cache is cleared", items=_CACHES, default="chunks"
    )

    def invoke(self, context: Any, event: Any) -> set[Any]:
        """Ask first: scenes may have to be fetched again."""
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=self.bl_label,
            message="Nothing is lost but the time to fetch or read it again.",
            confirm_text="Clear",
        )

    def execute(self, context: Any) -> set[Any]:
        """Begin; the sizes are measured again."""
        clear(self.cache)
        if bpy.app.background:
            errands.wait()
        if problem:
            self.report({"ERROR"}, problem)
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (RENDERMILL_OT_measure_caches, RENDERMILL_OT_clear_cache)
