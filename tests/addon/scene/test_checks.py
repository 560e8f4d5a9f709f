"""Each thing that would go wrong on a farm is said before anything is sent."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat
from rendermill.addon.scene.capture import capture
from rendermill.addon.scene.checks import Finding, Severity, check
from rendermill.protocol.job import JobKind

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""


def findings(scene: Any, **options: Any) -> list[Finding]:
    captured = capture(
        scene,
        kind=options.pop("kind", JobKind.ANIMATION),
        snapshot=Path("/nowhere/scene.blend"),
        **options,
    )
    return check(scene, captured)


def said(scene: Any, severity: Severity, **options: Any) -> list[str]:
    return [item.what for item in findings(scene, **options) if item.severity is severity]


@pytest.fixture
def good(workshop: Any, cycles_scene: Any) -> Any:
    """A saved scene that nothing is wrong with."""
    workshop.save("project/scene.blend")
    cycles_scene.render.filepath = "//out/f_"
    return cycles_scene


def test_a_good_scene_has_no_findings(good: Any):
    assert findings(good) == []


def test_every_finding_reads_as_sentences(workshop: Any, good: Any):
    good.camera = None
    good.render.filepath = str(workshop.text("a file", "x")) + "/f_"
    compat.set_image_format(good.render.image_settings, "FFMPEG")
    found = findings(good)
    assert len(found) >= 3
    assert [item.severity for item in found] == sorted(
        (item.severity for item in found), key=list(Severity).index
    )
    for item in found:
        for text in (item.what, item.why, item.fix):
            assert text == "" or (text[0].isupper() and text.endswith("."))


def test_no_camera(good: Any):
    camera = good.camera
    good.camera = None
    assert said(good, Severity.FATAL) == ['The scene "Scene" has no camera.']
    good.timeline_markers.new("shot", frame=1).camera = camera
    assert said(good, Severity.FATAL) == []


def test_the_sequencer_needs_no_camera(workshop: Any, good: Any):
    good.camera = None
    good.sequence_editor_create()
    editor = good.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strips.new_image("plate", str(workshop.png("plate.png")), 1, 1)
    assert said(good, Severity.FATAL) == []
    assert any("sequencer is rendered" in text for text in said(good, Severity.INFO))


def test_no_view_layer(good: Any):
    good.view_layers.new("second")
    for layer in good.view_layers:
        layer.use = False
    assert any("view layer" in text for text in said(good, Severity.FATAL))


def test_engine_of_an_add_on(good: Any):
    class Engine(bpy.types.RenderEngine):
        bl_idname = "RENDERMILL_TEST"
        bl_label = "Test"

    bpy.utils.register_class(Engine)
    try:
        good.render.engine = "RENDERMILL_TEST"
        assert any("RENDERMILL_TEST" in text for text in said(good, Severity.FATAL))
    finally:
        good.render.engine = "CYCLES"
        bpy.utils.unregister_class(Engine)


def test_missing_file(workshop: Any, good: Any):
    path = workshop.png("gone.png")
    bpy.data.images.load(str(path)).use_fake_user = True
    path.unlink()
    (text,) = said(good, Severity.ERROR)
    assert 'Image "gone.png"' in text
    assert str(path) in text


def test_unsaved_file(workshop: Any, cycles_scene: Any):
    cycles_scene.render.filepath = "//out/"
    image = bpy.data.images.new("wood", 4, 4)
    image.source, image.filepath_raw, image.use_fake_user = "FILE", "//wood.png", True
    texts = " ".join(said(cycles_scene, Severity.ERROR))
    assert "never been saved, and its output path" in texts
    assert "never been saved, and it names other files" in texts


def test_output_that_cannot_be_written(workshop: Any, good: Any):
    good.render.filepath = str(workshop.text("a file", "x")) + "/f_"
    (text,) = said(good, Severity.ERROR)
    assert "where no file can be made" in text


@pytest.mark.skipif(not compat.has_path_templates(), reason="templates came with Blender 4.5")
def test_output_template_that_blender_cannot_read(good: Any):
    good.render.filepath = "//out/{no_such_thing}/f_"
    assert any("cannot read the output path" in text for text in said(good, Severity.FATAL))


def test_film_is_told(good: Any):
    compat.set_image_format(good.render.image_settings, "FFMPEG")
    assert any("encoded as" in text for text in said(good, Severity.INFO))
    good.render.ffmpeg.use_autosplit = True
    assert any("one file" in text for text in said(good, Severity.INFO))
    good.render.use_multiview = True
    assert any("without a film" in text for text in said(good, Severity.WARNING))
    good.render.use_multiview = False
    assert any("is a video" in text for text in said(good, Severity.INFO, kind=JobKind.IMAGE))


def test_python_is_named(workshop: Any, good: Any):
    cube = bpy.data.objects["Cube"]
    simple: Any = cube.driver_add("location", 0)
    simple.driver.expression = "frame * 2"
    assert findings(good) == []
    complex_: Any = cube.driver_add("location", 1)
    complex_.driver.expression = "len([x for x in range(3)])"
    bpy.data.texts.new("startup.py").use_module = True
    (error,) = said(good, Severity.ERROR)
    assert 'location" in Object "Cube"' in error
    assert "len([x for x in range(3)])" in error
    (warning,) = said(good, Severity.WARNING)
    assert 'Text "startup.py"' in warning
    assert findings(good, trust_scripts=True) == []


def test_python_in_nodes_and_shape_keys(good: Any):
    cube: Any = bpy.data.objects["Cube"]
    cube.shape_key_add(name="Basis")
    key = cube.shape_key_add(name="Key")
    key.driver_add("value").driver.expression = "bpy.context and 1"
    material = bpy.data.materials.new("m")
    if not material.node_tree:
        material.use_nodes = True
    node: Any = material.node_tree.nodes.new("ShaderNodeValue")
    node.outputs[0].driver_add("default_value").driver.expression = "bpy.context and 2"
    cube.data.materials.append(material)
    (error,) = said(good, Severity.ERROR)
    assert error.startswith("2 drivers need Python")
    assert "shape keys of" in error
    assert 'nodes of Material "m"' in error


def bake(owner: Any, cache: Any) -> None:
    with bpy.context.temp_override(
        point_cache=cache, scene=bpy.context.scene, active_object=owner, object=owner
    ):
        bpy.ops.ptcache.bake(bake=True)


def test_cloth_must_be_baked_over_all_frames(workshop: Any, good: Any):
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    cache = plane.modifiers.new("Cloth", "CLOTH").point_cache
    cache.frame_end = 3
    assert said(good, Severity.ERROR, frames="1-3") == [
        'Modifier "Cloth" of Object "Plane" is not baked.'
    ]
    assert findings(good, frames="1") == []
    bake(plane, cache)
    assert findings(good, frames="1-3") == []
    (text,) = said(good, Severity.WARNING, frames="1-5")
    assert "baked to frame 3 only" in text
    plane.modifiers["Cloth"].show_render = False
    assert findings(good, frames="1-5") == []


def test_particles_and_rigid_bodies(workshop: Any, good: Any):
    cube: Any = bpy.data.objects["Cube"]
    cube.modifiers.new("dust", "PARTICLE_SYSTEM")
    settings = cube.particle_systems[0].settings
    assert any("Particle system" in text for text in said(good, Severity.ERROR))
    settings.type = "HAIR"  # hair that does not move has no state
    assert findings(good) == []
    bpy.ops.rigidbody.world_add()
    bpy.context.view_layer.objects.active = cube
    bpy.ops.rigidbody.object_add()
    assert said(good, Severity.ERROR) == ['Rigid body world of Scene "Scene" is not baked.']
    good.rigidbody_world.enabled = False
    assert findings(good) == []


def test_simulation_zone(workshop: Any, good: Any):
    cube: Any = bpy.data.objects["Cube"]
    group = bpy.data.node_groups.new("group", "GeometryNodeTree")
    for in_out in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
    start = group.nodes.new("GeometryNodeSimulationInput")
    end = group.nodes.new("GeometryNodeSimulationOutput")
    start.pair_with_output(end)
    source, sink = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    group.links.new(source.outputs[0], start.inputs[0])
    group.links.new(start.outputs[1], end.inputs[1])
    group.links.new(end.outputs[0], sink.inputs[0])
    modifier = cube.modifiers.new("nodes", "NODES")
    modifier.node_group = group
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    (text,) = said(good, Severity.ERROR)
    assert "simulation zone" in text
    good.frame_end = 2
    bpy.ops.object.geometry_node_bake_single(
        session_uid=cube.session_uid, modifier_name="nodes", bake_id=modifier.bakes[0].bake_id
    )
    assert findings(good) == []
    shutil.rmtree(workshop.folder / "project/blendcache_scene")
    assert len(said(good, Severity.ERROR)) == 1


def compositor(scene: Any) -> Any:
    if hasattr(scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("compositor", "CompositorNodeTree")
        scene.compositing_node_group = tree
    else:
        scene.use_nodes = True
        tree = scene.node_tree
        tree.nodes.clear()
    return tree


def test_two_outputs_with_the_same_names(workshop: Any, good: Any):
    tree = compositor(good)
    tree.nodes.new(
        "NodeGroupOutput" if hasattr(good, "compositing_node_group") else "CompositorNodeComposite"
    )
    for label in ("One", "Two"):
        node = tree.nodes.new("CompositorNodeOutputFile")
        node.label = label
        compat.set_image_format(node.format, "PNG")
        compat.set_file_output_folder(node, "//passes/")
        if hasattr(node, "file_output_items"):
            node.file_name = ""
            node.file_output_items.clear()
            node.file_output_items.new("RGBA", "image")
        else:
            node.file_slots.clear()
            node.file_slots.new("image")
    (text,) = said(good, Severity.ERROR)
    assert text.startswith('File Output node "One" and File Output node "Two" both write')
    compat.set_file_output_folder(tree.nodes[-1], "//others/")
    assert said(good, Severity.ERROR) == []


def test_compositor_that_reads_what_is_not_rendered(good: Any):
    tree = compositor(good)
    good.view_layers.new("second").use = False
    tree.nodes.new("CompositorNodeRLayers").layer = "second"
    texts = said(good, Severity.WARNING)
    assert any('view layer "second"' in text for text in texts)
    assert any("no output node" in text for text in texts)


def test_single_layer_and_colour_configuration(good: Any, monkeypatch: Any):
    good.view_layers.new("second")
    good.render.use_single_layer = True
    assert any("Render Single Layer" in text for text in said(good, Severity.WARNING))
    good.render.use_single_layer = False
    monkeypatch.setenv("OCIO", "/studio/config.ocio")
    (text,) = said(good, Severity.WARNING)
    assert "/studio/config.ocio" in text


def test_datablock_that_its_library_no_longer_has(workshop: Any, cycles_scene: Any):
    workshop.save("lib.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save()
    with bpy.data.libraries.load(str(workshop.folder / "lib.blend"), link=True) as (_, target):
        target.objects = ["Cube"]
    bpy.context.scene.collection.objects.link(target.objects[0])
    workshop.save()
    bpy.ops.wm.open_mainfile(filepath=str(workshop.folder / "lib.blend"), load_ui=False)
    bpy.data.objects["Cube"].name = "Renamed"
    workshop.save("lib.blend")
    workshop.open()
    (text,) = [t for t in said(bpy.context.scene, Severity.ERROR) if "Cube" in t]
    assert text.startswith('Object "Cube" is not in its library ')
    assert "lib.blend any more." in text


def test_gpu_without_one_here(good: Any):
    good.cycles.device = "GPU"
    assert any("no GPU enabled" in text for text in said(good, Severity.INFO))
