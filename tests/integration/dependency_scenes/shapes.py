"""Kinds of files that hold shapes, light and shaders."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage import (
    CannotBeMade,
    Place,
    geometry_nodes,
    give,
    link,
    nodes_of,
    relative,
    screen,
    shine_everywhere,
    shining,
    stage,
)

bpy: Any = importlib.import_module("bpy")


def volume_sequence(place: Place) -> int:
    """OpenVDB files, one a frame."""
    if not hasattr(bpy.utils, "expose_bundled_modules"):
        raise CannotBeMade("this Blender brings no module that writes OpenVDB")
    bpy.utils.expose_bundled_modules()
    openvdb: Any = importlib.import_module("openvdb")
    stage()
    place.save()
    for frame in (1, 2, 3):
        grid = openvdb.FloatGrid()
        grid.name = "density"
        grid.fill((-frame, -frame, -1), (frame, frame, 1), 4.0)
        grid.transform = openvdb.createLinearTransform(voxelSize=0.3)
        openvdb.write(str(place.path(f"vdb/cloud_{frame:03}.vdb")), grids=[grid])
    volume = bpy.data.volumes.new("cloud")
    volume.filepath = str(place.folder / "vdb/cloud_001.vdb")
    volume.is_sequence = True
    volume.frame_duration, volume.frame_start, volume.frame_offset = 3, 2, 1
    material = bpy.data.materials.new("glow")
    tree = nodes_of(material)
    tree.nodes.clear()
    glow = tree.nodes.new("ShaderNodeVolumePrincipled")
    glow.inputs["Emission Strength"].default_value = 1.0
    sink = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(glow.outputs[0], sink.inputs["Volume"])
    volume.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("cloud", volume))
    return 3


def _moving_cube() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.frame_end = 3
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    # Both kinds of caches: of the mesh, and of the place of the object.
    modifier = cube.modifiers.new("grow", "CAST")
    for frame, factor in ((1, 0.0), (3, 1.0)):
        modifier.factor = cube.location.x = factor
        modifier.keyframe_insert("factor", frame=frame)
        cube.keyframe_insert("location", frame=frame)


def alembic(place: Place) -> int:
    """A mesh that moves as an Alembic file says."""
    _moving_cube()
    path = place.path("cache/cube.abc")
    bpy.ops.wm.alembic_export(
        filepath=str(path), start=1, end=3, as_background_job=False, evaluation_mode="RENDER"
    )
    stage()
    place.save()
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    shine_everywhere()
    return 3


def usd(place: Place) -> int:
    """A mesh that moves as a USD file says."""
    _moving_cube()
    path = place.path("cache/cube.usdc")
    bpy.ops.wm.usd_export(filepath=str(path), export_animation=True)
    stage()
    place.save()
    bpy.ops.wm.usd_import(filepath=str(path))
    shine_everywhere()
    if not bpy.data.cache_files:
        raise CannotBeMade("this Blender imports USD without keeping the file")
    return 3


def mesh_cache(place: Place) -> int:
    """Points from an MDD file: big-endian counts, times, then three floats a point."""
    stage()
    place.save()
    plane = screen(shining("plain"))
    path = place.path("cube.mdd")
    with path.open("wb") as file:
        file.write(struct.pack(">2i2f", 2, 4, 0.0, 1.0))
        for size in (0.5, 2.0):
            for vertex in plane.data.vertices:
                x, y, _ = vertex.co
                file.write(struct.pack(">3f", x * size, y * size / 2, 0.0))
    modifier = plane.modifiers.new("cache", "MESH_CACHE")
    modifier.filepath = relative(path)
    modifier.cache_format = "MDD"
    modifier.frame_start = 1
    return 2


def geometry_import(place: Place) -> int:
    """Files that Geometry Nodes read."""
    if not hasattr(bpy.types, "GeometryNodeImportOBJ"):
        raise CannotBeMade("import nodes came with Blender 4.5")
    stage()
    place.save()
    files = {
        "OBJ": ("v -1 -1 0\nv 0 -1 0\nv -1 0 0\nf 1 2 3\n", "triangle.obj"),
        "STL": (
            "solid s\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\n"
            "vertex 1 1 0\nendloop\nendfacet\nendsolid s\n",
            "triangle.stl",
        ),
        "PLY": (
            "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
            "property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
            "end_header\n0 -1 0\n1 -1 0\n1 0 0\n3 0 1 2\n",
            "triangle.ply",
        ),
    }
    bpy.ops.mesh.primitive_cube_add(size=0.1)
    cube = bpy.context.object
    _, group, sink = geometry_nodes(cube)
    join = group.nodes.new("GeometryNodeJoinGeometry")
    for kind, (text, name) in files.items():
        path = place.path(f"models/{name}")
        path.write_text(text, "utf-8")
        node = group.nodes.new(f"GeometryNodeImport{kind}")
        node.inputs["Path"].default_value = relative(path)
        group.links.new(node.outputs[0], join.inputs[0])
    _painted(group, join.outputs[0], sink)
    return 1


def _painted(group: Any, geometry: Any, sink: Any) -> None:
    # Whatever axes an importer takes for up, the camera sees it.
    turn = group.nodes.new("GeometryNodeTransform")
    turn.inputs["Rotation"].default_value = (0.8, 0, 0)
    real = group.nodes.new("GeometryNodeRealizeInstances")
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = shining("plain")
    group.links.new(geometry, real.inputs[0])
    group.links.new(real.outputs[0], turn.inputs["Geometry"])
    group.links.new(turn.outputs[0], paint.inputs["Geometry"])
    group.links.new(paint.outputs[0], sink.inputs[0])


def import_through_groups(place: Place) -> int:
    """A path that an object gives to a linked group, which is relative to the group's file."""
    if not hasattr(bpy.types, "GeometryNodeImportOBJ"):
        raise CannotBeMade("import nodes came with Blender 4.5")
    stage()
    place.save("nodes/groups.blend")
    place.path("nodes/models/big.obj").write_text(
        "v -1 -1 0\nv 1 -1 0\nv 0 1 0\nf 1 2 3\n", "utf-8"
    )
    bpy.ops.mesh.primitive_cube_add()
    _, inner, sink = geometry_nodes(bpy.context.object)
    inner.name = "reader"
    inner.interface.new_socket("Where", in_out="INPUT", socket_type="NodeSocketString")
    node = inner.nodes.new("GeometryNodeImportOBJ")
    inner.links.new(inner.nodes["Group Input"].outputs["Where"], node.inputs["Path"])
    _painted(inner, node.outputs[0], sink)
    inner.use_fake_user = True
    place.save("nodes/groups.blend")
    stage()
    place.save()
    (reader,) = link(place.folder / "nodes/groups.blend", "node_groups")
    bpy.ops.mesh.primitive_cube_add(size=0.1)
    modifier, outer, sink = geometry_nodes(bpy.context.object)
    item = outer.interface.new_socket("File", in_out="INPUT", socket_type="NodeSocketString")
    user = outer.nodes.new("GeometryNodeGroup")
    user.node_tree = reader
    outer.links.new(outer.nodes["Group Input"].outputs["File"], user.inputs["Where"])
    outer.links.new(user.outputs[0], sink.inputs[0])
    give(modifier, item.identifier, "//models/big.obj")
    return 1


