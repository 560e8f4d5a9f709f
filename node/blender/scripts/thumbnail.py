"""A picture of the frame as the artist would see it, for formats that browsers cannot show.

PNG, JPEG and WebP files already went through the scene's view transform and any browser shows
them. For all else the render result is saved once more as a JPEG, at full size and through the
view transform, as Blender's render window shows it.
"""

from __future__ import annotations

import os
from typing import Any

import bpy

from . import compat  # pyright: ignore[reportAttributeAccessIssue]

SHOWN_ALREADY = frozenset({"PNG", "JPEG", "WEBP", "BMP"})
QUALITY = 90
"""Of the JPEG, in percent: people judge the frame by it."""


def save(scene: Any, stem: str) -> str:
    """Save the render result as a JPEG beside ``stem``; return its path, "" where not needed.

    The scene's image settings are put back as they were. A thumbnail is never worth a frame, so a
    refusal of Blender yields "".
    """
    settings = scene.render.image_settings
    if settings.file_format in SHOWN_ALREADY:
        return ""
    result = next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)
    if result is None:
        return ""
    kept = {
        name: getattr(settings, name)
        for name in ("color_mode", "color_depth", "quality", "views_format", "color_management")
    }
    file_format = settings.file_format
    path = stem + ".jpg"
    try:
        compat.set_image_format(settings, "JPEG")
        settings.color_mode = "RGB"
        # An output may have a colour space of its own; the render window shows the scene's.
        settings.color_management = "FOLLOW_SCENE"
        settings.quality = QUALITY
        result.save_render(path, scene=scene)
    except (RuntimeError, TypeError):
        return ""
    finally:
        compat.set_image_format(settings, file_format)
        for name, value in kept.items():
            setattr(settings, name, value)
    if os.path.isfile(path):
        return path
    # Stereo views become files of their own; the first stands for all.
    folder = os.path.dirname(stem)
    views = sorted(name for name in os.listdir(folder) if name.startswith(os.path.basename(stem)))
    return os.path.join(folder, views[0]) if views else ""
