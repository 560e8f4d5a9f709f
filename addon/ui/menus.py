"""Entries in Blender's Render menu, directly under *Render Image* and *Render Animation*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

_ENTRIES = (
    ("rendermill.render_image", "RENDER_STILL"),
    ("rendermill.render_animation", "RENDER_ANIMATION"),
)
_Draw = Callable[[Any, Any], None]


def draw_entries(layout: Any) -> None:
    """Draw both entries: the still first, as Blender does."""
    for operator, icon in _ENTRIES:
        layout.operator(operator, icon=icon)


class _Watched:
    """A layout that draws our entries before its first separator, where Blender's two end.

    Blender lets add-ons draw above a menu and below it, and *Render Animation* stands in its
    midst; so the menu's own code draws into this, which passes everything on.
    """

    __slots__ = ("_is_drawn", "_layout")

    def __init__(self, layout: Any) -> None:
        object.__setattr__(self, "_layout", layout)
        object.__setattr__(self, "_is_drawn", False)

    def __getattr__(self, name: str) -> Any:
        if name == "separator":
            self.finish()
        return getattr(self._layout, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._layout, name, value)

    def finish(self) -> None:
        """Draw the entries unless that is done: a menu may have no separator."""
        if not self._is_drawn:
            object.__setattr__(self, "_is_drawn", True)
            draw_entries(self._layout)


class _Menu:
    """A menu whose layout is watched while its own code draws it."""

    def __init__(self, menu: Any) -> None:
        self._menu = menu
        self.layout = _Watched(menu.layout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._menu, name)


class _Around:
    """Takes the place of the menu's own draw function, and gives it back."""

    def __init__(self, draw: _Draw) -> None:
        self.draw = draw

    def __call__(self, menu: Any, context: Any) -> None:
        watched = _Menu(menu)
        self.draw(watched, context)
        watched.layout.finish()


def _draw_functions() -> list[Any]:
    # The list that `append` and `prepend` work on; it holds Blender's own function as well.
    menu: Any = bpy.types.TOPBAR_MT_render
    return menu._dyn_ui_initialize()


def register() -> None:
    """Add the entries."""
    functions = _draw_functions()
    for index, draw in enumerate(functions):
        if getattr(draw, "__module__", "").startswith("bl_ui."):
            functions[index] = _Around(draw)
            return
    # Another add-on has replaced the whole menu: then below it.
    bpy.types.TOPBAR_MT_render.append(_draw_below)


def unregister() -> None:
    """Take them away."""
    functions = _draw_functions()
    for index, draw in enumerate(functions):
        if isinstance(draw, _Around):
            functions[index] = draw.draw
    if _draw_below in functions:
        functions.remove(_draw_below)


def _draw_below(menu: Any, _context: Any) -> None:
    menu.layout.separator()
    draw_entries(menu.layout)
