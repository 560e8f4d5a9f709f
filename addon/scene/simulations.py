"""Simulations whose result depends on having played every frame before: is it baked?

A node renders the frames it is given, in any order. Without a bake that covers them it would show
each simulation in the state of its first frame, or in one that depends on luck.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .dependencies import has_bake
from .paths import iterate_point_caches, label_of, resolve


@dataclass(frozen=True, slots=True)
class Unbaked:
    """A simulation that a farm cannot play."""

    label: str
    """``Modifier "Cloth" of Object "Flag"``."""
    reason: str
    """``is not baked``, or which frames the bake lacks."""


def unbaked(scene: Any, frames: tuple[int, ...]) -> Iterator[Unbaked]:
    """Yield every simulation of ``scene`` whose bake does not cover ``frames`` (ascending)."""
    visible = {item.as_pointer() for item in scene.objects if not item.hide_render}
    for owner, label, cache in iterate_point_caches():
        if owner == scene or (owner.as_pointer() in visible and _moves(owner, cache)):
            reason = _point_cache_gap(cache, frames)
            if reason and not (owner == scene and not scene.rigidbody_world.enabled):
                yield Unbaked(label, reason)
    for item in scene.objects:
        if item.hide_render:
            continue
        for modifier in item.modifiers:
            label = f'Modifier "{modifier.name}" of {label_of(item)}'
            if not modifier.show_render:
                continue
            if modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN":
                reason = _fluid_gap(modifier.domain_settings, frames)
            elif modifier.type == "NODES":
                reason = _nodes_gap(item, modifier)
            else:
                reason = ""
            if reason:
                yield Unbaked(label, reason)


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


def _point_cache_gap(cache: Any, frames: tuple[int, ...]) -> str:
    if cache.use_external:
        return ""  # made elsewhere; whether its files exist is asked with the dependencies
    # Before its first frame a simulation rests, so these frames need no bake.
    if frames[-1] <= cache.frame_start:
        return ""
    if not cache.is_baked:
        return "is not baked"
    if frames[-1] > cache.frame_end:
        return f"is baked to frame {cache.frame_end} only, and the job goes to frame {frames[-1]}"
    return ""


def _fluid_gap(settings: Any, frames: tuple[int, ...]) -> str:
    if settings is None or frames[-1] <= settings.cache_frame_start:
        return ""
    liquid, last = settings.domain_type == "LIQUID", settings.cache_frame_end
    gaps = (
        (
            settings.cache_type == "REPLAY",
            'has a cache of type "Replay", which only playing it fills',
        ),
        (not settings.has_cache_baked_data, "is not baked"),
        (
            liquid and settings.use_mesh and not settings.has_cache_baked_mesh,
            "has no baked mesh",
        ),
        (
            not liquid and settings.use_noise and not settings.has_cache_baked_noise,
            "has no baked noise",
        ),
        (
            frames[-1] > last,
            f"is baked to frame {last} only, and the job goes to frame {frames[-1]}",
        ),
    )
    return next((reason for is_gap, reason in gaps if is_gap), "")


def _nodes_gap(owner: Any, modifier: Any) -> str:
    """Return what is wrong with simulation zones that are baked to disk.

    Blender does not say whether a bake is packed into the .blend, so those pass.
    """
    own = getattr(modifier, "bake_target", "DISK")
    for bake in modifier.bakes:
        target = getattr(bake, "bake_target", "INHERIT")
        if (own if target == "INHERIT" else target) != "DISK":
            continue
        if bake.node is None or bake.node.bl_idname != "GeometryNodeSimulationOutput":
            continue
        value = bake.directory if bake.use_custom_path else modifier.bake_directory
        folder = resolve(value, owner.library)
        if not folder or not has_bake(folder):
            return f'has the simulation zone "{bake.node.name}", which is not baked'
    return ""