def _lamp(place: Place) -> Path:
    path = place.path("ies/lamp.ies")
    path.write_text(
        "IESNA:LM-63-1995\n[TEST] Rendermill\nTILT=NONE\n1 1000 1 5 1 1 2 0 0 0\n1 1 10\n"
        "0 10 20 30 90\n0\n100 2000 5 4000 0\n",
        "utf-8",
    )
    return path


def _lit_by(strength: Callable[[Any], Any]) -> None:
    """Light a floor by a lamp whose strength is the socket that ``strength(tree)`` returns."""
    bpy.ops.mesh.primitive_plane_add(size=6)
    light = bpy.data.lights.new("lamp", "POINT")
    light.energy, light.shadow_soft_size = 300.0, 0.0
    tree = nodes_of(light)
    shine = next(n for n in tree.nodes if n.bl_idname == "ShaderNodeEmission")
    tree.links.new(strength(tree), shine.inputs["Strength"])
    lamp = bpy.data.objects.new("lamp", light)
    lamp.location = (0, 0, 2)
    bpy.context.scene.collection.objects.link(lamp)


def ies(place: Place) -> int:
    """A light with a photometric profile."""
    stage()
    place.save()
    path = _lamp(place)

    def strength(tree: Any) -> Any:
        node = tree.nodes.new("ShaderNodeTexIES")
        node.mode, node.filepath = "EXTERNAL", relative(path)
        return node.outputs[0]

    _lit_by(strength)
    return 1


