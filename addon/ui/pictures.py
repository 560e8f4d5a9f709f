"""The newest frame of each job as a small picture in a panel.

A preview and not an image of the file: looking at the farm must not change what the artist saves.
Pictures are prepared by the pump's timer; drawing only looks them up. Blender reads the file itself
in a thread of its own, when the icon is drawn for the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy.utils.previews

if TYPE_CHECKING:
    from .farm_state import Picture

KEPT_MOST = 32
"""Pictures in memory; a long job shows thousands, one after the other."""

_previews: Any = None


def prepare(picture: Picture) -> bool:
    """Have the icon of a picture ready; whether it is a new one."""
    if _previews is None:
        return False
    key = _key(picture)
    if key in _previews:
        return False
    if len(_previews) >= KEPT_MOST:
        _previews.clear()
    _previews.load(key, str(picture.path), "IMAGE")
    return True


def icon_of(picture: Picture) -> int:
    """Return the icon of a picture; 0 when it is not ready."""
    key = _key(picture)
    if _previews is None or key not in _previews:
        return 0
    return _previews[key].icon_id


def _key(picture: Picture) -> str:
    return f"{picture.path} {picture.number}"


def register() -> None:
    """Make room for pictures."""
    global _previews  # noqa: PLW0603 - Blender wants one collection, removed by who made it
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    """Give the pictures back."""
    global _previews  # noqa: PLW0603
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None
