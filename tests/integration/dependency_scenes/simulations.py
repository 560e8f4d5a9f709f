"""Caches and bakes of simulations."""

from __future__ import annotations

import importlib
from typing import Any

from stage import Place, bake_points, geometry_nodes, shining, stage

bpy: Any = importlib.import_module("bpy")


def falling_cloth() -> tuple[Any, Any]:
    """Add a cloth that falls fast; return it and its cache."""
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4, size=2)
    cloth = bpy.context.object
    cloth.data.materials.append(shining("cloth"))
    modifier = cloth.modifiers.new("Cloth", "CLOTH")
    modifier.settings.time_scale = 4.0
    cache = modifier.point_cache
    cache.frame_end = 14
    return cloth, cache


def cloth_on_disk(place: Place) -> int:
    """A baked simulation beside the .blend."""
    stage()
    place.save()
    cloth, cache = falling_cloth()
    cache.use_disk_cache = True
    bake_points(cloth, cache)
    return 6


def external_cache(place: Place) -> int:
    """A baked simulation in a folder of its own."""
    stage()
    place.save("maker.blend")
    cloth, cache = falling_cloth()
    cache.use_disk_cache = True
    cache.name = "flag"
    bake_points(cloth, cache)
    (place.folder / "blendcache_maker").rename(place.path("caches/one"))
    stage()
    place.save()
    cloth, cache = falling_cloth()
    cache.use_external = True
    cache.filepath = "//caches/one/"
    cache.name = "flag"
    return 6


def particles_on_disk(place: Place) -> int:
    """Baked particles beside the .blend."""
    scene = stage()
    place.save()
    bpy.ops.mesh.primitive_cube_add(size=0.3, location=(0, 0, -20))
    grain = bpy.context.object
    grain.data.materials.append(shining("grain"))
    bpy.ops.mesh.primitive_plane_add(size=2)
    source = bpy.context.object
    source.modifiers.new("particles", "PARTICLE_SYSTEM")
    system = source.particle_systems[0]
    settings = system.settings
    settings.count, settings.lifetime, settings.frame_end = 30, 20, 2
    settings.render_type, settings.instance_object = "OBJECT", grain
    settings.particle_size, settings.normal_factor = 1.0, 3.0
    source.show_instancer_for_render = False
    system.point_cache.name = "dust"
    system.point_cache.frame_end = 14
    system.point_cache.use_disk_cache = True
    bake_points(source, system.point_cache)
    # What would be simulated anew without the files is another picture.
    system.seed = 7
    del scene
    return 6


def geometry_bake(place: Place) -> int:
    """Baked Geometry Nodes; what is live is another thing."""
    stage()
    place.save()
    bpy.ops.mesh.primitive_cube_add(size=1.5)
    cube = bpy.context.object
    modifier, group, sink = geometry_nodes(cube)
    change = group.nodes.new("GeometryNodeTransform")
    bake = group.nodes.new("GeometryNodeBake")
    if not any(item.socket_type == "GEOMETRY" for item in bake.bake_items):
        bake.bake_items.new("GEOMETRY", "Geometry")  # Since 5.0 it begins with none.
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = shining("plain")
    group.links.new(group.nodes["Group Input"].outputs[0], change.inputs["Geometry"])
    group.links.new(change.outputs[0], bake.inputs[0])
    group.links.new(bake.outputs[0], paint.inputs["Geometry"])
    group.links.new(paint.outputs[0], sink.inputs[0])
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    (entry,) = modifier.bakes
    entry.bake_mode = "STILL"
    bpy.ops.object.geometry_node_bake_single(
        session_uid=cube.session_uid, modifier_name="nodes", bake_id=entry.bake_id
    )
    change.inputs["Scale"].default_value = (0.2, 0.2, 0.2)
    return 1


def simulation_zone(place: Place) -> int:
    """A simulation of Geometry Nodes, of which a few states are sent."""
    scene = stage()
    scene.frame_end = 30
    place.save()
    bpy.ops.mesh.primitive_cube_add(size=1)
    cube = bpy.context.object
    modifier, group, sink = geometry_nodes(cube)
    start = group.nodes.new("GeometryNodeSimulationInput")
    end = group.nodes.new("GeometryNodeSimulationOutput")
    start.pair_with_output(end)
    move = group.nodes.new("GeometryNodeTransform")
    move.inputs["Translation"].default_value = (0.05, 0, 0)
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = shining("plain")
    group.links.new(group.nodes["Group Input"].outputs[0], start.inputs[0])
    group.links.new(start.outputs[1], move.inputs["Geometry"])
    group.links.new(move.outputs[0], end.inputs[1])
    group.links.new(end.outputs[0], paint.inputs["Geometry"])
    group.links.new(paint.outputs[0], sink.inputs[0])
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    bpy.ops.object.geometry_node_bake_single(
        session_uid=cube.session_uid, modifier_name="nodes", bake_id=modifier.bakes[0].bake_id
    )
    return 20


def rigid_bodies(place: Place) -> int:
    """A baked rigid body world, which Blender keeps in the .blend only."""
    scene = stage()
    place.save()
    bpy.ops.mesh.primitive_cube_add(size=1, location=(0, 0, 2))
    cube = bpy.context.object
    cube.data.materials.append(shining("box"))
    bpy.ops.rigidbody.world_add()
    bpy.ops.rigidbody.object_add()
    cache = scene.rigidbody_world.point_cache
    cache.frame_end = 12
    with bpy.context.temp_override(point_cache=cache, scene=scene):
        bpy.ops.ptcache.bake(bake=True)
    return 10


KINDS = (
    cloth_on_disk,
    external_cache,
    particles_on_disk,
    geometry_bake,
    simulation_zone,
    rigid_bodies,
)
