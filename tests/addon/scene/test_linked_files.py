"""Paths whose base is another file: groups, caches and packed data of libraries."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat, paths
from rendermill.addon.scene.dependencies import find_dependencies
from rendermill.addon.scene.simulations import unbaked_steps
from rendermill.addon.scene.steps import in_one_go

bpy: Any = importlib.import_module("bpy")
pytestmark = pytest.mark.bpy
Found = Callable[[], set[str]]
Missing = Callable[[], dict[str, str]]

needs_imports = pytest.mark.skipif(
    not hasattr(bpy.types, "GeometryNodeImportOBJ"), reason="import nodes came with Blender 4.5"
)
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def link(workshop: Any, name: str, kind: str, **options: Any) -> list[Any]:
    path = str(workshop.folder / name)
    with bpy.data.libraries.load(path, link=True, **options) as (source, target):
        setattr(target, kind, list(getattr(source, kind)))
    return getattr(target, kind)


# --- import nodes ------------------------------------------------------------------------------


def group(name: str, *inputs: str) -> tuple[Any, Any, Any]:
    """A group of Geometry Nodes that is kept: it, its input node, its output node."""
    made = bpy.data.node_groups.new(name, "GeometryNodeTree")
    made.use_fake_user = True
    made.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    for one in inputs:
        made.interface.new_socket(one, in_out="INPUT", socket_type="NodeSocketString")
    return made, made.nodes.new("NodeGroupInput"), made.nodes.new("NodeGroupOutput")


def reader(name: str) -> Any:
    """A group that imports what its input Where says."""
    made, given, sink = group(name, "Where")
    node = made.nodes.new("GeometryNodeImportOBJ")
    made.links.new(given.outputs["Where"], node.inputs["Path"])
    made.links.new(node.outputs[0], sink.inputs[0])
    return made


def modifier_with(tree: Any) -> Any:
    bpy.ops.mesh.primitive_cube_add()
    modifier = bpy.context.object.modifiers.new("nodes", "NODES")
    modifier.node_group = tree
    return modifier


def identifier(tree: Any, name: str) -> str:
    return next(item.identifier for item in tree.interface.items_tree if item.name == name)


@needs_imports
def test_a_path_given_to_a_linked_group_is_relative_to_its_file(workshop: Any, found: Found):
    workshop.save("lib/nodes.blend")
    reader("reader")
    workshop.save("lib/nodes.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("shot.blend")
    (tree,) = link(workshop, "lib/nodes.blend", "node_groups", relative=True)
    for folder in ("lib", "."):
        for name in ("near", "group", "far"):
            workshop.text(f"{folder}/obj/{name}.obj", TRIANGLE)
    # By the modifier, by a group that uses the group, and through the input of such a one.
    modifier = modifier_with(tree)
    compat.set_modifier_input(modifier, identifier(tree, "Where"), "//obj/near.obj")
    outer, given, sink = group("outer", "File")
    for path in ("//obj/group.obj", ""):
        user = outer.nodes.new("GeometryNodeGroup")
        user.node_tree = tree
        user.inputs["Where"].default_value = path
        outer.links.new(user.outputs[0], sink.inputs[0])
    outer.links.new(given.outputs["File"], user.inputs["Where"])
    compat.set_modifier_input(modifier_with(outer), identifier(outer, "File"), "//obj/far.obj")
    workshop.reopen("shot.blend")
    expected = {f"lib/obj/{name}.obj" for name in ("near", "group", "far")}
    assert found() == {"lib/nodes.blend", *expected}


@needs_imports
def test_a_path_of_a_hidden_modifier_may_be_missing(workshop: Any, missing: Missing):
    workshop.save()
    tree = reader("reader")
    shown, hidden = modifier_with(tree), modifier_with(tree)
    for modifier, name in ((shown, "shown"), (hidden, "hidden")):
        compat.set_modifier_input(modifier, identifier(tree, "Where"), f"//{name}.obj")
    hidden.show_render = False
    assert missing() == {"shown.obj": 'Node "Import OBJ" of Node group "reader"'}


@needs_imports
def test_a_path_that_nodes_put_together_is_said(workshop: Any):
    workshop.save()
    tree, _, sink = group("computed")
    node = tree.nodes.new("GeometryNodeImportOBJ")
    tree.links.new(node.outputs[0], sink.inputs[0])
    join = tree.nodes.new("GeometryNodeStringJoin")
    tree.links.new(join.outputs[0], node.inputs["Path"])
    (warning,) = find_dependencies().warnings
    assert 'Node "Import OBJ"' in warning
    assert "not sent" in warning


@pytest.mark.parametrize("kind", ["OBJ", "STL", "PLY", "CSV", "VDB", "Text"])
def test_every_import_node_is_known(workshop: Any, found: Found, kind: str):
    if not hasattr(bpy.types, f"GeometryNodeImport{kind}"):
        pytest.skip("this Blender has no such node")
    tree, _, _ = group("imports")
    path = workshop.text("models/thing.dat")
    tree.nodes.new(f"GeometryNodeImport{kind}").inputs["Path"].default_value = str(path)
    assert found() == {"models/thing.dat"}


# --- caches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["lib", "project"])
def test_an_external_cache_of_a_linked_object(workshop: Any, found: Found, beside: str):
    workshop.save("lib/props.blend")
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=2, y_subdivisions=2)
    cache = bpy.context.object.modifiers.new("Cloth", "CLOTH").point_cache
    cache.use_external, cache.filepath, cache.name = True, "//caches/", "flag"
    cache.use_library_path = beside == "lib"
    workshop.save("lib/props.blend")
    for folder in ("lib", "project"):
        workshop.text(f"{folder}/caches/flag_000001_00.bphys")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("project/shot.blend")
    for item in link(workshop, "lib/props.blend", "objects", relative=True):
        bpy.context.scene.collection.objects.link(item)
    workshop.reopen("project/shot.blend")
    assert found() == {"lib/props.blend", f"{beside}/caches/flag_000001_00.bphys"}


def test_a_bake_folder_may_be_a_link(workshop: Any, found: Found):
    workshop.save()
    tree, _, _ = group("baked")
    tree.nodes.new("GeometryNodeBake")
    modifier = modifier_with(tree)
    modifier.bake_directory = "//bakes"
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    if not modifier.bakes:
        pytest.skip("this Blender makes the bakes of a modifier later")
    workshop.text("elsewhere/meta/00001_00000.json", "{}")
    workshop.text("bakes/readme.txt")
    (workshop.folder / "bakes/1234").symlink_to(workshop.folder / "elsewhere")
    # A folder in itself does no harm.
    (workshop.folder / "elsewhere/again").symlink_to(workshop.folder / "bakes")
    assert "bakes/1234/meta/00001_00000.json" in found()


@pytest.mark.parametrize(
    ("files", "offset", "reason"),
    [
        ((), 0, "fills"),
        ((1, 2, 3), 0, "nothing for frame 4"),
        ((1, 2, 4), 0, "nothing for frame 3"),
        ((2, 3, 4), 0, ""),
        ((1, 2, 3), 1, ""),
    ],
    ids=["empty", "too-short", "gap", "whole", "shifted"],
)
def test_a_replay_cache_must_hold_the_frames(
    workshop: Any, files: tuple[int, ...], offset: int, reason: str
):
    # Domains crash the wheels when they are evaluated, so only the property is set here.
    bpy.ops.mesh.primitive_cube_add()
    workshop.save()
    modifier = bpy.context.object.modifiers.new("fluid", "FLUID")
    modifier.show_viewport = False
    modifier.fluid_type = "DOMAIN"
    settings = modifier.domain_settings
    settings.cache_directory, settings.cache_type = "//smoke", "REPLAY"
    settings.cache_frame_offset = offset
    for frame in files:
        workshop.text(f"smoke/data/fluid_data_{frame:04}.vdb")
    told = [gap.reason for gap in in_one_go(unbaked_steps(bpy.context.scene, (2, 3, 4)))]
    assert len(told) == bool(reason)
    assert all(text.endswith(reason) for text in told)


# --- libraries ---------------------------------------------------------------------------------


def material_with_texture(workshop: Any) -> None:
    """Save lib/materials.blend: a material, whose texture lies beside it."""
    workshop.save("lib/materials.blend")
    image = bpy.data.images.load(str(workshop.png("lib/textures/wood.png")))
    image.filepath = "//textures/wood.png"
    material = bpy.data.materials.new("wood")
    material.use_fake_user = True
    if material.node_tree is None:
        material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeTexImage").image = image
    workshop.save("lib/materials.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.mark.skipif(bpy.app.version < (5, 0, 0), reason="linked data are packed since Blender 5.0")
@pytest.mark.parametrize("relative", [False, True])
def test_data_packed_from_a_library(workshop: Any, found: Found, missing: Missing, relative: bool):
    material_with_texture(workshop)
    workshop.save("project/shot.blend")
    (wood,) = link(workshop, "lib/materials.blend", "materials", relative=relative, pack=True)
    bpy.ops.mesh.primitive_plane_add()
    bpy.context.object.data.materials.append(wood)
    workshop.reopen("project/shot.blend")
    assert "lib/textures/wood.png" in found()
    # Nothing of the library is needed any more.
    (workshop.folder / "lib/materials.blend").unlink()
    assert missing() == {}

    home, there = workshop.folder, workshop.folder / "node"
    shutil.copytree(home / "lib", there / "lib")
    shutil.copytree(home / "project", there / "project")
    shutil.rmtree(home / "lib")
    bpy.ops.wm.open_mainfile(filepath=str(there / "project/shot.blend"), load_ui=False)
    paths.rewrite_absolute_paths([(str(home), str(there))])
    (slot,) = (slot for slot in paths.iterate_slots() if slot.label == 'Image "wood.png"')
    assert Path(slot.resolved) == there / "lib/textures/wood.png"
    assert bpy.data.images["wood.png"].size[0] == 8
