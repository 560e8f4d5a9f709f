"""Sentences in panels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import bpy

UNIT = 20
"""Width of an icon or of a button with nothing but one, pixels at a scale of 1."""
_AROUND = 72
"""What is no text in a panel's box: its margins, an icon and the scroll bar; pixels at a scale
of 1."""
_WIDTH_MIN = 60
_WIDTH_WITHOUT_REGION = 400
_BREAKS = "/\\_-. "
"""After these a word that is longer than a line is broken, where it has any: paths, mostly."""


def draw_text(
    layout: Any, text: str, *, icon: str = "NONE", width: int = 0, beside: int = 0
) -> None:
    """Draw a sentence over as many lines as it needs: Blender has no label that wraps.

    ``width``: of the dialog it is in, pixels at a scale of 1; 0: as wide as the region is.
    ``beside``: buttons with nothing but an icon that stand in the same row.
    """
    region: Any = bpy.context.region
    scale = _scale()
    if not width:
        width = int(region.width / scale) if region is not None else _WIDTH_WITHOUT_REGION
    room = max(_WIDTH_MIN, width - _AROUND - beside * UNIT)
    column = layout.column(align=True)
    for index, line in enumerate(wrap(text, room * scale)):
        column.label(text=line, icon=icon if index == 0 or icon == "NONE" else "BLANK1")


def wrap(text: str, width: float) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, as Blender writes them in panels."""
    size = _points() * _scale()
    space = _width_of(" ", size)
    lines: list[str] = []
    used = 0.0
    for word in text.split():
        for number, piece in enumerate(_pieces(word, width, size)):
            needs = _width_of(piece, size)
            if lines and number == 0 and used + space + needs <= width:
                lines[-1] += f" {piece}"
                used += space + needs
            else:
                lines.append(piece)
                used = needs
    return lines


def _pieces(word: str, width: float, size: float) -> list[str]:
    """Break a word that is longer than a line, after a mark in it where that is not too early."""
    pieces: list[str] = []
    while len(word) > 1 and _width_of(word, size) > width:
        most = next(
            (count for count in range(2, len(word)) if _width_of(word[:count], size) > width),
            len(word),
        )
        most = max(1, most - 1)
        mark = max(word.rfind(each, 0, most) for each in _BREAKS) + 1
        cut = mark if mark > most // 2 else most
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word]


def _scale() -> float:
    everything: Any = bpy.context.preferences
    # Blender without a window has none.
    return everything.system.ui_scale or 1.0


def _points() -> float:
    everything: Any = bpy.context.preferences
    return everything.ui_styles[0].widget.points


@lru_cache(maxsize=4096)
def _width_of(text: str, size: float) -> float:
    # Kept: a panel is drawn anew with every move of the mouse, and says the same again.
    # Without a window Blender has this module only once bpy is there.
    import blf

    blf.size(0, size)
    return blf.dimensions(0, text)[0]
