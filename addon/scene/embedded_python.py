"""Python that a .blend carries: drivers and texts that do not run on a farm unless trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import bpy

from .paths import all_of, iterate_node_trees, label_of
from .steps import PAUSE, Steps


def blocked_drivers() -> Steps[list[tuple[str, str]]]:
    """Return (who has it, expression) of each driver that needs Python.

    Simple expressions (arithmetic and a fixed set of functions) are evaluated by Blender itself
    and run everywhere.
    """
    found: list[tuple[str, str]] = []
    for owner, whose in _animated():
        data = getattr(owner, "animation_data", None)
        for curve in data.drivers if data is not None else ():
            driver = curve.driver
            if driver.type == "SCRIPTED" and not driver.is_simple_expression:
                who = f'Driver of "{curve.data_path}" in {whose()}'
                found.append((who, driver.expression))
        yield PAUSE
    return found


def registered_texts() -> Iterator[str]:
    """Yield the label of each text that Blender would run when it opens the file."""
    for text in bpy.data.texts:
        if text.use_module:
            yield label_of(text)


def freestyle_scripts(scene: Any) -> Iterator[str]:
    """Yield the label of each text that Freestyle runs as a style module in this scene."""
    if not scene.render.use_freestyle:
        return
    for layer in scene.view_layers:
        settings = layer.freestyle_settings
        if layer.use and layer.use_freestyle and settings.mode == "SCRIPT":
            for module in settings.modules:
                if module.use and module.script is not None:
                    yield label_of(module.script)


def _animated() -> Iterator[tuple[Any, Callable[[], str]]]:
    """Yield what may have drivers, and what gives its name; most have none, and need no name."""
    for name in _ANIMATED:
        for owner in all_of(getattr(bpy.data, name, [])):
            yield owner, partial(label_of, owner)
            keys = getattr(owner, "shape_keys", None)
            if keys is not None:
                yield keys, partial(_keys_of, owner)
    for owner, tree in iterate_node_trees():
        if tree != owner:
            yield tree, partial(_nodes_of, owner)


def _keys_of(owner: Any) -> str:
    return f"the shape keys of {label_of(owner)}"


def _nodes_of(owner: Any) -> str:
    return f"the nodes of {label_of(owner)}"


_ANIMATED = (
    "objects",
    "armatures",
    "cache_files",
    "cameras",
    "curves",
    "grease_pencils",
    "grease_pencils_v3",
    "hair_curves",
    "lattices",
    "lights",
    "lightprobes",
    "linestyles",
    "masks",
    "materials",
    "meshes",
    "metaballs",
    "movieclips",
    "node_groups",
    "particles",
    "pointclouds",
    "scenes",
    "speakers",
    "textures",
    "volumes",
    "worlds",
)
"""Collections of `bpy.data` whose datablocks can have drivers."""
