"""Sentences in panels."""

from __future__ import annotations

from typing import Any

import bpy

_UNITS_PER_LETTER = 7.0
"""About; Blender has no label that wraps."""
_LETTERS_MIN = 24


def draw_text(layout: Any, text: str, *, icon: str = "NONE", width: int = 0) -> None:
    """Draw a sentence over as many lines as it needs in ``width`` units; 0: in the region."""
    everything: Any = bpy.context.preferences
    region: Any = bpy.context.region
    if not width:
        width = int(region.width / everything.system.ui_scale) if region is not None else 400
    letters = max(_LETTERS_MIN, int(width / _UNITS_PER_LETTER) - 6)
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= letters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    column = layout.column(align=True)
    for index, line in enumerate(lines):
        column.label(text=line, icon=icon if index == 0 or icon == "NONE" else "BLANK1")
