"""Which files of a simulation cache the frames of a job need: a cache of 2,000 frames may be huge.

Blender reads the state at a frame from that frame's file; where there is none it goes between the
nearest one before and the nearest one after. So with each frame its neighbours are kept, and some
room for motion blur and speed passes. Whatever does not tell its frame by its name is kept, too.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy

from . import compat, needs
from .paths import all_of
from .steps import PAUSE, Steps

MARGIN_FRAMES = 2
"""Kept on both sides: point caches look one frame ahead, a speed pass one back and one ahead."""

_POINT_CACHE = re.compile(r".*_(\d{6,})(?:_\d{2,})?\.(?:bphys|vdb)")
"""``BKE_ptcache``: ``<name>_%06d_%02u.bphys``, the index only where there is one. Frame 0 holds
what is true of all frames."""
_FLUID = re.compile(r".*_(-?\d{3,})(?:\.[a-z]+)+")
"""Mantaflow: ``fluid_data_0012.vdb``, ``fluid_mesh_0012.bobj.gz``, ``config_0012.uni``."""
_BAKE = re.compile(r"(-?\d+)_\d+\.json")
"""Geometry Nodes: ``meta/00012_00000.json``, with the names of the blobs that it needs."""
_BLOB_NAME = re.compile(rb'"([^"\\/]+\.blob)"')


@dataclass(frozen=True, slots=True)
class FrameSpans:
    """The frames that a job shows, as ascending ranges with room on both sides."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def around(cls, frames: Iterable[int], margin: int) -> FrameSpans:
        """Return the ranges around ascending ``frames``, merged where they touch."""
        ranges: list[tuple[int, int]] = []
        for frame in frames:
            first, last = frame - margin, frame + margin
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], last)
            else:
                ranges.append((first, last))
        return cls(tuple(ranges))

    def wanted(self, present: Iterable[int]) -> set[int]:
        """Return which of the frames that a cache has are needed."""
        there = sorted(set(present))
        wanted: set[int] = set()
        for first, last in self.ranges:
            begin = max(0, bisect_right(there, first) - 1)
            wanted.update(there[begin : bisect_left(there, last) + 1])
        return wanted


def spans_of(scene: Any, frames: tuple[int, ...]) -> FrameSpans | None:
    """Return what caches must cover for ``frames`` (ascending) of ``scene``.

    None where it cannot be told from the frame number which state of a simulation is shown: the
    sequencer is rendered, or time is remapped.
    """
    blur = 0.0
    for part in needs.rendered_scenes(scene):
        render = part.render
        if compat.renders_sequencer(part) or render.frame_map_old != render.frame_map_new:
            return None
        if render.use_motion_blur:
            blur = max(blur, render.motion_blur_shutter)
    return FrameSpans.around(frames, MARGIN_FRAMES + math.ceil(blur))


def cut_point_cache(files: Iterable[str], spans: FrameSpans | None) -> list[str]:
    """Return the files of point caches that are needed: all caches of a folder at once.

    ``spans`` is to be None where the whole of them is read, see `whole_cache_steps`.
    """
    files = list(files)
    if spans is None:
        return files
    by_cache: dict[str, list[str]] = {}
    for path in files:
        # Caches differ in length and steps: each has neighbours of its own.
        by_cache.setdefault(_cache_name(os.path.basename(path)), []).append(path)
    kept = {path for one in by_cache.values() for path in _cut(one, _POINT_CACHE, spans)}
    return [path for path in files if path in kept]


def cut_fluid(files: Iterable[str], spans: FrameSpans | None, offset: int = 0) -> list[str]:
    """Return the files of a fluid domain that are needed; ``offset`` is that of its cache."""
    files = list(files)
    if spans is None:
        return files
    room = abs(offset)
    wider = FrameSpans(tuple((first - room, last + room) for first, last in spans.ranges))
    by_folder: dict[str, list[str]] = {}
    for path in files:
        by_folder.setdefault(os.path.dirname(path), []).append(path)
    kept = {path for one in by_folder.values() for path in _cut(one, _FLUID, wider)}
    return [path for path in files if path in kept]


def cut_bake(files: Iterable[str], spans: FrameSpans | None) -> list[str]:
    """Return the files of Geometry Nodes bakes that are needed. Reads the small ``meta`` files.

    The states of a simulation share what did not change, so the blobs of one frame may be those of
    another: the ``meta`` files name them.
    """
    files = list(files)
    if spans is None:
        return files
    bakes: dict[str, tuple[list[str], list[str]]] = {}
    kept: set[str] = set()
    for path in files:
        folder, name = os.path.split(path)
        bake, part = os.path.split(folder)
        meta, blobs = bakes.setdefault(bake, ([], []))
        if part == "meta" and _BAKE.fullmatch(name):
            meta.append(path)
        elif part == "blobs":
            blobs.append(path)
        else:
            kept.add(path)
    for meta, blobs in bakes.values():
        states = _cut(meta, _BAKE, spans)
        kept.update(states)
        named = _blobs_of(states) if len(states) < len(meta) else None
        kept.update(path for path in blobs if named is None or os.path.basename(path) in named)
    return [path for path in files if path in kept]


def _blobs_of(states: list[str]) -> set[str] | None:
    """Return the names of the blobs that states need; None where one cannot be read."""
    named: set[str] = set()
    for path in states:
        try:
            with open(path, "rb") as file:
                named.update(os.fsdecode(name) for name in _BLOB_NAME.findall(file.read()))
        except OSError:
            return None
    return named


def frames_of_point_cache(names: Iterable[str], cache: str) -> set[int]:
    """Return the frames of the point cache ``cache`` among the names of files."""
    found = (
        match
        for name in names
        if name.startswith(cache + "_") and (match := _POINT_CACHE.fullmatch(name))
    )
    return {int(match[1]) for match in found} - {0}


def frames_of_fluid(names: Iterable[str]) -> set[int]:
    """Return the frames that one folder of a fluid domain has."""
    return {int(match[1]) for name in names if (match := _FLUID.fullmatch(name))}


def frames_of_bake(names: Iterable[str]) -> set[int]:
    """Return the frames that a ``meta`` folder of a Geometry Nodes bake has."""
    return {int(match[1]) for name in names if (match := _BAKE.fullmatch(name))}


def _cut(files: list[str], pattern: re.Pattern[str], spans: FrameSpans) -> list[str]:
    numbers: dict[str, int] = {}
    for path in files:
        match = pattern.fullmatch(os.path.basename(path))
        if match is not None:
            numbers[path] = int(match[1])
    wanted = spans.wanted(number for number in numbers.values() if number != 0)
    return [path for path in files if numbers.get(path, 0) == 0 or numbers[path] in wanted]


def _cache_name(name: str) -> str:
    match = _POINT_CACHE.fullmatch(name)
    return name if match is None else name[: match.start(1)] + name[match.end(1) :]


def whole_cache_steps() -> Steps[bool]:
    """Return whether particles are drawn along their way, for which every frame is read."""
    if any(
        settings.type == "EMITTER" and settings.render_type == "PATH"
        for settings in bpy.data.particles
    ):
        return True
    for item in all_of(bpy.data.objects):
        if any(
            modifier.type == "PARTICLE_INSTANCE" and modifier.use_path
            for modifier in item.modifiers
        ):
            return True
        yield PAUSE
    return False
