"""Files a scene names that are not in what a browser sent: who needs them, and what to do.

A browser sends what was dropped and nothing else. A path that leads out of it leads, on the farm,
to nothing or to another machine's file of the same name; both are told before anybody submits.
"""

from __future__ import annotations

import ntpath
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMED_MOST = 5
"""Names in one sentence; all of them are listed beside it."""
REPLACED = frozenset({"missing_file", "unreachable_drive"})
"""Checks whose advice is for the artist's own machine; what is here is said instead."""


def outside(files: Sequence[dict[str, Any]], tree: Path) -> list[dict[str, Any]]:
    """Return files of a capture that lie outside of what was sent, as missing ones.

    They are files of the machine that looked: on another one they are not there, or not the same.
    """
    roots = tuple({os.fspath(tree), os.path.realpath(tree)})
    return [
        {"source": file["source"], "user": "found on the node, not sent"}
        for file in files
        if not any(Path(file["source"]).is_relative_to(root) for root in roots)
    ]


def findings(missing: Sequence[dict[str, Any]], tree: Path) -> list[dict[str, str]]:
    """Return what to tell of files that are missing: ``source`` and ``user`` of each are known."""
    roots = tuple({os.fspath(tree), os.path.realpath(tree)})
    below = [one for one in missing if any(_is_below(one["source"], root) for root in roots)]
    absolute = [one for one in missing if one not in below]
    told: list[dict[str, str]] = []
    if absolute:
        told.append(
            {
                "severity": "error",
                "what": f"{_count(absolute)} outside of what you dropped: {_named(absolute)}.",
                "why": "The farm has what was dropped, not the disks of your machine: without them "
                "the pictures would be wrong.",
                "fix": "In Blender use File > External Data > Pack Resources; or copy the files "
                "into the folder, let the scene use those, and use Make Paths Relative. Save, and "
                "drop it again.",
            }
        )
    if below:
        told.append(
            {
                "severity": "error",
                "what": f"{_count(below)} not among those you dropped: {_named(below)}.",
                "why": "They would be missing in the pictures.",
                "fix": "Drop the folder that holds the .blend and all of its files, or use File > "
                "External Data > Pack Resources in Blender, save, and drop the .blend again.",
            }
        )
    return told


def _is_below(path: str, root: str) -> bool:
    if ntpath.splitdrive(path)[0] and os.name != "nt":
        return False  # Written on Windows, looked at elsewhere.
    return Path(path).is_relative_to(root)


def _count(files: Sequence[object]) -> str:
    return "1 file of the scene is" if len(files) == 1 else f"{len(files)} files of the scene are"


def _named(files: Sequence[dict[str, Any]]) -> str:
    names = [f"{one['source']} ({one['user']})" for one in files[:NAMED_MOST]]
    rest = len(files) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")
