"""Other .blend files, and what hangs on them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from simulations import falling_cloth
from stage import (
    GREEN,
    RED,
    CannotBeMade,
    Place,
    bake_points,
    link,
    load,
    relative,
    screen,
    shining,
    stage,
    textured,
)

bpy: Any = importlib.import_module("bpy")


def library_of_library(place: Place) -> int:
    """The .blend links props, which link materials, which have a texture."""
    stage()
    place.save("lib/deep/materials.blend")
    image = load(place.picture("lib/deep/textures/wood.png", GREEN))
    image.filepath = relative(place.folder / "lib/deep/textures/wood.png")
    textured(image).use_fake_user = True
    place.save("lib/deep/materials.blend")
    stage()
    place.save("lib/props.blend")
    (material,) = link(place.folder / "lib/deep/materials.blend", "materials")
    screen(material).name = "Prop"
    place.save("lib/props.blend")
    scene = stage()
    place.save()
    for item in link(place.folder / "lib/props.blend", "objects"):
        if item.type == "MESH":
            scene.collection.objects.link(item)
    return 1


def library_override(place: Place) -> int:
    """A linked collection that this file changes."""
    scene = stage()
    place.save("lib/props.blend")
    image = load(place.picture("lib/textures/wood.png", RED))
    image.filepath = relative(place.folder / "lib/textures/wood.png")
    plane = screen(textured(image))
    props = bpy.data.collections.new("Props")
    bpy.context.scene.collection.children.link(props)
    props.objects.link(plane)
    place.save("lib/props.blend")
    scene = stage()
    place.save()
    (collection,) = link(place.folder / "lib/props.blend", "collections")
    scene.collection.children.link(collection)
    override = collection.override_hierarchy_create(scene, bpy.context.view_layer)
    (plane,) = (thing for thing in override.all_objects if thing.type == "MESH")
    plane.location.x = 0.7
    return 1


def library_packed_in(place: Place) -> int:
    """Linked data that lie in this .blend; their texture lies where the library was."""
    if bpy.app.version < (5, 0, 0):
        raise CannotBeMade("linked data are packed since Blender 5.0")
    stage()
    place.save("lib/materials.blend")
    image = load(place.picture("lib/textures/wood.png", GREEN))
    image.filepath = relative(place.folder / "lib/textures/wood.png")
    textured(image).use_fake_user = True
    place.save("lib/materials.blend")
    stage()
    place.save("project/shot.blend")
    library = str(place.folder / "lib/materials.blend")
    with bpy.data.libraries.load(library, link=True, relative=False, pack=True) as (source, target):
        target.materials = list(source.materials)
    screen(target.materials[0])
    return 1


def cloth_in_a_library(place: Place) -> int:
    """A linked object whose simulation lies beside its own file."""
    stage()
    place.save("lib/props.blend")
    cloth, cache = falling_cloth()
    cache.use_disk_cache = True
    bake_points(cloth, cache)
    props = bpy.data.collections.new("Props")
    bpy.context.scene.collection.children.link(props)
    props.objects.link(cloth)
    place.save("lib/props.blend")
    scene = stage()
    place.save()
    (collection,) = link(place.folder / "lib/props.blend", "collections")
    holder = bpy.data.objects.new("holder", None)
    holder.instance_type, holder.instance_collection = "COLLECTION", collection
    scene.collection.objects.link(holder)
    return 6


def asset_of_blender(place: Place) -> int:
    """Nodes that Blender itself brings in a library of its own."""
    assets = Path(bpy.utils.system_resource("DATAFILES")) / "assets"
    (library,) = [
        path
        for path in (
            assets / "geometry_nodes/smooth_by_angle.blend",
            assets / "nodes/geometry_nodes_essentials.blend",
        )
        if path.is_file()
    ]
    stage()
    place.save()
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=5, radius=1.5)
    with bpy.data.libraries.load(str(library), link=True) as (source, target):
        target.node_groups = [name for name in source.node_groups if name == "Smooth by Angle"]
    bpy.context.object.modifiers.new("smooth", "NODES").node_group = target.node_groups[0]

    def normal(tree: Any) -> Any:
        return tree.nodes.new("ShaderNodeNewGeometry").outputs["Normal"]

    bpy.context.object.data.materials.append(shining("normals", normal))
    return 1


KINDS = (
    library_of_library,
    library_override,
    library_packed_in,
    cloth_in_a_library,
    asset_of_blender,
)
