"""A captured scene on its way to the farm: the spec and the local files that make it up.

Made by `addon.scene` (which needs bpy), consumed by `addon.client` (which must not). It never
travels: paths are those of the artist's machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .job import JobSpec


@dataclass(frozen=True, slots=True)
class SceneFile:
    """A file to send: where it lies here and which path it gets in the job's tree."""

    source: Path
    path: str
    """As in `ManifestFile.path`; relations between files of the scene are preserved."""


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file the scene names and this machine does not have."""

    source: Path
    user: str
    """What needs it, for people: ``Image "wood"``."""


@dataclass(frozen=True, slots=True)
class CapturedScene:
    """What `addon.scene` hands to `addon.client`."""

    spec: JobSpec
    files: tuple[SceneFile, ...]
    missing: tuple[MissingFile, ...] = ()
    warnings: tuple[str, ...] = ()
    """Sentences for the artist: what will differ on the farm, and what to do."""
    scratch: Path | None = field(default=None)
    """Folder of temporary files (the snapshot) to delete after the upload."""
    blend: str = ""
    """Where the open file is saved, normal form; '' for one that never was."""
    notes: tuple[str, ...] = ()
    """Sentences that are good to know, and nothing to worry about."""
    placeholder: str = ""
    """Name of a frame's file below the folder of the main output, with ``####`` for its number,
    where the artist wants Blender's *Placeholders* and it is known; else ''."""
