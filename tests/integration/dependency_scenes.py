"""One scene for every kind of file that a .blend can need; run inside a Blender, by a test.

    python dependency_scenes.py make FOLDER [KIND]   build, render here, send to the farm
    python dependency_scenes.py control FOLDER       render the bare .blend files, without the rest

``make`` builds ``FOLDER/work/<kind>/shot.blend`` with its files around it, renders the one frame
that counts to ``FOLDER/here/<kind>.png`` and sends it with the operator. ``control`` renders what
``FOLDER/bare/<kind>/shot.blend`` shows when nothing else is there. Each prints one line
``RESULT {json}``. Kinds that this Blender cannot make are told with the reason.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import struct
import sys
import time
import traceback
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

bpy: Any = importlib.import_module("bpy")

RED, GREEN, BLUE = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.2, 0.9)
LONG = "a very long name " * 11
"""With an ending 190 bytes: file systems end at 255, and tools add to names."""


class CannotBeMade(Exception):
    """This Blender lacks what the kind needs; the text says what."""


class Place:
    """The folder of one kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the path of ``name`` with its folder made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, name: str, colour: tuple[float, float, float]) -> Path:
        """Write an 8 by 8 picture with a gradient in it, of the format its name says."""
        path = self.path(name)
        image = bpy.data.images.new("maker", 8, 8, float_buffer=path.suffix == ".exr")
        ramp = numpy.linspace(0.5, 1.0, 64).reshape(8, 8, 1)
        pixels = numpy.ones((8, 8, 4))
        pixels[:, :, :3] = ramp * numpy.array(colour)
        image.pixels.foreach_set(pixels.astype(numpy.float32).ravel())
        image.filepath_raw = str(path)
        image.file_format = "OPEN_EXR" if path.suffix == ".exr" else "PNG"
        image.save()
        bpy.data.images.remove(image)
        return path

    def save(self, name: str = "shot.blend") -> None:
        """Save the open scene here."""
        bpy.ops.wm.save_as_mainfile(
            filepath=str(self.path(name)), compress=False, relative_remap=False
        )


# --- pieces of scenes --------------------------------------------------------------------------


