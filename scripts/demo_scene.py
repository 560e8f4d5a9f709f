"""The demo scene, made from nothing: a mill that grinds a film into pixels and sets them up again.

``python scripts/demo_scene.py FOLDER`` runs with bpy (or ``blender -b -P``) and writes::

    FOLDER/mill.blend             the scene: meadow, camera, lights, 144 flying tiles, compositor
    FOLDER/assets/mill.blend      a library, linked by the scene: the mill with its turning sails
    FOLDER/assets/textures/       textures of the library
    FOLDER/textures/grass.png     texture of the scene
    FOLDER/footage/picture_####   an image sequence, spread over the tiles
    FOLDER/frames, FOLDER/mist    where the scene renders to: its output and a File Output node

The scene is the same whoever makes it, and in Blender 4.2 to 5.2.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import demo_textures
import numpy as np
from mathutils import Euler, Vector

FRAMES = 40
FPS = 16
WIDTH, HEIGHT = 320, 180
SAMPLES = 8

TILES_ACROSS, TILES_HIGH = 16, 9
TILE = 0.42
"""Metres, side of a tile."""

MILL_AT = Vector((-3.4, 1.0, 0.0))
HUB_AT = MILL_AT + Vector((0.0, -2.25, 6.35))
PICTURE_AT = Vector((3.9, 0.9, 3.0))
"""Middle of the picture that the tiles make up."""

# Blender's own objects say too little about their types for a checker.
_context: Any = bpy.context
_data: Any = bpy.data

Vertices = Sequence[tuple[float, float, float]]
Faces = Sequence[Sequence[int]]


def main() -> None:
    """Write the library and the scene into the folder named on the command line."""
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(description="Write Rendermill's demo scene into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=FRAMES, help="length of the film")
    options = parser.parse_args(words)
    write_scene(options.folder.resolve(), options.frames)


def write_scene(folder: Path, frames: int = FRAMES) -> Path:
    """Write the whole scene below ``folder``; return its .blend. Replaces the open file."""
    library = folder / "assets" / "mill.blend"
    demo_textures.write_textures(library.parent / "textures")
    demo_textures.write_grass(folder / "textures" / "grass.png")
    demo_textures.write_sequence(folder / "footage", frames)
    # Everything computed below is a straight line between keys.
    _context.preferences.edit.keyframe_new_interpolation_type = "LINEAR"

    _start_empty()
    _make_mill(library.parent / "textures")
    _save(library)

    _start_empty()
    blend = folder / "mill.blend"
    # Saved before anything refers to a file, so that every path is relative from the start.
    _save(blend)
    scene = _data.scenes[0]
    _make_meadow()
    _link_mill(library)
    _make_tiles(frames)
    _make_easel()
    _make_sky(scene)
    _make_lights()
    _make_camera(scene, frames)
    _set_render(scene, frames)
    _make_compositor(scene)
    bpy.ops.file.make_paths_relative()
    _save(blend)
    return blend


def _start_empty() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    _context.preferences.edit.keyframe_new_interpolation_type = "LINEAR"


def _save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False, relative_remap=True)
    path.with_name(path.name + "1").unlink(missing_ok=True)


# --- making things -------------------------------------------------------------------------------


def _mesh(
    name: str, vertices: Vertices, faces: Faces, uvs: Sequence[tuple[float, float]] = ()
) -> Any:
    """A mesh; ``uvs`` has a pair for each corner of each face, in order."""
    mesh = _data.meshes.new(name)
    mesh.from_pydata([Vector(v) for v in vertices], [], [list(face) for face in faces])
    if uvs:
        layer: Any = mesh.uv_layers.new(name="UVMap")
        for loop, uv in zip(layer.data, uvs, strict=True):
            loop.uv = uv
    return mesh


def _box(name: str, size: tuple[float, float, float], tiling: float = 1.0) -> Any:
    """A box around its origin, with ``tiling`` metres of texture on every side."""
    half = [side / 2 for side in size]
    vertices = [
        (x * half[0], y * half[1], z * half[2]) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)
    ]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    flat = [(1, 2), (1, 2), (0, 2), (0, 2), (0, 1), (0, 1)]
    uvs = [
        (vertices[index][a] / tiling, vertices[index][b] / tiling)
        for face, (a, b) in zip(faces, flat, strict=True)
        for index in face
    ]
    return _mesh(name, vertices, faces, uvs)


def _turned(
    name: str, profile: Sequence[tuple[float, float]], sides: int, repeat: tuple[float, float]
) -> Any:
    """A mesh turned on a lathe: ``profile`` is (radius, height) from bottom to top."""
    vertices: list[tuple[float, float, float]] = []
    for radius, height in profile:
        for side in range(sides):
            angle = math.tau * (side + 0.5) / sides
            vertices.append((radius * math.cos(angle), radius * math.sin(angle), height))
    faces: list[tuple[int, int, int, int]] = []
    uvs: list[tuple[float, float]] = []
    for ring in range(len(profile) - 1):
        for side in range(sides):
            after = (side + 1) % sides
            low, high = ring * sides, (ring + 1) * sides
            faces.append((low + side, low + after, high + after, high + side))
            left, right = repeat[0] * side / sides, repeat[0] * (side + 1) / sides
            bottom, top = profile[ring][1] * repeat[1], profile[ring + 1][1] * repeat[1]
            uvs += [(left, bottom), (right, bottom), (right, top), (left, top)]
    return _mesh(name, vertices, faces, uvs)


def _object(name: str, data: Any, at: Any = (0, 0, 0), into: Any = None) -> Any:
    thing: Any = _data.objects.new(name, data)
    thing.location = Vector(at)
    (into or _context.scene.collection).objects.link(thing)
    return thing


def _colour(code: str) -> tuple[float, float, float, float]:
    """Linear RGBA of ``rrggbb``."""
    parts = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return red, green, blue, 1.0


def _material(name: str, colour: str = "808080", roughness: float = 0.6) -> tuple[Any, Any]:
    """A material with one Principled shader; returns both."""
    material = _data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree: Any = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = _colour(colour)
    shader.inputs["Roughness"].default_value = roughness
    return material, shader


def _textured(name: str, image: Path, roughness: float, haze: bool = False) -> Any:
    material, shader = _material(name, roughness=roughness)
    tree = material.node_tree
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = _data.images.load(str(image), check_existing=True)
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    bump = tree.nodes.new("ShaderNodeBump")
    bump.inputs["Strength"].default_value = 0.25
    bump.inputs["Distance"].default_value = 0.05
    tree.links.new(texture.outputs["Color"], bump.inputs["Height"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    if haze:
        _add_haze(material, shader, near=18.0, far=75.0)
    return material


def _glow_only(material: Any) -> None:
    """Let a material shine without being sampled as a lamp: thousands of lamps cost time."""
    material.cycles.emission_sampling = "NONE"


def _add_haze(material: Any, shader: Any, near: float, far: float) -> None:
    """Let a material fade into the colour of the horizon between two distances in metres."""
    tree = material.node_tree
    camera = tree.nodes.new("ShaderNodeCameraData")
    distance = tree.nodes.new("ShaderNodeMapRange")
    distance.inputs["From Min"].default_value = near
    distance.inputs["From Max"].default_value = far
    distance.inputs["To Max"].default_value = 0.92
    haze = tree.nodes.new("ShaderNodeEmission")
    haze.inputs["Color"].default_value = _colour("ffb487")
    haze.inputs["Strength"].default_value = 0.7
    mix = tree.nodes.new("ShaderNodeMixShader")
    output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    tree.links.new(camera.outputs["View Distance"], distance.inputs["Value"])
    tree.links.new(
        distance.outputs["Result"], mix.inputs["Fac"] if "Fac" in mix.inputs else mix.inputs[0]
    )
    tree.links.new(shader.outputs["BSDF"], mix.inputs[1])
    tree.links.new(haze.outputs["Emission"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], output.inputs["Surface"])


# --- the library: a mill -------------------------------------------------------------------------


def _make_mill(textures: Path) -> None:
    """Build the collection ``Mill``: tower, cap, gallery, door, windows and turning sails."""
    collection = _data.collections.new("Mill")
    _context.scene.collection.children.link(collection)
    stone = _textured("Stone", textures / "stone.png", 0.8)
    planks = _textured("Planks", textures / "planks.png", 0.6)
    shingles = _textured("Shingles", textures / "shingles.png", 0.5)
    canvas, _ = _material("Canvas", "f7efe0", 0.7)
    glow, shader = _material("Lamp light", "ffb45a")
    shader.inputs["Emission Color"].default_value = _colour("ff9a3c")
    shader.inputs["Emission Strength"].default_value = 9.0
    _glow_only(glow)

    def add(name: str, mesh: Any, material: Any, at: Sequence[float] | Vector = (0, 0, 0)) -> Any:
        mesh.materials.append(material)
        return _object(name, mesh, at, collection)

    tower = [(2.3, 0.0), (2.1, 0.9), (1.75, 3.2), (1.45, 5.6)]
    add("Tower", _turned("Tower", tower, 12, (8, 0.55)), stone)
    cap = [(1.5, 5.6), (1.78, 5.55), (1.68, 6.0), (1.3, 6.7), (0.7, 7.25), (0.02, 7.5)]
    add("Cap", _turned("Cap", cap, 16, (8, 0.9)), shingles)
    gallery = [(1.8, 2.35), (2.75, 2.35), (2.75, 2.47), (1.8, 2.47)]
    add("Gallery", _turned("Gallery", gallery, 24, (10, 1)), planks)
    for post in range(24):
        angle = math.tau * post / 24
        at = (2.65 * math.cos(angle), 2.65 * math.sin(angle), 2.8)
        add("Post", _box("Post", (0.07, 0.07, 0.7)), planks, at)
    rail = [(2.6, 3.12), (2.72, 3.12), (2.72, 3.2), (2.6, 3.2), (2.6, 3.12)]
    add("Rail", _turned("Rail", rail, 24, (10, 1)), planks)
    add("Door", _box("Door", (0.95, 0.3, 1.7), 0.8), planks, (0.25, -2.12, 0.85))
    for x, y, z in ((0.25, -1.93, 2.05), (0.55, -1.58, 3.75), (-0.5, -1.5, 4.5)):
        add("Window frame", _box("Window frame", (0.62, 0.2, 0.78), 0.8), planks, (x, y, z))
        add("Window", _box("Window", (0.44, 0.24, 0.6)), glow, (x, y, z))

    hub_at = HUB_AT - MILL_AT
    shaft = add("Shaft", _turned("Shaft", [(0.22, -0.1), (0.22, 1.4)], 12, (1, 1)), planks, hub_at)
    shaft.rotation_euler = Euler((math.radians(-90), 0, 0))
    hub = add("Hub", _box("Hub", (0.5, 0.42, 0.5)), planks, hub_at)
    for arm in range(4):
        for name, mesh, material, x, z in _sail_parts(planks, canvas):
            part = add(name, mesh, material)
            part.parent = hub
            turn = Euler((0, math.tau * arm / 4, 0))
            offset = Vector((x, -0.25, z))
            offset.rotate(turn)
            part.location = offset
            part.rotation_euler = turn
    hub.rotation_euler = Euler((math.radians(0), 0, 0))
    # One key long before and one long after: the sails turn at the same speed whatever is rendered.
    turns_a_frame = 1 / 72
    for frame in (-480, 960):
        hub.rotation_euler = Euler((0, math.tau * turns_a_frame * frame + math.radians(20), 0))
        hub.keyframe_insert("rotation_euler", frame=frame)


def _sail_parts(planks: Any, canvas: Any) -> list[tuple[str, Any, Any, float, float]]:
    """The parts of one sail that points upwards: name, mesh, material, x and z in metres."""
    parts = [
        ("Spar", _box("Spar", (0.13, 0.13, 4.1)), planks, 0.0, 2.1),
        ("Cloth", _box("Cloth", (0.62, 0.03, 2.9)), canvas, 0.42, 2.65),
        ("Edge", _box("Edge", (0.06, 0.07, 3.0)), planks, 0.76, 2.65),
    ]
    for step in range(7):
        bar = _box("Bar", (0.85, 0.06, 0.05))
        parts.append(("Bar", bar, planks, 0.36, 1.2 + step * 0.483))
    return parts


def _link_mill(library: Path) -> None:
    with _data.libraries.load(str(library), link=True, relative=True) as (_, wanted):
        wanted.collections = ["Mill"]
    mill = _object("Mill", None, MILL_AT)
    mill.instance_type = "COLLECTION"
    mill.instance_collection = _data.collections["Mill"]


# --- the scene -----------------------------------------------------------------------------------


def _height(x: float, y: float) -> float:
    """Height of the meadow in metres: level where the mill stands, hills behind."""
    away = max(0.0, math.hypot(x * 0.6, y - 1.0) - 8.0)
    waves = (
        math.sin(x * 0.13 + 1.1) + 0.7 * math.sin(y * 0.17 + x * 0.05) + 0.5 * math.sin(x * 0.31)
    )
    rolling = 0.05 * away * (waves + 1.15)
    return rolling + 0.05 * math.sin(x * 1.1) * math.sin(y * 0.9) - 0.04


def _make_meadow() -> None:
    grass = _textured("Grass", Path(bpy.path.abspath("//textures/grass.png")), 0.9, haze=True)
    cells = 90
    steps = np.linspace(-1.0, 1.0, cells + 1)
    # Fine near the camera, coarse far away.
    xs = (60 * np.sign(steps) * np.abs(steps) ** 1.5).tolist()
    ys = (32 + 60 * np.sign(steps) * np.abs(steps) ** 1.1).tolist()
    vertices = [(x, y, _height(x, y)) for y in ys for x in xs]
    row = cells + 1
    faces = [
        (j * row + i, j * row + i + 1, (j + 1) * row + i + 1, (j + 1) * row + i)
        for j in range(cells)
        for i in range(cells)
    ]
    uvs = [(vertices[i][0] / 4, vertices[i][1] / 4) for face in faces for i in face]
    mesh = _mesh("Meadow", vertices, faces, uvs)
    mesh.materials.append(grass)
    mesh.shade_smooth()
    _object("Meadow", mesh)
    _plant_trees()


def _plant_trees() -> None:
    rng = np.random.default_rng(2026)
    bark, _ = _material("Bark", "5a3d28", 0.9)
    shapes: list[Any] = []
    for index, (code, girth) in enumerate((("2f5a2c", 1.0), ("4d7a32", 1.25), ("8a8a35", 0.85))):
        leaf, shader = _material(f"Leaves {index + 1}", code, 0.8)
        _add_haze(leaf, shader, near=18.0, far=75.0)
        crown = [(0.3 * girth, 0.6), (1.0 * girth, 0.9), (0.55 * girth, 1.9), (0.75 * girth, 1.95)]
        crown += [(0.35 * girth, 2.8), (0.5 * girth, 2.85), (0.0, 4.1)]
        tree = _turned(f"Tree {index + 1}", crown, 9, (1, 1))
        tree.materials.append(leaf)
        shapes.append(tree)
    trunk = _turned("Trunk", [(0.2, -0.6), (0.13, 1.2)], 7, (1, 1))
    trunk.materials.append(bark)
    for _ in range(110):
        x, y = rng.uniform(-34, 34), rng.uniform(9, 52)
        if abs(x - 1.5) < 3.0 and y < 20:
            continue
        at = (x, y, _height(x, y))
        size = rng.uniform(0.7, 1.5)
        for shape in (shapes[rng.integers(3)], trunk):
            tree = _object("Tree", shape, at)
            tree.scale = Vector((size, size, size))
            tree.rotation_euler = Euler((0, 0, rng.uniform(0, math.tau)))


def _make_easel() -> None:
    """The wooden frame in which the picture comes together."""
    planks = _textured("Frame", Path(bpy.path.abspath("//assets/textures/planks.png")), 0.45)
    back, _ = _material("Slate", "1b1a22", 0.35)
    wide, high = TILES_ACROSS * TILE, TILES_HIGH * TILE
    board = _box("Board", (wide + 0.06, 0.08, high + 0.06))
    board.materials.append(back)
    _object("Board", board, PICTURE_AT + Vector((0, 0.14, 0)))
    bars = [
        ((wide + 0.6, 0.3, 0.26), (0, 0.05, high / 2 + 0.14)),
        ((wide + 0.6, 0.3, 0.26), (0, 0.05, -high / 2 - 0.14)),
        ((0.26, 0.3, high + 0.1), (wide / 2 + 0.14, 0.05, 0)),
        ((0.26, 0.3, high + 0.1), (-wide / 2 - 0.14, 0.05, 0)),
        ((0.24, 0.24, 5.6), (wide / 2 - 0.9, 0.42, -0.3)),
        ((0.24, 0.24, 5.6), (-wide / 2 + 0.9, 0.42, -0.3)),
    ]
    for size, offset in bars:
        mesh = _box("Bar", size, 1.2)
        mesh.materials.append(planks)
        _object("Frame", mesh, PICTURE_AT + Vector(offset))


def _make_tiles(frames: int) -> None:
    """The picture in tiles: each leaves the hub of the sails and flies to its place."""
    material = _film_material(frames)
    rng = np.random.default_rng(7)
    collection = _data.collections.new("Tiles")
    _context.scene.collection.children.link(collection)
    for row in range(TILES_HIGH):
        for column in range(TILES_ACROSS):
            mesh = _tile_mesh(column, row)
            mesh.materials.append(material)
            tile = _object(f"Tile {row:02d} {column:02d}", mesh, into=collection)
            place = (
                PICTURE_AT
                + Vector(((column + 0.5) * TILE, 0, (row + 0.5) * TILE))
                - Vector((TILES_ACROSS, 0, TILES_HIGH)) * (TILE / 2)
            )
            # Left columns first, lower rows first; the last tile lands before the film ends.
            order = (column + 0.8 * row + rng.uniform(0, 4)) / (TILES_ACROSS + 0.8 * TILES_HIGH + 4)
            leaves = -0.35 * frames + 0.85 * frames * order
            _animate_flight(tile, place, leaves, 0.42 * frames, rng)


def _tile_mesh(column: int, row: int) -> Any:
    """A tile with its part of the picture on every side."""
    side = TILE * 0.975
    mesh = _box("Tile", (side, 0.09, side))
    layer: Any = mesh.uv_layers[0]
    for polygon in mesh.polygons:
        for index in polygon.loop_indices:
            vertex = mesh.vertices[mesh.loops[index].vertex_index].co
            across = (column + 0.5 + vertex.x / TILE) / TILES_ACROSS
            layer.data[index].uv = (across, (row + 0.5 + vertex.z / TILE) / TILES_HIGH)
    return mesh


def _film_material(frames: int) -> Any:
    """The image sequence, half lit and half shining by itself."""
    material, shader = _material("Film", roughness=0.3)
    tree = material.node_tree
    texture = tree.nodes.new("ShaderNodeTexImage")
    image = _data.images.load(bpy.path.abspath("//footage/picture_0001.png"))
    image.source = "SEQUENCE"
    texture.image = image
    texture.image_user.frame_duration = frames
    texture.image_user.frame_start = 1
    texture.image_user.use_auto_refresh = True
    texture.image_user.use_cyclic = True
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(texture.outputs["Color"], shader.inputs["Emission Color"])
    shader.inputs["Emission Strength"].default_value = 0.9
    _glow_only(material)
    return material


def _animate_flight(tile: Any, place: Vector, leaves: float, lasts: float, rng: Any) -> None:
    """Keys along the way: a spiral out of the hub, an arc, and a soft landing."""
    spin = Vector(rng.uniform(-1, 1, 3)) * math.tau
    swirl = rng.uniform(0, math.tau)
    bulge = Vector((rng.uniform(-0.6, 0.6), rng.uniform(-3.2, -1.2), rng.uniform(0.6, 2.4)))
    start = HUB_AT + Vector((0, -0.5, 0))
    keys = 12
    for key in range(keys + 1):
        time = key / keys
        eased = 1 - (1 - time) ** 1.5
        at = start.lerp(place, eased)
        arc = 4 * eased * (1 - eased)
        at += bulge * arc
        ring = 3.4 * eased * (1 - eased) ** 2
        turn = swirl + 5.0 * eased
        at += Vector((math.cos(turn), 0, math.sin(turn))) * ring
        tile.location = at
        tile.rotation_euler = Euler(spin * (1 - eased))
        tile.scale = Vector.Fill(3, min(1.0, 0.02 + 1.6 * eased))
        for path in ("location", "rotation_euler", "scale"):
            tile.keyframe_insert(path, frame=leaves + lasts * time)


def _make_sky(scene: Any) -> None:
    """A clear evening: warm at the horizon, deep above."""
    world = _data.worlds.new("Evening")
    scene.world = world
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    tree: Any = world.node_tree
    background = next(node for node in tree.nodes if node.type == "BACKGROUND")
    coordinates = tree.nodes.new("ShaderNodeTexCoord")
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    stops = [
        (0.0, "ffb37a"),
        (0.05, "ffc48a"),
        (0.16, "f58f86"),
        (0.34, "8f8ad8"),
        (0.75, "2f57c0"),
    ]
    ramp.color_ramp.elements.remove(ramp.color_ramp.elements[1])
    for index, (position, code) in enumerate(stops):
        element = (
            ramp.color_ramp.elements[0] if index == 0 else ramp.color_ramp.elements.new(position)
        )
        element.position = position
        element.color = _colour(code)
    tree.links.new(coordinates.outputs["Generated"], split.inputs["Vector"])
    tree.links.new(
        split.outputs["Z"], ramp.inputs["Fac"] if "Fac" in ramp.inputs else ramp.inputs[0]
    )
    tree.links.new(ramp.outputs["Color"], background.inputs["Color"])
    background.inputs["Strength"].default_value = 0.8
    _hang_clouds()


def _hang_clouds() -> None:
    white, shader = _material("Cloud", "ffe6d8", 1.0)
    shader.inputs["Emission Color"].default_value = _colour("ffb9a0")
    shader.inputs["Emission Strength"].default_value = 0.25
    _glow_only(white)
    puff = _turned(
        "Puff",
        [(math.sin(a) or 0.001, -math.cos(a)) for a in np.linspace(0, math.pi, 13)],
        18,
        (1, 1),
    )
    puff.materials.append(white)
    puff.shade_smooth()
    rng = np.random.default_rng(99)
    for x, y, z, size in (
        (-20, 62, 24, 1.2),
        (8, 70, 27, 1.0),
        (27, 60, 19, 1.4),
        (-38, 70, 17, 1.0),
    ):
        for _ in range(7):
            at = (x + rng.normal(0, 3.5 * size), y + rng.normal(0, 1.5), z + rng.uniform(-0.3, 0.9))
            cloud = _object("Cloud", puff, at)
            cloud.scale = Vector(
                (rng.uniform(2.2, 4) * size, 2 * size, rng.uniform(0.8, 1.5) * size)
            )


def _make_lights() -> None:
    sun: Any = _data.lights.new("Evening sun", "SUN")
    sun.energy = 5.5
    sun.angle = math.radians(2)
    sun.color = _colour("ffcf9a")[:3]
    _object("Evening sun", sun).rotation_euler = Euler((math.radians(62), 0, math.radians(-48)))
    fill: Any = _data.lights.new("Sky fill", "AREA")
    fill.energy = 260
    fill.size = 9
    fill.color = _colour("9db8ff")[:3]
    light = _object("Sky fill", fill, (9, -11, 8))
    light.rotation_euler = Euler((math.radians(55), 0, math.radians(40)))


def _make_camera(scene: Any, frames: int) -> None:
    """A slow move from the mill towards the picture, focus with it."""
    lens: Any = _data.cameras.new("Camera")
    lens.lens = 29
    camera = _object("Camera", lens)
    focus = _object("Focus", None, (0, 0, 0))
    aim = camera.constraints.new("TRACK_TO")
    aim.target = focus
    lens.dof.use_dof = True
    lens.dof.focus_object = focus
    lens.dof.aperture_fstop = 2.4
    for frame, at, look in (
        (1, (-6.0, -15.8, 1.7), (-0.4, -0.4, 4.75)),
        (frames, (2.2, -15.0, 2.7), (0.5, -0.2, 4.45)),
    ):
        camera.location, focus.location = Vector(at), Vector(look)
        camera.keyframe_insert("location", frame=frame)
        focus.keyframe_insert("location", frame=frame)
    scene.camera = camera


def _set_render(scene: Any, frames: int) -> None:
    scene.frame_start, scene.frame_end = 1, frames
    scene.render.fps = FPS
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.render.filepath = "//frames/mill_####"
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 0.35
    scene.cycles.device = "CPU"
    scene.cycles.samples = SAMPLES
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.max_bounces = 3
    scene.cycles.sample_clamp_indirect = 3
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.exposure = 0.6
    scene.view_settings.look = "AgX - Punchy"
    scene.world.mist_settings.start, scene.world.mist_settings.depth = 8.0, 70.0
    scene.view_layers[0].use_pass_mist = True


def _make_compositor(scene: Any) -> None:
    """The picture as it is, and its mist pass into files of their own."""
    if bpy.app.version < (5, 0, 0):
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        end = tree.nodes.new("CompositorNodeComposite")
    else:
        tree = _data.node_groups.new("Compositor", "CompositorNodeTree")
        scene.compositing_node_group = tree
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        end = tree.nodes.new("NodeGroupOutput")
    layers = tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(layers.outputs["Image"], end.inputs["Image"])
    mist: Any = tree.nodes.new("CompositorNodeOutputFile")
    mist.name = mist.label = "Mist"
    if bpy.app.version < (5, 0, 0):
        mist.base_path = "//mist/"
        mist.file_slots[0].path = "mist_"
        mist.format.file_format = "PNG"
    else:
        mist.directory = "//mist/"
        mist.file_name = ""
        mist.format.media_type = "IMAGE"
        mist.format.file_format = "PNG"
        mist.file_output_items.new("FLOAT", "mist_")
    mist.format.color_mode = "BW"
    tree.links.new(layers.outputs["Mist"], mist.inputs[0])


if __name__ == "__main__":
    main()
    # The module of some Blender versions crashes or hangs while Python shuts down.
    sys.stdout.flush()
    if bpy.app.background and bpy.app.binary_path == "":
        os._exit(0)
