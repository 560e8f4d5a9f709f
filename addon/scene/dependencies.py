"""Every file that the open scene needs, from the paths that its .blend holds.

`paths` says where the .blend names files; here names become files: all tiles of a UDIM image, all
frames of a sequence, what a cache or bake folder holds. Only existing files are reported as files;
the others become `MissingFile`, with who needs them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from ...protocol.scene import MissingFile
from . import compat
from .paths import (
    PathKind,
    PathSlot,
    is_absolute,
    is_too_wide,
    iterate_point_caches,
    iterate_slots,
)

_UVTILE = "<UVTILE>"
_TILE_TOKENS = {"<UDIM>": r"\d{4}", _UVTILE: r"u\d+_v\d+"}
_POINT_CACHE_SUFFIXES = (".bphys", ".vdb")
_OCEAN_PREFIXES = ("disp", "foam", "normal", "spray", "spray_inverse")
_FLUID_FOLDERS = ("config", "data", "noise", "mesh", "particles", "guiding", "script")


@dataclass(slots=True)
class Dependencies:
    """What the open file needs besides itself."""

    files: dict[str, str] = field(default_factory=dict)
    """Absolute path as spelled (lexical normal form) -> who needs it first, for people."""
    missing: list[MissingFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Sentences about paths that cannot be followed."""


def find_dependencies() -> Dependencies:
    """Return every file the open .blend needs, libraries of libraries and their files included.

    Reads folders, never files; nothing in the open file changes.
    """
    found = Dependencies()
    for _ in iterate_dependencies(found):
        pass
    return found


def iterate_dependencies(found: Dependencies) -> Iterator[str]:
    """Fill ``found`` path by path, yielding the label of each: for callers with a time budget."""
    listings = _Listings()
    reported: set[tuple[str, str]] = set()
    for slot in list(iterate_slots()):
        if slot.kind is PathKind.OUTPUT:
            continue
        yield slot.label
        _follow(slot, found, listings, reported)
    yield "Disk caches"
    for folder, label in _disk_cache_folders():
        for file in _walk(folder):
            found.files.setdefault(file, label)


def _follow(
    slot: PathSlot, found: Dependencies, listings: _Listings, reported: set[tuple[str, str]]
) -> None:
    path = slot.resolved
    if not path:
        return
    if not is_absolute(path):
        if slot.needed and (slot.label, path) not in reported:
            reported.add((slot.label, path))
            found.missing.append(MissingFile(Path(path), slot.label))
            found.warnings.append(
                f"{slot.label} has the path {slot.value!r}, which is relative to the folder in "
                f"which Blender was started; save the file and make the path relative to it."
            )
        return
    files, missing = _resolve_slot(slot, path, listings)
    for file in files:
        found.files.setdefault(file, slot.label)
    for absent in missing if slot.needed else ():
        if (slot.label, absent) not in reported:
            reported.add((slot.label, absent))
            found.missing.append(MissingFile(Path(absent), slot.label))


def _resolve_slot(  # noqa: PLR0911 - one return for each kind of path
    slot: PathSlot, path: str, listings: _Listings
) -> tuple[Iterable[str], Iterable[str]]:
    """Return the files that exist for a slot and the paths that should exist and do not."""
    match slot.kind:
        case PathKind.SEQUENCE:
            files = list(_all_views(slot.holder, sequence_files(path, listings), listings))
            return files, () if files else (path,)
        case PathKind.UDIM:
            return _tiles(slot.holder, path, listings)
        case PathKind.STRIP_FOLDER:
            wanted = [os.path.join(path, item.filename) for item in slot.holder.elements]
            wanted = list(_all_views(slot.holder, wanted, listings))
            return _split(wanted, listings)
        case PathKind.POINT_CACHE:
            return _folder(path, _point_cache_files(path, slot.holder, listings))
        case PathKind.FLUID_CACHE:
            parts = [os.path.join(path, name) for name in _FLUID_FOLDERS]
            return _folder(path, (f for part in parts for f in _walk(part)))
        case PathKind.BAKE_FOLDER:
            return _folder(path, _bake_files(path))
        case PathKind.OCEAN_CACHE:
            names = (n for n in listings.names(path) if n.startswith(_OCEAN_PREFIXES))
            return _folder(path, (os.path.join(path, name) for name in names))
        case _:
            return _split(
                _all_views(slot.holder, _companions(slot, path, listings), listings), listings
            )


def _split(paths: Iterable[str], listings: _Listings) -> tuple[list[str], list[str]]:
    files: list[str] = []
    missing: list[str] = []
    for path in paths:
        (files if listings.has(path) else missing).append(path)
    return files, missing


def _folder(path: str, files: Iterable[str]) -> tuple[Iterable[str], Iterable[str]]:
    """Return the files of a folder; the folder itself is missing when a bake should fill it."""
    if is_too_wide(path):
        return (), ()
    listed = list(files)
    return listed, () if listed else (path,)


