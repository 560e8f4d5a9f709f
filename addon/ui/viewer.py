"""The newest frame that came home, in an Image Editor.

It is shown through one image of the open file, which is taken away while the file is saved or sent:
looking at the farm must not become part of what the artist keeps. Blender reads the picture when it
draws the editor; nothing here waits for a disk but the look whether the file is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

NAME = "Newest Frame of the Farm"
_MARK = "rendermill_newest"
"""Custom property that tells our image from one that the artist calls the same."""

_aside: str = ""
"""Path of the picture that was shown and is to be shown again."""
_editors_aside: tuple[tuple[int, int], ...] = ()
_shown: tuple[str, int] = ("", 0)


def follow(path: Path, number: int) -> bool:
    """Show a picture in every Image Editor that shows the farm's frames already, or else in one
    that shows nothing of its own; whether there was one. ``number`` tells pictures of one path
    apart."""
    global _shown  # noqa: PLW0603 - main thread only
    if _shown == (str(path), number):
        return True
    editors = _editors_of_ours() or _free_editors()[:1]
    if not editors or not _show_in(editors, str(path)):
        return False
    _shown = (str(path), number)
    return True


def show(path: Path) -> bool:
    """Show a picture, opening a window with an Image Editor where there is none."""
    editors = _editors_of_ours() or _free_editors()[:1]
    if not editors:
        context: Any = bpy.context
        with context.temp_override(window=context.window_manager.windows[0]):
            bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "IMAGE_EDITOR"
        area.ui_type = "IMAGE_EDITOR"
        editors = [area]
    return _show_in(editors, str(path))


def _show_in(editors: list[Any], path: str) -> bool:
    image = _image()
    try:
        if image is None:
            image = bpy.data.images.load(path)
            image.name = NAME
            image[_MARK] = True
        elif image.filepath != path:
            image.filepath = path
        else:
            image.reload()
    except RuntimeError:
        return False  # It went away again, or is none that Blender can read.
    for area in editors:
        area.spaces.active.image = image
        area.tag_redraw()
    return True


def set_aside() -> None:
    """Take our image out of the open file until `put_back`."""
    global _aside, _editors_aside  # noqa: PLW0603
    image = _image()
    if image is None:
        return
    _aside = image.filepath
    _editors_aside = tuple(
        (window, area) for window, area, editor in _editors() if editor.spaces.active.image == image
    )
    bpy.data.images.remove(image)


def put_back() -> None:
    """Show again what was set aside, where it was."""
    global _aside, _editors_aside
    path, places = _aside, _editors_aside
    _aside, _editors_aside = "", ()
    if not path:
        return
    editors = [
        editor
        for window, area, editor in _editors()
        if (window, area) in places and editor.spaces.active.image is None
    ]
    if editors:
        _show_in(editors, path)


def _image() -> Any:
    images: Any = bpy.data.images
    for image in images:
        if image.library is None and _MARK in image:
            return image
    return None


def _editors() -> Iterator[tuple[int, int, Any]]:
    manager: Any = bpy.context.window_manager
    for number, window in enumerate(manager.windows):
        for place, area in enumerate(window.screen.areas):
            if area.type == "IMAGE_EDITOR" and area.spaces.active.mode == "VIEW":
                yield number, place, area


def _editors_of_ours() -> list[Any]:
    image = _image()
    if image is None:
        return []
    return [area for _, _, area in _editors() if area.spaces.active.image == image]


def _free_editors() -> list[Any]:
    # Never one in which the artist looks at something else.
    return [area for _, _, area in _editors() if area.spaces.active.image is None]


@bpy.app.handlers.persistent
def _before_save(*_: Any) -> None:
    set_aside()


@bpy.app.handlers.persistent
def _after_save(*_: Any) -> None:
    put_back()


def _handlers() -> tuple[tuple[Any, Any], ...]:
    handlers = bpy.app.handlers
    return (
        (handlers.save_pre, _before_save),
        (handlers.save_post, _after_save),
        (handlers.save_post_fail, _after_save),
    )


def register() -> None:
    """Keep our image out of what is saved."""
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    """Take our image and the handlers away."""
    global _aside, _editors_aside, _shown
    for handlers, function in _handlers():
        if function in handlers:
            handlers.remove(function)
    # Blender that is closing, or that holds another add-on's start, has no data to look at.
    if hasattr(bpy.data, "images"):
        set_aside()
    _aside, _editors_aside, _shown = "", (), ("", 0)