def osl(place: Place) -> int:
    """A shader in Open Shading Language, from a file that includes another."""
    scene = stage()
    place.save()
    scene.cycles.shading_system = True
    path = place.path("osl/stripes.osl")
    place.path("osl/lib/tones.h").write_text("#define WARM color(1, 0.2, 0)\n", "utf-8")
    path.write_text(
        '#include "lib/tones.h"\nshader stripes(output color Stripes = 0) {\n'
        "  Stripes = mod(floor(P[0] * 4), 2) > 0 ? WARM : color(0, 0.2, 1);\n}\n",
        "utf-8",
    )

    def make(tree: Any) -> Any:
        node = tree.nodes.new("ShaderNodeScript")
        node.mode = "EXTERNAL"
        node.filepath = str(path)
        node.update()
        if not node.outputs:
            raise CannotBeMade("this Blender compiles no OSL")
        return node.outputs["Stripes"]

    screen(shining("osl", make))
    return 1


def usd_layers(place: Place) -> int:
    """A USD file that is made of two others."""
    _moving_cube()
    bpy.ops.wm.usd_export(filepath=str(place.path("cache/layers/cube.usdc")), export_animation=True)
    place.path("cache/layers/more/side.usda").write_text(
        """#usda 1.0
over "root"
{
    over "Cube"
    {
        double3 xformOp:translate.timeSamples = { 1: (-1, 0, 0), 3: (-0.5, 0, 0) }
    }
}
""",
        "utf-8",
    )
    root = place.path("cache/shot.usda")
    root.write_text(
        '#usda 1.0\n(\n  defaultPrim = "root"\n  endTimeCode = 3\n  startTimeCode = 1\n'
        "  timeCodesPerSecond = 24\n"
        "  subLayers = [@layers/more/side.usda@, @./layers/cube.usdc@]\n)\n",
        "utf-8",
    )
    stage()
    place.save()
    bpy.ops.wm.usd_import(filepath=str(root))
    shine_everywhere()
    if not bpy.data.cache_files:
        raise CannotBeMade("this Blender imports USD without keeping the file")
    return 3


def ies_in_a_group(place: Place) -> int:
    """A photometric profile in a group of nodes that a light uses."""
    stage()
    place.save()
    path = _lamp(place)
    group = bpy.data.node_groups.new("profile", "ShaderNodeTree")
    group.interface.new_socket("Strength", in_out="OUTPUT", socket_type="NodeSocketFloat")
    node = group.nodes.new("ShaderNodeTexIES")
    node.mode, node.filepath = "EXTERNAL", relative(path)
    group.links.new(node.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])

    def strength(tree: Any) -> Any:
        user = tree.nodes.new("ShaderNodeGroup")
        user.node_tree = group
        return user.outputs[0]

    _lit_by(strength)
    return 1


KINDS = (
    volume_sequence,
    alembic,
    usd,
    usd_layers,
    mesh_cache,
    geometry_import,
    import_through_groups,
    ies,
    ies_in_a_group,
    osl,
)
