"""Simulations whose result depends on having played every frame before: is it baked?

A node renders the frames it is given, in any order. Without a bake that covers them it would show
each simulation in the state of its first frame, or in one that depends on luck.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import repairs
from .cache_frames import frames_of_bake, frames_of_fluid, frames_of_point_cache
from .dependencies import disk_cache_folder
from .findings import Repair
from .paths import cache_library, is_too_wide, iterate_point_caches, label_of, resolve


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


def unbaked(scene: Any, frames: tuple[int, ...]) -> Iterator[Unbaked]:
    """Yield every simulation of ``scene`` whose bake does not cover ``frames`` (ascending)."""
    visible = {item.as_pointer() for item in scene.objects if not item.hide_render}
    for owner, label, cache in iterate_point_caches():
        if owner == scene:
            is_used = scene.rigidbody_world.enabled
        else:
            is_used = owner.as_pointer() in visible and _moves(owner, cache)
        reason = _point_cache_gap(owner, cache, frames) if is_used else ""
        if reason:
            repair = None
            if not cache.use_external:
                repair = repairs.bake_point_cache(owner, label, frames[-1])
            yield Unbaked(label, reason, cache.is_baked or cache.use_external, repair)
    for item in scene.objects:
        if item.hide_render:
            continue
        for modifier in item.modifiers:
            label = f'Modifier "{modifier.name}" of {label_of(item)}'
            if not modifier.show_render:
                continue
            if modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
                yield from _fluid_gaps(item, modifier.domain_settings, frames, label)
            elif modifier.type == "NODES":
                yield from _nodes_gaps(scene, item, modifier, frames, label)


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


def _point_cache_gap(owner: Any, cache: Any, frames: tuple[int, ...]) -> str:
    if cache.use_external:
        # Made elsewhere: that its folder is there is asked with the dependencies.
        folder = resolve(cache.filepath, cache_library(owner, cache))
        present = frames_of_point_cache(_names(folder), cache.name)
        return _end_gap(present, frames, "its files end") if present else ""
    # Before its first frame a simulation rests, so these frames need no bake.
    if frames[-1] <= cache.frame_start:
        return ""
    if not cache.is_baked:
        return "is not baked"
    if frames[-1] > cache.frame_end:
        return f"is baked to frame {cache.frame_end} only, and the job goes to frame {frames[-1]}"
    return _disk_cache_gap(owner, cache, frames) if cache.use_disk_cache else ""


def _disk_cache_gap(owner: Any, cache: Any, frames: tuple[int, ...]) -> str:
    """Return what the files of a bake lack, which Blender itself does not notice."""
    library = cache_library(owner, cache)
    name = cache.name or owner.name.encode().hex().upper()
    if not cache.name and not owner.name.isascii():
        return ""  # Such names are spelled differently from system to system.
    present = frames_of_point_cache(_names(disk_cache_folder(library)), name)
    if not present:
        return "is baked to disk, and its files are not there"
    # A cache that is thinned out ends before its last frame.
    if max(present) > cache.frame_end - max(1, cache.frame_step):
        return ""
    return _end_gap(present, frames, "its files end")


def _end_gap(present: set[int], frames: tuple[int, ...], end: str) -> str:
    last = max(present)
    if frames[-1] <= last:
        return ""
    return f"is baked, {end} at frame {last}, and the job goes to frame {frames[-1]}"


def _fluid_gaps(item: Any, settings: Any, frames: tuple[int, ...], label: str) -> Iterator[Unbaked]:
    if settings is None or frames[-1] <= settings.cache_frame_start:
        return
    folder = os.path.join(resolve(settings.cache_directory, item.library), "data")
    present = frames_of_fluid(_names(folder))
    if settings.cache_type == "REPLAY":
        yield from _replay_gaps(settings, present, frames, label)
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
        yield Unbaked(label, reason)
        return
    if frames[-1] > last:
        reason = f"is baked to frame {last} only, and the job goes to frame {frames[-1]}"
    elif settings.cache_frame_offset == 0 and present:
        reason = _end_gap(present, frames, "its files end")
    if reason:
        yield Unbaked(label, reason, is_partly=True)


def _replay_gaps(
    settings: Any, present: set[int], frames: tuple[int, ...], label: str
) -> Iterator[Unbaked]:
    """Yield what is wrong with a cache that fills while it is played: frames it does not hold."""
    offset = settings.cache_frame_offset
    first, last = settings.cache_frame_start, settings.cache_frame_end
    wanted = {frame - offset for frame in frames if first <= frame - offset <= last}
    if wanted <= present:
        return
    reason = 'has a cache of type "Replay", which only playing it fills'
    if present:
        reason += f", and which has nothing for frame {min(wanted - present) + offset}"
    yield Unbaked(label, reason, is_partly=bool(present))


def _nodes_gaps(
    scene: Any, owner: Any, modifier: Any, frames: tuple[int, ...], label: str
) -> Iterator[Unbaked]:
    """Yield what is wrong with simulation zones that are baked to disk.

    Blender does not say whether a bake is packed into the .blend, so those pass.
    """
    own = getattr(modifier, "bake_target", "DISK")
    for bake in modifier.bakes:
        target = getattr(bake, "bake_target", "INHERIT")
        if (own if target == "INHERIT" else target) != "DISK":
            continue
        if bake.node is None or bake.node.bl_idname != "GeometryNodeSimulationOutput":
            continue
        zone = f'has the simulation zone "{bake.node.name}", which'
        # Blender plays a zone from the first frame of the scene on; there it rests.
        if frames[-1] <= scene.frame_start:
            continue
        repair = repairs.bake_nodes(owner, modifier, bake.bake_id)
        present = frames_of_bake(_names(_meta_folder(owner, modifier, bake)))
        if not present:
            yield Unbaked(label, f"{zone} is not baked", repair=repair)
        elif gap := _end_gap(present, frames, "its bake ends"):
            yield Unbaked(label, f"{zone} {gap}", is_partly=True, repair=repair)


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