def stage() -> Any:
    """Open an empty scene with a camera that looks down on the origin; return the scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 2
    scene.cycles.use_denoising = False
    scene.cycles.use_adaptive_sampling = False
    scene.render.resolution_x = scene.render.resolution_y = 24
    scene.render.resolution_percentage = 100
    scene.frame_start, scene.frame_end = 1, 10
    scene.render.filepath = "//render/frame_####"
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location = (0, 0, 5)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def nodes_of(owner: Any) -> Any:
    """Return the nodes of a material, light or world; since 5.0 they are always there."""
    if owner.node_tree is None:
        owner.use_nodes = True
    return owner.node_tree


def shining(name: str, make: Callable[[Any], Any] | None = None) -> Any:
    """Return a material that shines in the colour of the socket that ``make(tree)`` returns."""
    material = bpy.data.materials.new(name)
    tree = nodes_of(material)
    tree.nodes.clear()
    shine, sink = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shine.outputs[0], sink.inputs["Surface"])
    if make is not None:
        tree.links.new(make(tree), shine.inputs["Color"])
    return material


def textured(image: Any, scale: float = 1.0, **user: Any) -> Any:
    """Return a material that shines as an image; ``user`` sets its image user."""

    def make(tree: Any) -> Any:
        texture = tree.nodes.new("ShaderNodeTexImage")
        texture.image = image
        for key, value in user.items():
            setattr(texture.image_user, key, value)
        mapping, places = (
            tree.nodes.new("ShaderNodeMapping"),
            tree.nodes.new("ShaderNodeTexCoord"),
        )
        mapping.inputs["Scale"].default_value = (scale, scale, scale)
        tree.links.new(places.outputs["UV"], mapping.inputs["Vector"])
        tree.links.new(mapping.outputs[0], texture.inputs["Vector"])
        return texture.outputs["Color"]

    return shining(f"shows {image.name}"[:60], make)


def screen(material: Any, size: float = 3.0) -> Any:
    """Add a plane before the camera."""
    bpy.ops.mesh.primitive_plane_add(size=size)
    plane = bpy.context.object
    plane.data.materials.append(material)
    return plane


def load(path: Path) -> Any:
    """Load an image by its absolute path."""
    return bpy.data.images.load(str(path))


def relative(path: Path) -> str:
    """Return a path relative to the open file."""
    return bpy.path.relpath(str(path))


def strips_of(scene: Any) -> Any:
    """Return the strips of the sequencer."""
    editor = scene.sequence_editor or scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def composite(scene: Any, make: Callable[[Any], Any]) -> None:
    """Let the compositor's picture be the socket that ``make(tree)`` returns."""
    if hasattr(scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("compositor", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
        sink = tree.nodes.new("NodeGroupOutput")
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
        sink = tree.nodes.new("CompositorNodeComposite")
    # Without a render layer Blender would have nothing to render.
    tree.nodes.new("CompositorNodeRLayers")
    tree.links.new(make(tree), sink.inputs[0])


def geometry_nodes(owner: Any) -> tuple[Any, Any, Any]:
    """Give an object an empty Geometry Nodes modifier: modifier, group, its output node."""
    group = bpy.data.node_groups.new("group", "GeometryNodeTree")
    for in_out in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
    group.nodes.new("NodeGroupInput")
    sink = group.nodes.new("NodeGroupOutput")
    modifier = owner.modifiers.new("nodes", "NODES")
    modifier.node_group = group
    return modifier, group, sink


def bake_points(owner: Any, cache: Any) -> None:
    """Bake a point cache."""
    with bpy.context.temp_override(
        point_cache=cache, scene=bpy.context.scene, active_object=owner, object=owner
    ):
        bpy.ops.ptcache.bake(bake=True)


def link(blend: Path, kind: str) -> list[Any]:
    """Link all data-blocks of a kind."""
    with bpy.data.libraries.load(str(blend), link=True, relative=True) as (source, target):
        setattr(target, kind, list(getattr(source, kind)))
    return getattr(target, kind)


# --- the kinds ---------------------------------------------------------------------------------
# Each opens the scene that is sent, leaves it open, and returns the frame that counts.


def image_below_the_file(place: Place) -> int:
    """A relative path."""
    stage()
    place.save()
    image = load(place.picture("textures/wood.png", RED))
    image.filepath = relative(place.folder / "textures/wood.png")
    screen(textured(image))
    return 1


def image_elsewhere(place: Place) -> int:
    """An absolute path, outside the folder of the .blend."""
    stage()
    place.save("project/deep/shot.blend")
    screen(textured(load(place.picture("store of the studio/wood.png", RED))))
    return 1


def names_beyond_ascii(place: Place) -> int:
    """Names of people who do not write English, and a very long one."""
    stage()
    place.save()
    name = f"Bäume & Felder/木目 テクスチャ/{LONG}é.png"
    image = load(place.picture(name, RED))
    image.filepath = relative(place.folder / name)
    screen(textured(image))
    return 1


def symbolic_link(place: Place) -> int:
    """A texture folder that is a link to another one."""
    stage()
    place.save()
    place.picture("store/wood.png", BLUE)
    (place.folder / "textures").symlink_to(place.folder / "store")
    screen(textured(load(place.folder / "textures/wood.png")))
    return 1


def udim(place: Place) -> int:
    """Tiles of an image."""
    stage()
    place.save()
    for tile, colour in ((1001, RED), (1002, GREEN), (1011, BLUE), (1012, RED)):
        place.picture(f"udim/wood.{tile}.png", colour)
    image = load(place.folder / "udim/wood.1001.png")
    image.source = "TILED"
    image.filepath = str(place.folder / "udim/wood.<UDIM>.png")
    for tile in (1002, 1011, 1012):
        if image.tiles.get(tile) is None:
            image.tiles.new(tile)
    screen(textured(image, scale=2.0))
    return 1


def image_sequence(place: Place) -> int:
    """One picture a frame."""
    stage()
    place.save()
    for frame, colour in ((1, RED), (2, GREEN), (3, BLUE)):
        place.picture(f"flames/flame_{frame:04}.png", colour)
    image = load(place.folder / "flames/flame_0001.png")
    image.source = "SEQUENCE"
    screen(textured(image, frame_duration=3, frame_start=1, use_auto_refresh=True))
    return 3


def movie(place: Place) -> int:
    """A film as a texture."""
    scene = stage()
    screen(shining("plain"))
    scene.frame_end = 3
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MKV"
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.filepath = str(place.path("video/take.mkv"))
    bpy.ops.render.render(animation=True)
    stage()
    place.save()
    image = load(place.folder / "video/take.mkv")
    screen(textured(image, frame_duration=3, frame_start=1, use_auto_refresh=True))
    return 2


def movie_clip(place: Place) -> int:
    """A clip that is a sequence of pictures, in the compositor."""
    scene = stage()
    place.save()
    for frame, colour in ((1, RED), (2, GREEN), (3, BLUE)):
        place.picture(f"clip/c{frame:03}.png", colour)
    clip = bpy.data.movieclips.load(str(place.folder / "clip/c001.png"))
    screen(shining("behind"))

    def make(tree: Any) -> Any:
        node = tree.nodes.new("CompositorNodeMovieClip")
        node.clip = clip
        return node.outputs["Image"]

    composite(scene, make)
    return 2


def compositor_image(place: Place) -> int:
    """An image that only the compositor uses."""
    scene = stage()
    place.save()
    image = load(place.picture("plates/sky.exr", GREEN))
    screen(shining("behind"))

    def make(tree: Any) -> Any:
        node = tree.nodes.new("CompositorNodeImage")
        node.image = image
        return node.outputs["Image"]

    composite(scene, make)
    return 1


def world_image(place: Place) -> int:
    """A picture around the scene."""
    scene = stage()
    place.save()
    world = scene.world = bpy.data.worlds.new("World")
    tree = nodes_of(world)
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = load(place.picture("sky/dawn.exr", RED))
    background = tree.nodes.new("ShaderNodeBackground")
    sink = tree.nodes.new("ShaderNodeOutputWorld")
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    tree.links.new(background.outputs[0], sink.inputs["Surface"])
    return 1


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
    volume.frame_duration = 3
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


def font(place: Place) -> int:
    """Letters of a font file."""
    stage()
    place.save()
    fonts = Path(bpy.utils.system_resource("DATAFILES")) / "fonts"
    # One that is not the letters Blender takes when a font is missing.
    source = next(path for path in sorted(fonts.iterdir()) if "mono" in path.name.lower())
    path = place.path(f"fonts/letters{source.suffix}")
    shutil.copy(source, path)
    curve = bpy.data.curves.new("text", "FONT")
    curve.body, curve.size = "Wig\nAm", 1.6
    curve.align_x, curve.align_y = "CENTER", "CENTER"
    curve.font = bpy.data.fonts.load(str(path))
    curve.materials.append(shining("ink"))
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("text", curve))
    return 1


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
    _shine_everywhere()
    return 3


def usd(place: Place) -> int:
    """A mesh that moves as a USD file says."""
    _moving_cube()
    path = place.path("cache/cube.usdc")
    bpy.ops.wm.usd_export(filepath=str(path), export_animation=True)
    stage()
    place.save()
    bpy.ops.wm.usd_import(filepath=str(path))
    _shine_everywhere()
    if not bpy.data.cache_files:
        raise CannotBeMade("this Blender imports USD without keeping the file")
    return 3


def _shine_everywhere() -> None:
    material = shining("plain")
    for thing in bpy.context.scene.objects:
        if thing.type == "MESH":
            thing.data.materials.clear()
            thing.data.materials.append(material)


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


def ies(place: Place) -> int:
    """A light with a photometric profile."""
    stage()
    place.save()
    path = place.path("ies/lamp.ies")
    path.write_text(
        "IESNA:LM-63-1995\n[TEST] Rendermill\nTILT=NONE\n1 1000 1 5 1 1 2 0 0 0\n1 1 10\n"
        "0 10 20 30 90\n0\n100 2000 5 4000 0\n",
        "utf-8",
    )
    bpy.ops.mesh.primitive_plane_add(size=6)
    light = bpy.data.lights.new("lamp", "POINT")
    light.energy, light.shadow_soft_size = 300.0, 0.0
    tree = nodes_of(light)
    node = tree.nodes.new("ShaderNodeTexIES")
    node.mode = "EXTERNAL"
    node.filepath = relative(path)
    shine = next(n for n in tree.nodes if n.bl_idname == "ShaderNodeEmission")
    tree.links.new(node.outputs[0], shine.inputs["Strength"])
    lamp = bpy.data.objects.new("lamp", light)
    lamp.location = (0, 0, 2)
    bpy.context.scene.collection.objects.link(lamp)
    return 1


def osl(place: Place) -> int:
    """A shader in Open Shading Language, from a file."""
    scene = stage()
    place.save()
    scene.cycles.shading_system = True
    path = place.path("osl/stripes.osl")
    path.write_text(
        "shader stripes(output color Stripes = 0) {\n"
        "  Stripes = mod(floor(P[0] * 4), 2) > 0 ? color(1, 0.2, 0) : color(0, 0.2, 1);\n}\n",
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


def packed(place: Place) -> int:
    """A file that is in the .blend: nothing else is needed."""
    stage()
    place.save()
    image = load(place.picture("textures/wood.png", BLUE))
    image.pack()
    screen(textured(image))
    (place.folder / "textures/wood.png").unlink()
    return 1


def _falling_cloth() -> tuple[Any, Any]:
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
    cloth, cache = _falling_cloth()
    cache.use_disk_cache = True
    bake_points(cloth, cache)
    return 6


def external_cache(place: Place) -> int:
    """A baked simulation in a folder of its own."""
    stage()
    place.save("maker.blend")
    cloth, cache = _falling_cloth()
    cache.use_disk_cache = True
    cache.name = "flag"
    bake_points(cloth, cache)
    (place.folder / "blendcache_maker").rename(place.path("caches/one"))
    stage()
    place.save()
    cloth, cache = _falling_cloth()
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


def geometry_import(place: Place) -> int:
    """A file that Geometry Nodes read."""
    if not hasattr(bpy.types, "GeometryNodeImportOBJ"):
        raise CannotBeMade("import nodes came with Blender 4.5")
    stage()
    place.save()
    path = place.path("obj/triangle.obj")
    path.write_text("v -1 -1 0\nv 1 -1 0\nv 0 1 0\nf 1 2 3\n", "utf-8")
    bpy.ops.mesh.primitive_cube_add(size=0.1)
    cube = bpy.context.object
    _, group, sink = geometry_nodes(cube)
    node = group.nodes.new("GeometryNodeImportOBJ")
    node.inputs["Path"].default_value = relative(path)
    # Whatever axes the importer takes for up, the camera sees it.
    turn = group.nodes.new("GeometryNodeTransform")
    turn.inputs["Rotation"].default_value = (0.8, 0, 0)
    real = group.nodes.new("GeometryNodeRealizeInstances")
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = shining("plain")
    group.links.new(node.outputs[0], real.inputs[0])
    group.links.new(real.outputs[0], turn.inputs["Geometry"])
    group.links.new(turn.outputs[0], paint.inputs["Geometry"])
    group.links.new(paint.outputs[0], sink.inputs[0])
    return 1


def colour_configuration(place: Place) -> int:
    """The colours of a studio; only where this Blender was started with them."""
    scene = stage()
    place.save()
    assert scene.display_settings.display_device == "Studio"
    screen(textured(load(place.picture("textures/wood.png", GREEN))))
    return 1


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


def image_strip(place: Place) -> int:
    """A plate in the sequencer, with a sound beside it."""
    scene = stage()
    place.save()
    screen(shining("behind"))
    for frame, colour in ((1, RED), (2, BLUE)):
        place.picture(f"plates/plate_{frame}.png", colour)
    strips = strips_of(scene)
    strip = strips.new_image("plate", str(place.folder / "plates/plate_1.png"), 1, 1)
    strip.elements.append("plate_2.png")
    strip.frame_final_duration = 2
    with wave.open(str(place.path("sound/step.wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 800)
    if bpy.app.build_options.audaspace:
        strips.new_sound("sound", str(place.folder / "sound/step.wav"), 2, 1)
    return 2


KINDS: tuple[Callable[[Place], int], ...] = (
    image_below_the_file,
    image_elsewhere,
    names_beyond_ascii,
    symbolic_link,
    udim,
    image_sequence,
    movie,
    movie_clip,
    compositor_image,
    world_image,
    volume_sequence,
    font,
    alembic,
    usd,
    mesh_cache,
    ies,
    osl,
    library_of_library,
    library_override,
    packed,
    cloth_on_disk,
    external_cache,
    particles_on_disk,
    geometry_bake,
    simulation_zone,
    rigid_bodies,
    geometry_import,
    image_strip,
)


# --- what is done with them --------------------------------------------------------------------


def render(frame: int, picture: Path) -> None:
    """Render one frame of the open scene to a PNG, as Blender would."""
    scene = bpy.context.scene
    first, last, path = scene.frame_start, scene.frame_end, scene.render.filepath
    scene.render.filepath = f"{picture.parent}/{picture.stem}_####"
    scene.frame_start = scene.frame_end = frame
    bpy.ops.render.render(animation=True)
    (picture.parent / f"{picture.stem}_{frame:04}.png").rename(picture)
    scene.frame_start, scene.frame_end, scene.render.filepath = first, last, path


def make(folder: Path, *kinds: str) -> dict[str, Any]:
    """Build the kinds named, or every one of `KINDS`; render each here, send it."""
    import rendermill
    from rendermill.addon.ui import pump
    from rendermill.addon.ui.farm_state import Link

    rendermill.register()
    pump.connect()
    while pump.state().link is not Link.CONNECTED:
        pump.drain()
        time.sleep(0.01)
    jobs: dict[str, Any] = {}
    cannot: dict[str, str] = {}
    failed: dict[str, str] = {}
    chosen = (colour_configuration,) if kinds == ("colour_configuration",) else KINDS
    for build in chosen:
        name = build.__name__
        place = Place(folder / "work" / name)
        try:
            frame = build(place)
            blend = Path(bpy.data.filepath)
            bpy.context.scene.frame_set(frame)
            bpy.ops.wm.save_mainfile(compress=False)
            bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
            render(frame, folder / "here" / f"{name}.png")
            bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
            result = bpy.ops.rendermill.render_image("EXEC_DEFAULT", deliver=False)
            assert result == {"FINISHED"}, result
        except CannotBeMade as error:
            cannot[name] = str(error)
        except Exception:  # noqa: BLE001 - told with the name of the kind
            failed[name] = traceback.format_exc()
        else:
            jobs[name] = {
                "job": bpy.context.window_manager.rendermill.last_job,
                "blend": str(blend.relative_to(folder / "work")),
                "frame": frame,
            }
    return {"jobs": jobs, "cannot": cannot, "failed": failed}


def control(folder: Path) -> dict[str, Any]:
    """Render each .blend as it is where nothing else is."""
    told = json.loads((folder / "jobs.json").read_text("utf-8"))
    rendered: list[str] = []
    for name, about in told.items():
        try:
            bpy.ops.wm.open_mainfile(filepath=str(folder / "bare" / about["blend"]), load_ui=False)
            render(about["frame"], folder / "alone" / f"{name}.png")
        except RuntimeError:
            continue  # Blender itself says that it cannot: a difference too.
        rendered.append(name)
    return {"rendered": rendered}


def main() -> None:
    """Run what the command line names."""
    what, folder = {"make": make, "control": control}[sys.argv[1]], Path(sys.argv[2])
    kinds = sys.argv[3:]
    for name in ("here", "alone"):
        (folder / name).mkdir(exist_ok=True)
    result = what(folder, *kinds)
    sys.stdout.write(f"\nRESULT {json.dumps(result)}\n")
    sys.stdout.flush()
    # Blender as a module may crash or hang when the interpreter ends.
    os._exit(0)


if __name__ == "__main__":
    main()
