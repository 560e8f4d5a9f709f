"""Simulations whose result depends on having played every frame before: is it baked?

A node renders the frames it is given, in any order. Without a bake that covers them it would show
each simulation in the state of its first frame, or in one that depends on luck.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import bpy

from . import repairs
from .cache_frames import frames_of_bake, frames_of_fluid, frames_of_point_cache
from .dependencies import disk_cache_folder
from .findings import Repair
from .paths import all_of, cache_library, is_too_wide, label_of, resolve, walk_point_caches
from .steps import PAUSE, Steps, elsewhere


@dataclass(frozen=True, slots=True)
class Unbaked:
    """A simulation that a farm cannot play."""

    label: str
    """``Modifier "Cloth" of Object "Flag"``."""
    reason: str
    """``is not baked``, or which frames the bake lacks."""
    is_partly: bool = False
    """It is baked, and not over all frames of the job."""
    repair: Repair | None = None
    is_hidden: bool = False
    """It may well be baked: Blender does not tell."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A simulation that was seen in the scene, and may lack something on the disk."""

    label: str
    repair: Repair | None
    gap: Callable[[], tuple[str, bool]]
    """Gives `Unbaked.reason`, '' where there is none, and `Unbaked.is_partly`. Reads folders."""
    is_hidden: bool = False
    """As in `Unbaked`."""


def unbaked_steps(scene: Any, frames: tuple[int, ...]) -> Steps[list[Unbaked]]:
    """Return every simulation of ``scene`` whose bake does not cover ``frames`` (ascending)."""
    suspects: list[_Suspect] = []
    shown = _Shown(scene)
    for found in walk_point_caches():
        if found is None:
            yield PAUSE
            continue
        owner, label, cache = found
        if owner == scene:
            is_used = scene.rigidbody_world.enabled
        else:
            is_used = shown.has(owner) and _moves(owner, cache)
        if is_used:
            suspects += _point_cache_suspects(owner, label, cache, frames)
    for item in all_of(bpy.data.objects):
        for modifier in item.modifiers:
            is_domain = modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN"
            if not (is_domain or modifier.type == "NODES") or not modifier.show_render:
                continue
            if not shown.has(item):
                continue
            label = f'Modifier "{modifier.name}" of {label_of(item)}'
            if is_domain:
                suspects += _fluid_suspects(item, modifier.domain_settings, frames, label)
            else:
                suspects += _nodes_suspects(scene, item, modifier, frames, label)
        yield PAUSE
    gaps = yield from elsewhere(lambda: [suspect.gap() for suspect in suspects])
    return [
        Unbaked(suspect.label, reason, is_partly, suspect.repair, suspect.is_hidden)
        for suspect, (reason, is_partly) in zip(suspects, gaps, strict=True)
        if reason
    ]


