"""Scenes that `bench_packing` sends; inside bpy: ``python packing_scenes.py KIND BLEND FOLDER``.

``files``: uses every file of FOLDER; pixels are never read. ``heavy``: all is in the .blend: 20,000
objects in 200 collections, 3,000 materials with node trees, meshes and packed pictures, 500 MB.
"""

from __future__ import annotations

import os
import random
import sys
from array import array
from pathlib import Path
from typing import Any

import bpy

OBJECTS, MATERIALS, COLLECTIONS, SMALL_MESHES, PICTURES = 20_000, 3_000, 200, 2_000, 40
NODE_PAIRS = 4
"""A noise and a mix in each material, besides the two it begins with."""
SIDE = 205
"""Vertices along a large mesh, of which there are as many as make the .blend so large."""
LARGE_MESHES = 115
PICTURE_SIDE = 256

data: Any = bpy.data
scene: Any


def files(folder: Path) -> None:
    """An image data-block for each file."""
    for path in sorted(folder.iterdir()):
        image = data.images.new(path.stem, 1, 1)
        image.source = "FILE"
        image.filepath = str(path)
        image.use_fake_user = True


def heavy(_: Path) -> None:
    """A scene that is its .blend."""
    materials = [material(number) for number in range(MATERIALS)]
    meshes = [*large_meshes(materials), *small_meshes(materials)]
    collections = [data.collections.new(f"Collection {number}") for number in range(COLLECTIONS)]
    for collection in collections:
        scene.collection.children.link(collection)
    kinds = ("BEVEL", "SUBSURF", "", "")
    for number in range(OBJECTS):
        item = data.objects.new(f"Object {number}", meshes[number % len(meshes)])
        kind = kinds[number % len(kinds)]
        if kind:
            item.modifiers.new(kind.title(), kind)
        collections[number % COLLECTIONS].objects.link(item)
    for number in range(PICTURES):
        picture = data.images.new(f"Picture {number}", PICTURE_SIDE, PICTURE_SIDE)
        picture.pixels.foreach_set(array("f", [number / PICTURES]) * (PICTURE_SIDE**2 * 4))
        picture.pack()
        picture.use_fake_user = True


def material(number: int) -> Any:
    """Return a material with a node tree."""
    made = data.materials.new(f"Material {number}")
    made.use_nodes = True
    tree = made.node_tree
    for _ in range(NODE_PAIRS):
        noise, mix = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeMix")
        tree.links.new(noise.outputs[0], mix.inputs[2])
    return made


def large_meshes(materials: list[Any]) -> list[Any]:
    """Return grids that differ from each other as little as copies do."""
    noise = random.Random(1)
    rows = range(SIDE)
    points = [(x / SIDE, y / SIDE, noise.random() / 100) for y in rows for x in rows]
    corners = [y * SIDE + x for y in rows[:-1] for x in rows[:-1]]
    base = data.meshes.new("Grid")
    base.from_pydata(points, [], [(at, at + 1, at + SIDE + 1, at + SIDE) for at in corners])
    made = [base.copy() for _ in range(LARGE_MESHES)]
    for mesh, its in zip(made, materials, strict=False):
        mesh.materials.append(its)
    return made


def small_meshes(materials: list[Any]) -> list[Any]:
    """Return triangles."""
    made: list[Any] = []
    for number in range(SMALL_MESHES):
        mesh = data.meshes.new(f"Triangle {number}")
        mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
        mesh.materials.append(materials[number % MATERIALS])
        made.append(mesh)
    return made


if __name__ == "__main__":
    kind, blend, folder = sys.argv[1:]
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    {"files": files, "heavy": heavy}[kind](Path(folder))
    bpy.ops.wm.save_as_mainfile(filepath=blend, compress=False, relative_remap=True)
    sys.stdout.flush()
    os._exit(0)
