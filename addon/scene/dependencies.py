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
from . import colours, compat
from .cache_frames import FrameSpans, cut_bake, cut_fluid, cut_point_cache, whole_cache_steps
from .companions import companions_of, texture_caches
from .listings import Listings
from .paths import (
    PathKind,
    PathSlot,
    cache_library,
    is_absolute,
    is_too_wide,
    walk_computed_paths,
    walk_point_caches,
    walk_slots,
)
from .steps import PAUSE, Steps, elsewhere, in_one_go

_UVTILE = "<UVTILE>"
_TILE_TOKENS = {"<UDIM>": r"\d{4}", _UVTILE: r"u\d+_v\d+"}
_POINT_CACHE_SUFFIXES = (".bphys", ".vdb")
_COLOURS = "Colour configuration"
_OCEAN_PREFIXES = ("disp", "foam", "normal", "spray", "spray_inverse")
_FLUID_FOLDERS = ("config", "data", "noise", "mesh", "particles", "guiding", "script")


@dataclass(slots=True)
class Dependencies:
    """What the open file needs besides itself."""

    spans: FrameSpans | None = None
    """The frames that simulation caches must cover (`cache_frames.spans_of`); None: all of them."""
    files: dict[str, str] = field(default_factory=dict)
    """Absolute path as spelled (lexical normal form) -> who needs it first, for people."""
    missing: list[MissingFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Sentences about paths that cannot be followed."""
    cache_files: set[str] = field(default_factory=set)
    """All files of simulation caches, those included that ``spans`` does not need."""
    colour_configuration: str = ""
    """As `colours.configuration`."""
    looking_at: str = ""
    """Label of whose files are looked at just now, for people."""

    def of_cache(self, files: list[str], kept: list[str]) -> list[str]:
        """Note the files of a cache and return those that are ``kept``."""
        self.cache_files.update(files)
        return kept

    @property
    def cache_files_kept(self) -> int:
        """How many files of simulation caches are among ``files``."""
        return sum(path in self.files for path in self.cache_files)


def dependency_steps(found: Dependencies) -> Steps[None]:
    """Find every file the open .blend needs, libraries of libraries and their files included.

    Of simulation caches those files that ``found.spans`` needs. Blender is read first, and then,
    elsewhere, folders, and of files only those that name others: the ``meta`` files of bakes that
    are cut, shaders, USD. Nothing in the open file changes.
    """
    has_texture_caches = compat.uses_texture_cache()
    wanted: list[_Wanted] = []
    for slot in walk_slots():
        if slot is None:
            yield PAUSE
        elif slot.kind is not PathKind.OUTPUT:
            wanted.append(_Wanted.of(slot, has_texture_caches))
    for label in walk_computed_paths():
        if label is None:
            yield PAUSE
        else:
            found.warnings.append(
                f"{label} reads a file whose path other nodes put together, so it is not sent; "
                f"give the node the path itself, or bake what it makes."
            )
    caches = yield from _disk_cache_folders()
    spans = found.spans
    if caches or any(item.kind is PathKind.POINT_CACHE for item in wanted):
        spans = None if (yield from whole_cache_steps()) else spans
    disk = _Disk(Listings(), _view_suffixes(), spans)
    own_colours = colours.own_configuration()
    yield from elsewhere(lambda: _look(found, wanted, caches, disk, own_colours))


def find_dependencies(spans: FrameSpans | None = None) -> Dependencies:
    """Return what `dependency_steps` find, in one go."""
    found = Dependencies(spans)
    in_one_go(dependency_steps(found))
    return found


def _look(
    found: Dependencies,
    wanted: list[_Wanted],
    caches: list[tuple[str, str]],
    disk: _Disk,
    own_colours: str,
) -> None:
    """Fill ``found`` from what lies on disks. Nothing of Blender is touched."""
    reported: set[tuple[str, str]] = set()
    for item in wanted:
        found.looking_at = item.label
        _follow(item, found, disk, reported)
    found.looking_at = _COLOURS
    _follow_colours(found, own_colours)
    for folder, label in caches:
        found.looking_at = label
        names = (name for name in sorted(disk.listings.names(folder)) if _is_point_cache(name))
        files = [os.path.join(folder, name) for name in names]
        for file in found.of_cache(files, cut_point_cache(files, disk.point_spans)):
            found.files.setdefault(file, label)


def _follow_colours(found: Dependencies, own: str) -> None:
    configuration = found.colour_configuration = colours.configuration(own)
    try:
        needed = colours.colour_files(configuration)
    except OSError:
        # It was there when Blender started.
        found.missing.append(MissingFile(Path(configuration), _COLOURS))
        return
    for path in needed.files:
        found.files.setdefault(path, _COLOURS)
    found.missing += [MissingFile(Path(path), _COLOURS) for path in needed.missing]
    for folder in needed.elsewhere:
        found.warnings.append(
            f"The colour configuration {configuration} looks for tables in {folder!r}, and a node "
            f"does so on its own disk; make that folder relative to the configuration."
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a slot says about the files behind it, free of Blender's own data."""

    label: str
    kind: PathKind
    value: str
    path: str
    needed: bool
    names: tuple[str, ...]
    """Files of an image strip, below its folder."""
    tiles: tuple[int, ...]
    """UDIM numbers that must have a file."""
    cache: str
    """Name of an external point cache."""
    cache_offset: int
    """Frames by which a fluid cache is shifted."""
    has_views: bool
    """Whether each stereo view is a file of its own."""
    has_texture_cache: bool
    """Whether Cycles may read another file in its place."""

    @classmethod
    def of(cls, slot: PathSlot, uses_texture_cache: bool) -> _Wanted:
        """Read a slot; ``uses_texture_cache``: whether Cycles does in this file."""
        holder, kind = slot.holder, slot.kind
        strip, image = kind is PathKind.STRIP_FOLDER, kind is PathKind.UDIM
        return cls(
            label=slot.label,
            kind=kind,
            value=slot.value,
            path=slot.resolved,
            needed=slot.needed,
            names=tuple(item.filename for item in holder.elements) if strip else (),
            tiles=_expected_tiles(holder) if image else (),
            cache=holder.name if kind is PathKind.POINT_CACHE else "",
            cache_offset=holder.cache_frame_offset if kind is PathKind.FLUID_CACHE else 0,
            has_views=bool(getattr(holder, "use_multiview", False))
            and getattr(holder, "views_format", "") == "INDIVIDUAL",
            has_texture_cache=uses_texture_cache and isinstance(holder, bpy.types.Image),
        )


def _expected_tiles(image: Any) -> tuple[int, ...]:
    return tuple(tile.number for tile in image.tiles if not compat.is_generated_tile(tile))


@dataclass(frozen=True, slots=True)
class _Disk:
    """What is known of the folders, and the suffixes of stereo views in this file."""

    listings: Listings
    suffixes: tuple[str, ...]
    point_spans: FrameSpans | None
    """The frames that point caches must cover; None: all of them."""


def _follow(
    wanted: _Wanted, found: Dependencies, disk: _Disk, reported: set[tuple[str, str]]
) -> None:
    if not wanted.path:
        return
    if not is_absolute(wanted.path):
        if wanted.needed and (wanted.label, wanted.path) not in reported:
            reported.add((wanted.label, wanted.path))
            found.missing.append(MissingFile(Path(wanted.path), wanted.label))
            found.warnings.append(
                f"{wanted.label} has the path {wanted.value!r}, which is relative to the folder in "
                f"which Blender was started; save the file and make the path relative to it."
            )
        return
    files, missing = (list(paths) for paths in _resolve(wanted, disk))
    for file in _cut(wanted, files, found, disk):
        found.files.setdefault(file, wanted.label)
    if wanted.kind in _WITH_COMPANIONS:
        missing += _follow_companions(wanted, files, found, disk.listings)
    for absent in missing if wanted.needed else ():
        if (wanted.label, absent) not in reported:
            reported.add((wanted.label, absent))
            found.missing.append(MissingFile(Path(absent), wanted.label))


_WITH_COMPANIONS = (PathKind.FILE, PathKind.SEQUENCE, PathKind.UDIM)


def _follow_companions(
    wanted: _Wanted, files: list[str], found: Dependencies, listings: Listings
) -> list[str]:
    """Add what is read along with files; return what of it is missing."""
    missing: list[str] = []
    for file in files:
        more = companions_of(file, listings)
        missing += more.missing
        found.warnings += [text for text in more.warnings if text not in found.warnings]
        for companion in more.files:
            found.files.setdefault(companion, wanted.label)
    if wanted.has_texture_cache:
        for cache in texture_caches(files, listings):
            found.files.setdefault(cache, wanted.label)
    return missing


def _cut(wanted: _Wanted, files: list[str], found: Dependencies, disk: _Disk) -> list[str]:
    """Return those of the files that the frames need: all but of simulation caches."""
    match wanted.kind:
        case PathKind.POINT_CACHE:
            return found.of_cache(files, cut_point_cache(files, disk.point_spans))
        case PathKind.FLUID_CACHE:
            kept = cut_fluid(files, found.spans, wanted.cache_offset)
            return found.of_cache(files, kept)
        case PathKind.BAKE_FOLDER:
            return found.of_cache(files, cut_bake(files, found.spans))
        case _:
            return files


def _resolve(  # noqa: PLR0911 - one return for each kind of path
    wanted: _Wanted, disk: _Disk
) -> tuple[Iterable[str], Iterable[str]]:
    """Return the files that exist for a path and those that should exist and do not."""
    path, listings = wanted.path, disk.listings
    match wanted.kind:
        case PathKind.SEQUENCE:
            files = list(_all_views(wanted, sequence_files(path, listings), disk))
            return files, () if files else (path,)
        case PathKind.UDIM:
            return _tiles(wanted, listings)
        case PathKind.STRIP_FOLDER:
            names = [os.path.join(path, name) for name in wanted.names]
            return _split(_all_views(wanted, names, disk), listings)
        case PathKind.POINT_CACHE:
            return _folder(path, _point_cache_files(path, wanted.cache, listings))
        case PathKind.FLUID_CACHE:
            parts = [os.path.join(path, name) for name in _FLUID_FOLDERS]
            return _folder(path, (file for part in parts for file in _walk(part)))
        case PathKind.BAKE_FOLDER:
            return _folder(path, _bake_files(path))
        case PathKind.OCEAN_CACHE:
            names = [n for n in listings.names(path) if n.startswith(_OCEAN_PREFIXES)]
            return _folder(path, (os.path.join(path, name) for name in names))
        case _:
            return _split(_all_views(wanted, [path], disk), listings)


def _split(paths: Iterable[str], listings: Listings) -> tuple[list[str], list[str]]:
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


def sequence_files(path: str, listings: Listings | None = None) -> list[str]:
    """Return all existing files of the sequence that ``path`` belongs to, in order of names."""
    folder, name = os.path.split(path)
    listings = listings or Listings()
    pattern = sequence_pattern(name)
    if pattern is None:
        return [path] if listings.has(path) else []
    names = sorted(n for n in listings.names(folder) if pattern.fullmatch(n))
    return [os.path.join(folder, n) for n in names]


def _tiles(wanted: _Wanted, listings: Listings) -> tuple[list[str], list[str]]:
    folder, name = os.path.split(wanted.path)
    token = next((t for t in _TILE_TOKENS if t in name), None)
    if token is None:
        return _split([wanted.path], listings)
    head, tail = name.split(token, 1)
    pattern = re.compile(re.escape(head) + _TILE_TOKENS[token] + re.escape(tail))
    files = [
        os.path.join(folder, n) for n in sorted(listings.names(folder)) if pattern.fullmatch(n)
    ]
    expected = (
        os.path.join(folder, head + _tile_text(number, token) + tail) for number in wanted.tiles
    )
    have = set(files)
    return files, [path for path in expected if path not in have]


def _tile_text(number: int, token: str) -> str:
    column, row = (number - 1001) % 10 + 1, (number - 1001) // 10 + 1
    return f"u{column}_v{row}" if token == _UVTILE else str(number)


def _all_views(wanted: _Wanted, paths: Iterable[str], disk: _Disk) -> Iterator[str]:
    """Yield paths, and the files of the other stereo views of an image or strip that has them."""
    suffixes = disk.suffixes if wanted.has_views else ()
    for path in paths:
        stem, extension = os.path.splitext(path)
        base = next((stem[: -len(s)] for s in suffixes if stem.endswith(s)), None)
        if base is None:
            yield path
            continue
        for suffix in suffixes:
            other = base + suffix + extension
            if other == path or disk.listings.has(other):
                yield other


def _view_suffixes() -> tuple[str, ...]:
    suffixes = {view.file_suffix for scene in bpy.data.scenes for view in scene.render.views}
    return tuple(sorted(suffixes - {""}))


# --- caches and bakes --------------------------------------------------------------------------


def _disk_cache_folders() -> Steps[list[tuple[str, str]]]:
    """Return the ``blendcache_`` folders in use: they hang on the name of the .blend or library."""
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for item in walk_point_caches():
        if item is None:
            yield PAUSE
            continue
        owner, label, cache = item
        if not cache.use_disk_cache or cache.use_external:
            continue
        library = cache_library(owner, cache)
        blend = bpy.path.abspath(library.filepath) if library else bpy.data.filepath
        if blend and blend not in seen:
            seen.add(blend)
            found.append((disk_cache_folder(library), label))
    return found


def disk_cache_folder(library: Any | None) -> str:
    """Return the folder of the disk caches of a library, or of the open file: '' if unsaved."""
    blend = bpy.path.abspath(library.filepath) if library else bpy.data.filepath
    if not blend:
        return ""
    folder, name = os.path.split(os.path.normpath(blend))
    return os.path.join(folder, "blendcache_" + os.path.splitext(name)[0])


def _point_cache_files(folder: str, cache: str, listings: Listings) -> Iterator[str]:
    """Yield the files of an external cache: ``<name>_<frame>_<index>.bphys``."""
    for name in sorted(listings.names(folder)):
        if _is_point_cache(name) and name.startswith(cache + "_"):
            yield os.path.join(folder, name)


def _is_point_cache(name: str) -> bool:
    return name.endswith(_POINT_CACHE_SUFFIXES)


def _bake_files(folder: str) -> Iterator[str]:
    """Yield the files of Geometry Nodes bakes: ``meta`` and ``blobs`` here or one folder below."""
    if is_too_wide(folder):
        return
    # Links are followed, as Blender does; how deep, is bounded.
    for place, folders, names in os.walk(folder, followlinks=True):
        depth = os.path.relpath(place, folder).count(os.sep) + (place != folder)
        inside = os.path.basename(place) in ("meta", "blobs")
        if inside:
            yield from (os.path.join(place, name) for name in sorted(names))
        folders[:] = [] if inside or depth > 2 else sorted(folders)


def _walk(folder: str) -> Iterator[str]:
    """Yield every file below a folder, of none when it is too wide to be a cache."""
    if is_too_wide(folder):
        return
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(names))
