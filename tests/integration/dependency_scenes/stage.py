"""Pieces that the scenes of all kinds are made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

bpy: Any = importlib.import_module("bpy")

RED, GREEN, BLUE = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.2, 0.9)


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


def give(modifier: Any, identifier: str, value: Any) -> None:
    """Give an input of a Geometry Nodes modifier a value; since 5.2 inputs are properties."""
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    if inputs is None:
        modifier[identifier] = value
    else:
        getattr(inputs, identifier).value = value


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


def shine_everywhere() -> None:
    """Give every mesh of the scene a material that needs no light."""
    material = shining("plain")
    for thing in bpy.context.scene.objects:
        if thing.type == "MESH":
            thing.data.materials.clear()
            thing.data.materials.append(material)