class _Listings:
    """Folders read so far: a sequence of 10,000 frames costs one listing, not 10,000 stats."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """Names of the files in a folder, of none when it cannot be read."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(e.name for e in entries if e.is_file())
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Whether a file exists; asks the system where the listing knows another spelling."""
        folder, name = os.path.split(path)
        return name in self.names(folder) or os.path.isfile(path)


# --- sequences, tiles, views -------------------------------------------------------------------


def sequence_pattern(name: str) -> re.Pattern[str] | None:
    """Return what matches every file of the sequence that ``name`` belongs to, None if unnumbered.

    As Blender's ``BLI_path_sequence_decode``: the last group of digits before the extension.
    """
    stem, extension = os.path.splitext(name)
    groups = list(re.finditer(r"[0-9]+", stem))
    if not groups:
        return None
    last = groups[-1]
    head, tail = stem[: last.start()], stem[last.end() :]
    return re.compile(re.escape(head) + r"-?[0-9]+" + re.escape(tail + extension))


def sequence_files(path: str, listings: _Listings | None = None) -> list[str]:
    """Return all existing files of the sequence that ``path`` belongs to, in order of names."""
    folder, name = os.path.split(path)
    listings = listings or _Listings()
    pattern = sequence_pattern(name)
    if pattern is None:
        return [path] if listings.has(path) else []
    names = sorted(n for n in listings.names(folder) if pattern.fullmatch(n))
    return [os.path.join(folder, n) for n in names]


def _tiles(image: Any, path: str, listings: _Listings) -> tuple[list[str], list[str]]:
    folder, name = os.path.split(path)
    token = next((t for t in _TILE_TOKENS if t in name), None)
    if token is None:
        return _split([path], listings)
    head, tail = name.split(token, 1)
    pattern = re.compile(re.escape(head) + _TILE_TOKENS[token] + re.escape(tail))
    files = [
        os.path.join(folder, n) for n in sorted(listings.names(folder)) if pattern.fullmatch(n)
    ]
    have = set(files)
    missing = []
    for tile in image.tiles:
        number = tile.number - 1001
        text = f"u{number % 10 + 1}_v{number // 10 + 1}" if token == _UVTILE else str(tile.number)
        expected = os.path.join(folder, head + text + tail)
        if expected not in have and not compat.is_generated_tile(tile):
            missing.append(expected)
    return files, missing


def _all_views(holder: Any, paths: Iterable[str], listings: _Listings) -> Iterator[str]:
    """Yield paths, and the files of the other stereo views of an image or strip that has them."""
    separate = (
        getattr(holder, "use_multiview", False)
        and getattr(holder, "views_format", "") == "INDIVIDUAL"
    )
    suffixes = _view_suffixes() if separate else ()
    for path in paths:
        stem, extension = os.path.splitext(path)
        base = next((stem[: -len(s)] for s in suffixes if stem.endswith(s)), None)
        if base is None:
            yield path
            continue
        for suffix in suffixes:
            other = base + suffix + extension
            if other == path or listings.has(other):
                yield other


def _view_suffixes() -> tuple[str, ...]:
    suffixes = {view.file_suffix for scene in bpy.data.scenes for view in scene.render.views}
    return tuple(sorted(suffixes - {""}))


def _companions(slot: PathSlot, path: str, listings: _Listings) -> Iterator[str]:
    """Yield a file and those that Blender or a shader compiler reads along with it."""
    yield path
    stem, extension = os.path.splitext(path)
    if extension.lower() == ".osl" and listings.has(stem + ".oso"):
        yield stem + ".oso"
    if slot.kind is PathKind.FILE and extension.lower() == ".obj" and listings.has(stem + ".mtl"):
        yield stem + ".mtl"


# --- caches and bakes --------------------------------------------------------------------------


def _disk_cache_folders() -> Iterator[tuple[str, str]]:
    """Yield the ``blendcache_`` folders in use: they hang on the name of the .blend or library."""
    seen: set[str] = set()
    for owner, label, cache in iterate_point_caches():
        if not cache.use_disk_cache or cache.use_external:
            continue
        library = owner.library if cache.use_library_path else None
        blend = bpy.path.abspath(library.filepath) if library else bpy.data.filepath
        if blend and blend not in seen:
            seen.add(blend)
            folder, name = os.path.split(os.path.normpath(blend))
            yield os.path.join(folder, "blendcache_" + os.path.splitext(name)[0]), label


def _point_cache_files(folder: str, cache: Any, listings: _Listings) -> Iterator[str]:
    """Yield the files of an external cache: ``<name>_<frame>_<index>.bphys``."""
    for name in sorted(listings.names(folder)):
        stem, extension = os.path.splitext(name)
        if extension in _POINT_CACHE_SUFFIXES and stem.startswith(cache.name + "_"):
            yield os.path.join(folder, name)


def _bake_files(folder: str) -> Iterator[str]:
    """Yield the files of Geometry Nodes bakes: ``meta`` and ``blobs`` here or one folder below."""
    if is_too_wide(folder):
        return
    for place, folders, names in os.walk(folder):
        depth = os.path.relpath(place, folder).count(os.sep) + (place != folder)
        inside = os.path.basename(place) in ("meta", "blobs")
        if inside:
            yield from (os.path.join(place, name) for name in sorted(names))
        folders[:] = [] if inside or depth > 2 else sorted(folders)


def has_bake(folder: str) -> bool:
    """Whether a Geometry Nodes bake lies in ``folder``."""
    return next(_bake_files(folder), None) is not None


def _walk(folder: str) -> Iterator[str]:
    """Yield every file below a folder, of none when it is too wide to be a cache."""
    if is_too_wide(folder):
        return
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(names))
