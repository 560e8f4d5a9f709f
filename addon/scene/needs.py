"""What a scene needs of a Blender beyond its version: denoiser, OSL, formats, a graphics context.

Asked too little, a frame comes out wrong without a message; asked too much, it waits for a node it
does not need. So each need is read from what the render really uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import bpy

from ...protocol.job import Capability, Device
from . import compat
from .paths import all_of
from .steps import PAUSE, Steps, at_once

_ALEMBIC = (".abc",)
_USD = (".usd", ".usda", ".usdc", ".usdz")


def rendered_scenes(scene: Any) -> tuple[Any, ...]:
    """Return the scene and all others that its compositor and its sequencer render on the way."""
    found: list[Any] = []
    open_scenes = [scene]
    while open_scenes:
        current = open_scenes.pop()
        if current in found:
            continue
        found.append(current)
        if compat.renders_sequencer(current):
            open_scenes += [
                strip.scene
                for strip in compat.strips(current)
                if strip.type == "SCENE" and strip.scene is not None and not strip.mute
            ]
        else:
            open_scenes += [
                node.scene
                for node in compositor_nodes(current)
                if node.bl_idname == "CompositorNodeRLayers" and node.scene is not None
            ]
    return tuple(found)


def compositor_nodes(scene: Any) -> Iterator[Any]:
    """Yield the nodes that composite ``scene``, those in groups included, muted ones not."""
    tree = compat.compositor_tree(scene)
    if tree is not None and scene.render.use_compositing:
        yield from _nodes(tree, set())


def _nodes(tree: Any, seen: set[int]) -> Iterator[Any]:
    if tree.as_pointer() in seen:
        return
    seen.add(tree.as_pointer())
    for node in tree.nodes:
        if node.mute:
            continue
        yield node
        group = getattr(node, "node_tree", None)
        if node.type == "GROUP" and group is not None:
            yield from _nodes(group, seen)


def device(scene: Any) -> Device:
    """Return what the scene asks Cycles to render on; any other engine asks for nothing."""
    gpu = any(
        _draws(part) and part.render.engine == "CYCLES" and _asks_gpu(part)
        for part in rendered_scenes(scene)
    )
    return Device.GPU if gpu else Device.CPU


def _asks_gpu(scene: Any) -> bool:
    return compat.cycles_setting(scene, "device", "CPU") == "GPU"


def _draws(scene: Any) -> bool:
    """Whether the scene's own 3D content is rendered, not its sequencer in its place."""
    return not compat.renders_sequencer(scene)


def samples(scene: Any) -> int:
    """Return the samples a pixel that the scene's engine takes; 0 where it has no such number."""
    engine = scene.render.engine
    if engine == "CYCLES":
        return int(compat.cycles_setting(scene, "samples", 0))
    if engine in compat.EEVEE_ENGINES:
        return int(scene.eevee.taa_render_samples)
    return 0


def capability_steps(scene: Any, makes_film: bool = False) -> Steps[tuple[Capability, ...]]:
    """Return what a node's Blender must be able to do for this scene, sorted by name."""
    needed: set[Capability] = set()
    for part in rendered_scenes(scene):
        if _draws(part):
            needed |= _engine_needs(part)
        needed |= _compositor_needs(part)
    needed |= yield from _data_needs()
    if makes_film:
        needed.add(Capability.FFMPEG)
        if has_sound(scene):
            needed.add(Capability.AUDASPACE)
    return tuple(sorted(needed, key=lambda capability: capability.value))


capabilities = at_once(capability_steps)
"""`capability_steps` in one go: returns a tuple."""


def has_sound(scene: Any) -> bool:
    """Whether a film of the scene has something to be heard."""
    if scene.render.ffmpeg.audio_codec == "NONE":
        return False
    speaks = len(bpy.data.speakers) > 0
    return any(
        any(strip.type == "SOUND" for strip in compat.strips(part))
        or (speaks and any(thing.type == "SPEAKER" for thing in part.objects))
        for part in rendered_scenes(scene)
    )


def _engine_needs(scene: Any) -> set[Capability]:
    needed: set[Capability] = set()
    if scene.render.engine in compat.OPENGL_ENGINES:
        needed.add(Capability.OPENGL)
    if _has_grease_pencils() and any(_is_grease_pencil(item) for item in scene.objects):
        # Whatever the engine, grease pencil is drawn by the graphics card.
        needed.add(Capability.OPENGL)
    if scene.render.engine == "CYCLES":
        if _denoises(scene):
            needed.add(Capability.OPENIMAGEDENOISE)
        camera = scene.camera.data if scene.camera is not None else None
        if compat.cycles_setting(scene, "shading_system", False) or (
            getattr(camera, "type", "") == "CUSTOM"
        ):
            needed.add(Capability.OSL)
    return needed


def _has_grease_pencils() -> bool:
    # Before 4.3 and since.
    names = ("grease_pencils", "grease_pencils_v3")
    return any(len(getattr(bpy.data, name, ())) > 0 for name in names)


def _is_grease_pencil(item: Any) -> bool:
    return item.type in compat.GREASE_PENCIL_TYPES and not item.hide_render


def _denoises(scene: Any) -> bool:
    return (
        bool(compat.cycles_setting(scene, "use_denoising", False))
        and compat.cycles_setting(scene, "denoiser", "") == "OPENIMAGEDENOISE"
        and any(
            layer.use and compat.cycles_setting(layer, "use_denoising", True)
            for layer in scene.view_layers
        )
    )


def _compositor_needs(scene: Any) -> set[Capability]:
    nodes = [] if compat.renders_sequencer(scene) else list(compositor_nodes(scene))
    needed: set[Capability] = set()
    if any(node.bl_idname == "CompositorNodeDenoise" for node in nodes):
        needed.add(Capability.OPENIMAGEDENOISE)
    if nodes and getattr(scene.render, "compositor_device", "CPU") == "GPU":
        needed.add(Capability.OPENGL)
    return needed


def _data_needs() -> Steps[set[Capability]]:
    """Return what the datablocks in use need; libraries bring theirs along."""
    needed: set[Capability] = set()
    for cache in bpy.data.cache_files:
        extension = os.path.splitext(cache.filepath)[1].lower()
        if cache.users and extension in _ALEMBIC:
            needed.add(Capability.ALEMBIC)
        elif cache.users and extension in _USD:
            needed.add(Capability.USD)
    if any(volume.users for volume in bpy.data.volumes):
        needed.add(Capability.OPENVDB)
    movies = any(image.source == "MOVIE" and image.users for image in bpy.data.images)
    clips = any(clip.source == "MOVIE" and clip.users for clip in bpy.data.movieclips)
    strips = any(
        strip.type == "MOVIE" and not strip.mute
        for scene in bpy.data.scenes
        for strip in compat.strips(scene)
    )
    if movies or clips or strips:
        needed.add(Capability.FFMPEG)
    for item in all_of(bpy.data.objects):
        for modifier in item.modifiers:
            if modifier.type == "FLUID" and modifier.show_render and not item.hide_render:
                needed.add(Capability.FLUID)
        yield PAUSE
    return needed
