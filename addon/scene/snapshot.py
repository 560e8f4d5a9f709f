"""The copy of the open scene that travels: uncompressed, as it is in memory, under its own name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from . import compat
from .paths import PathKind, walk_slots
from .steps import PAUSE, Steps

UNTITLED = "untitled.blend"
"""Name of the snapshot of a file that was never saved."""


class SnapshotError(RuntimeError):
    """The copy could not be written; the message says why and what to do."""


def snapshot_name() -> str:
    """Return the name the snapshot must keep: disk caches hang on the name of the .blend."""
    return Path(bpy.data.filepath).name if bpy.data.filepath else UNTITLED


def save_snapshot(folder: Path) -> Path:
    """Write an uncompressed copy of the open file into ``folder`` (made if absent).

    Returns its path. Unsaved changes are in it; relative paths stay as they are in the original, so
    they are right only once the copy stands in the original's place of the tree. The open file
    keeps its name, its saved or unsaved state and its undo steps. Raises `SnapshotError`.
    """
    target = folder / snapshot_name()
    if bpy.data.filepath and target == Path(bpy.data.filepath):
        raise SnapshotError(f"The snapshot would overwrite the open file; {folder} cannot be used.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _nothing_but_a_copy():
            compat.save_snapshot_copy(str(target))
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().removeprefix("Error: ")
        raise SnapshotError(
            f"The scene could not be copied to {folder}: {reason}. Is the disk full?"
        ) from error
    if not target.is_file() or target.stat().st_size == 0:
        raise SnapshotError(f"Blender wrote no copy of the scene to {folder}; is the disk full?")
    return target


def relative_paths_without_base() -> Steps[bool]:
    """Return whether the open file is unsaved and holds paths relative to it: they lead nowhere."""
    if bpy.data.filepath:
        return False
    for slot in walk_slots():
        if slot is None:
            yield PAUSE
        elif (
            slot.kind is not PathKind.OUTPUT
            and slot.value.startswith("//")
            and not slot.owner.library
        ):
            return True
    return False


@contextmanager
def _nothing_but_a_copy() -> Iterator[None]:
    """Hold off what a save does besides: packing all files, a rendered file preview."""
    preferences: Any = bpy.context.preferences
    files, preferences_dirty = preferences.filepaths, preferences.is_dirty
    autopack, preview = bpy.data.use_autopack, files.file_preview_type
    try:
        if autopack:
            bpy.data.use_autopack = False
        if preview != "NONE":
            files.file_preview_type = "NONE"
        yield
    finally:
        if autopack:
            bpy.data.use_autopack = True
        if preview != "NONE":
            files.file_preview_type = preview
            preferences.is_dirty = preferences_dirty
