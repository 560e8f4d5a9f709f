"""How Blender puts the number of a frame into the name of its file."""

from __future__ import annotations

import re

FRAME_DIGITS = 4
"""Blender's padding where a path has no ``#``."""


def numbered(name: str, frame: int) -> str:
    """Return ``name`` with the frame number where Blender puts it (``BLI_path_frame``)."""
    head, slash, last = name.rpartition("/")
    groups = list(re.finditer(r"#+", last))
    if not groups:
        return name + padded(frame, FRAME_DIGITS)
    found = groups[-1]
    number = padded(frame, len(found[0]))
    return head + slash + last[: found.start()] + number + last[found.end() :]


def padded(frame: int, digits: int) -> str:
    """As C's ``%0*d`` with room for the sign added, the way Blender counts: -5 is ``-0005``."""
    return f"-{-frame:0{digits}d}" if frame < 0 else f"{frame:0{digits}d}"
