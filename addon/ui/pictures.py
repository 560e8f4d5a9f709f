"""The newest frame of each delivery as a small picture in a panel.

A preview and not an image of the file: looking at the farm must not change what the artist saves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy.utils.previews

KEPT_MOST = 32
"""Pictures in memory; a long job shows thousands, one after the other."""

_previews: Any = None


def icon_of(picture: Path) -> int:
    """Return the icon of an image file; 0 when it is gone or cannot be shown."""
    if _previews is None or not picture.is_file():
        return 0
    # A frame that is rendered anew keeps its name: the time tells it apart.
    key = f"{picture} {picture.stat().st_mtime_ns}"
    if key not in _previews:
        if len(_previews) >= KEPT_MOST:
            _previews.clear()
        _previews.load(key, str(picture), "IMAGE")
    return _previews[key].icon_id


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