class _Shown:
    """The objects of a scene that are rendered, found out once somebody asks."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._pointers: set[int] | None = None

    def has(self, item: Any) -> bool:
        if self._pointers is None:
            objects = self._scene.objects
            self._pointers = {item.as_pointer() for item in objects if not item.hide_render}
        return item.as_pointer() in self._pointers


def _known(reason: str, is_partly: bool = False) -> Callable[[], tuple[str, bool]]:
    """Return the gap of a simulation that no look at the disk can tell more about."""
    return lambda: (reason, is_partly)


def _moves(owner: Any, cache: Any) -> bool:
    """Whether what the cache belongs to is on and has a state that runs from frame to frame."""
    for system in owner.particle_systems:
        if system.point_cache == cache:
            settings = system.settings
            modifier = next(
                (
                    item
                    for item in owner.modifiers
                    if item.type == "PARTICLE_SYSTEM" and item.particle_system == system
                ),
                None,
            )
            shown = modifier is None or modifier.show_render
            if settings.type == "HAIR":
                return shown and system.use_hair_dynamics
            return shown and settings.physics_type != "NO"
    for modifier in owner.modifiers:
        if getattr(modifier, "point_cache", None) == cache:
            return modifier.show_render
        canvas = getattr(modifier, "canvas_settings", None)
        for surface in canvas.canvas_surfaces if canvas is not None else ():
            if surface.point_cache == cache:
                return modifier.show_render and surface.is_active and surface.is_cache_user
    return True


def _point_cache_suspects(
    owner: Any, label: str, cache: Any, frames: tuple[int, ...]
) -> Iterator[_Suspect]:
    if cache.use_external:
        # Made elsewhere: that its folder is there is asked with the dependencies.
        folder = resolve(cache.filepath, cache_library(owner, cache))
        yield _Suspect(label, None, partial(_external_gap, folder, cache.name, frames))
        return
    # Before its first frame a simulation rests, so these frames need no bake.
    if frames[-1] <= cache.frame_start:
        return
    repair = repairs.bake_point_cache(owner, label, frames[-1])
    last = cache.frame_end
    if not cache.is_baked:
        yield _Suspect(label, repair, _known("is not baked"))
    elif frames[-1] > last:
        reason = f"is baked to frame {last} only, and the job goes to frame {frames[-1]}"
        yield _Suspect(label, repair, _known(reason, is_partly=True))
    elif cache.use_disk_cache:
        library = cache_library(owner, cache)
        if not cache.name and not owner.name.isascii():
            return  # Such names are spelled differently from system to system.
        name = cache.name or owner.name.encode().hex().upper()
        # A cache that is thinned out ends before its last frame.
        enough = last - max(1, cache.frame_step)
        gap = partial(_disk_cache_gap, disk_cache_folder(library), name, enough, frames)
        yield _Suspect(label, repair, gap)


def _external_gap(folder: str, name: str, frames: tuple[int, ...]) -> tuple[str, bool]:
    present = frames_of_point_cache(_names(folder), name)
    return (_end_gap(present, frames, "its files end") if present else ""), True


def _disk_cache_gap(
    folder: str, name: str, enough: int, frames: tuple[int, ...]
) -> tuple[str, bool]:
    """Return what the files of a bake lack, which Blender itself does not notice."""
    present = frames_of_point_cache(_names(folder), name)
    if not present:
        return "is baked to disk, and its files are not there", True
    return ("" if max(present) > enough else _end_gap(present, frames, "its files end")), True


def _end_gap(present: set[int], frames: tuple[int, ...], end: str) -> str:
    last = max(present)
    if frames[-1] <= last:
        return ""
    return f"is baked, {end} at frame {last}, and the job goes to frame {frames[-1]}"


def _fluid_suspects(
    item: Any, settings: Any, frames: tuple[int, ...], label: str
) -> Iterator[_Suspect]:
    if settings is None or frames[-1] <= settings.cache_frame_start:
        return
    folder = os.path.join(resolve(settings.cache_directory, item.library), "data")
    if settings.cache_type == "REPLAY":
        offset = settings.cache_frame_offset
        first, final = settings.cache_frame_start, settings.cache_frame_end
        wanted = frozenset(frame - offset for frame in frames if first <= frame - offset <= final)
        yield _Suspect(label, None, partial(_replay_gap, folder, wanted, offset))
        return
    liquid, last = settings.domain_type == "LIQUID", settings.cache_frame_end
    gaps = (
        (not settings.has_cache_baked_data, "is not baked"),
        (
            liquid and settings.use_mesh and not settings.has_cache_baked_mesh,
            "has no baked mesh",
        ),
        (
            not liquid and settings.use_noise and not settings.has_cache_baked_noise,
            "has no baked noise",
        ),
    )
    reason = next((reason for is_gap, reason in gaps if is_gap), "")
    if reason:
        yield _Suspect(label, None, _known(reason))
    elif frames[-1] > last:
        reason = f"is baked to frame {last} only, and the job goes to frame {frames[-1]}"
        yield _Suspect(label, None, _known(reason, is_partly=True))
    elif settings.cache_frame_offset == 0:
        yield _Suspect(label, None, partial(_fluid_gap, folder, frames))


def _fluid_gap(folder: str, frames: tuple[int, ...]) -> tuple[str, bool]:
    present = frames_of_fluid(_names(folder))
    return (_end_gap(present, frames, "its files end") if present else ""), True


def _replay_gap(folder: str, wanted: frozenset[int], offset: int) -> tuple[str, bool]:
    """Return what a cache that fills while it is played does not hold of the ``wanted`` files."""
    present = frames_of_fluid(_names(folder))
    if wanted <= present:
        return "", False
    reason = 'has a cache of type "Replay", which only playing it fills'
    if present:
        reason += f", and which has nothing for frame {min(wanted - present) + offset}"
    return reason, bool(present)


def _nodes_suspects(
    scene: Any, owner: Any, modifier: Any, frames: tuple[int, ...], label: str
) -> Iterator[_Suspect]:
    """Yield the simulation zones: those that are baked to disk, where one can look, and those whose
    bake is kept in the .blend, of which Blender does not tell whether there is one."""
    own = getattr(modifier, "bake_target", "DISK")
    for bake in modifier.bakes:
        target = getattr(bake, "bake_target", "INHERIT")
        if bake.node is None or bake.node.bl_idname != "GeometryNodeSimulationOutput":
            continue
        # Blender plays a zone from the first frame of the scene on; there it rests.
        if frames[-1] <= scene.frame_start:
            continue
        if (own if target == "INHERIT" else target) != "DISK":
            # Without a button: what it says would stand there after a bake as well.
            reason = f'has the simulation zone "{bake.node.name}", whose bake is kept in the file'
            yield _Suspect(label, None, _known(reason), is_hidden=True)
            continue
        zone = f'has the simulation zone "{bake.node.name}", which'
        repair = repairs.bake_nodes(owner, modifier, bake.bake_id)
        folder = _meta_folder(owner, modifier, bake)
        yield _Suspect(label, repair, partial(_zone_gap, zone, folder, frames))


def _zone_gap(zone: str, folder: str, frames: tuple[int, ...]) -> tuple[str, bool]:
    present = frames_of_bake(_names(folder))
    if not present:
        return f"{zone} is not baked", False
    gap = _end_gap(present, frames, "its bake ends")
    return (f"{zone} {gap}" if gap else ""), True


def _meta_folder(owner: Any, modifier: Any, bake: Any) -> str:
    """Return the folder with the states of a bake, '' where it has none."""
    if bake.use_custom_path:
        value = bake.directory
    else:
        value = f"{modifier.bake_directory}/{bake.bake_id}" if modifier.bake_directory else ""
    folder = resolve(value, owner.library)
    return os.path.join(folder, "meta") if folder else ""


def _names(folder: str) -> list[str]:
    """Return the names in a folder, of none that is too wide or cannot be read."""
    if is_too_wide(folder):
        return []
    try:
        return os.listdir(folder)
    except OSError:
        return []
