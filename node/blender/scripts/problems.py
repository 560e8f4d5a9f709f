"""What makes a picture differ without stopping Blender: missing files and blocked scripts.

Blender draws a missing texture in magenta and leaves a blocked driver at its last value, both with
exit code 0. Neither is fatal here, as neither is fatal in Blender: the artist may have sent the
scene knowing it. But each is said, with the name of what is concerned.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any

import bpy

from . import paths  # pyright: ignore[reportAttributeAccessIssue]

NAMED_MAX = 20
"""Missing files that get a sentence of their own; the rest is counted."""

_DIGITS = re.compile(r"\d+(?=\D*$)")
_FOLDERS = frozenset(
    {
        paths.PathKind.STRIP_FOLDER,
        paths.PathKind.POINT_CACHE,
        paths.PathKind.FLUID_CACHE,
        paths.PathKind.BAKE_FOLDER,
        paths.PathKind.OCEAN_CACHE,
    }
)


def missing_files() -> list[str]:
    """Return a sentence for every file the open scene reads and this machine does not have."""
    found: dict[str, None] = {}
    for slot in paths.iterate_slots():
        if slot.kind is paths.PathKind.OUTPUT or not slot.needed or not slot.resolved:
            continue
        for path in _lacking(slot):
            found[_sentence(slot, path)] = None
    sentences = list(found)
    if len(sentences) > NAMED_MAX:
        more = len(sentences) - NAMED_MAX
        sentences = [*sentences[:NAMED_MAX], f"{more} more files of the scene are missing."]
    return sentences


def blocked_scripts() -> list[str]:
    """Return a sentence when Python in the .blend wanted to run and was not allowed to."""
    if not bpy.app.autoexec_fail:
        return []
    what = bpy.app.autoexec_fail_message or "a script"
    return [
        f"Python in the scene was not run ({what}), so the picture may differ: "
        "mark the scene as trusted to let it run."
    ]


def _lacking(slot: Any) -> list[str]:
    """Return the paths of a slot that are not there; of a sequence, one that stands for all."""
    path = slot.resolved
    if slot.kind in _FOLDERS:
        return [] if os.path.isdir(path) else [path]
    if slot.kind is paths.PathKind.SEQUENCE:
        # The named frame need not be one that is used: any file of the sequence will do here.
        folder, name = os.path.split(path)
        match = _DIGITS.search(name)
        if match is not None:
            before, after = glob.escape(name[: match.start()]), glob.escape(name[match.end() :])
            if glob.glob(os.path.join(glob.escape(folder), f"{before}*{after}")):
                return []
        return [] if os.path.isfile(path) else [path]
    if slot.kind is paths.PathKind.UDIM:
        tiles = [tile.number for tile in slot.holder.tiles]
        return [file for file in (_tile(path, tile) for tile in tiles) if not _has_bytes(file)]
    return [] if _has_bytes(path) else [path]


def _tile(path: str, number: int) -> str:
    u, v = (number - 1001) % 10 + 1, (number - 1001) // 10 + 1
    return path.replace("<UDIM>", str(number)).replace("<UVTILE>", f"u{u}_v{v}")


def _sentence(slot: Any, path: str) -> str:
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    if slot.kind is paths.PathKind.LIBRARY:
        return f"{slot.label} is missing ({name}): what is linked from it is not in the picture."
    if isinstance(slot.owner, bpy.types.Image):
        state = "is empty" if os.path.isfile(path) else "is missing"
        return f"The file {name} of {slot.label} {state}: what it covers shows magenta."
    return f"The file {name} of {slot.label} is missing: the picture will differ."


def _has_bytes(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False
