"""Each thing that would go wrong on a farm is said before anything is sent."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat, file_checks, outputs
from rendermill.addon.scene.capture import capture
from rendermill.addon.scene.checks import Finding, RepairError, Severity, check
from rendermill.protocol.job import JobKind
from rendermill.protocol.machine import BlenderInfo, Machine

from .test_farm_checks import blender, machine, node

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


def test_an_engine_of_an_add_on_is_said_once(good: Any):
    class Engine(bpy.types.RenderEngine):
        bl_idname, bl_label = "RENDERMILL_TEST", "Test"

    bpy.utils.register_class(Engine)
    try:
        good.render.engine = "RENDERMILL_TEST"
        captured = capture(good, kind=JobKind.ANIMATION, snapshot=Path("/nowhere/scene.blend"))
        version = captured.spec.requires.blender
        found = check(good, captured, [node("one", machine(blender(version=version)))])
        assert [item.id for item in found] == ["foreign_engine"]
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


def test_a_folder_of_missing_files_is_one_finding(good: Any):
    """A finding for each would fill the panel, and push all others out of the dialog."""
    for number in range(5):
        image = bpy.data.images.new(f"plank{number}", 4, 4)
        image.source, image.use_fake_user = "FILE", True
        image.filepath = f"//textures/plank{number}.png"
    finding = found_one(good, "missing_file")
    assert finding.what.startswith("5 files of the scene do not exist: ")
    assert bpy.path.abspath("//textures/plank0.png") in finding.what
    assert 'Image "plank4"' in finding.what
    assert finding.repair is not None


def test_a_drive_of_windows_is_known_after_blender_has_respelled_it(good: Any):
    if os.name == "nt":
        pytest.skip("there it is a drive")
    image = bpy.data.images.new("wood", 4, 4)
    image.source, image.use_fake_user = "FILE", True
    image.filepath = bpy.path.relpath("/P:/assets/wood.png")
    assert "1 file lies on P:, which cannot be reached" in found_one(good, "unreachable_drive").what


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


def zone(cube: Any) -> Any:
    """Give an object a simulation zone that is kept on disk; return the modifier."""
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
    return modifier


def test_simulation_zone(workshop: Any, good: Any):
    cube: Any = bpy.data.objects["Cube"]
    modifier = zone(cube)
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


def test_single_layer_and_colour_configuration(workshop: Any, good: Any, monkeypatch: Any):
    good.view_layers.new("second")
    good.render.use_single_layer = True
    assert any("Render Single Layer" in text for text in said(good, Severity.WARNING))
    good.render.use_single_layer = False
    monkeypatch.setenv("OCIO", "/studio/config.ocio")
    assert "does not exist" in found_one(good, "colour_configuration").what
    data = Path(bpy.utils.system_resource("DATAFILES"))
    monkeypatch.setenv("OCIO", str(data / "colormanagement" / "config.ocio"))
    assert findings(good) == []
    monkeypatch.setenv("OCIO", str(workshop.text("studio/config.ocio", "ocio_profile_version: 2")))
    assert found_one(good, "colour_configuration").severity is Severity.INFO


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


# --- repairs ---------------------------------------------------------------------------------


def found_one(scene: Any, kind: str, **options: Any) -> Finding:
    (finding,) = [item for item in findings(scene, **options) if item.id == kind]
    return finding


def mend(scene: Any, kind: str, **options: Any) -> None:
    """Apply the repair of the one finding of a kind, after which it is not found any more."""
    finding = found_one(scene, kind, **options)
    assert finding.repair is not None
    assert not finding.repair.opens_dialog
    finding.repair.apply()
    assert kind not in [item.id for item in findings(scene, **options)]


def test_a_camera_of_the_scene_is_offered(good: Any):
    camera = good.camera
    good.camera = None
    repair = found_one(good, "no_camera").repair
    assert repair is not None
    assert repair.label == 'Use "Camera"'
    mend(good, "no_camera")
    assert good.camera == camera
    good.camera = None
    bpy.data.objects.remove(camera)
    assert found_one(good, "no_camera").repair is None
    with pytest.raises(RepairError, match='There is no camera "Camera" in the scene any more'):
        repair.apply()


def test_view_layers_and_single_layer_are_mended(good: Any):
    good.view_layers.new("second")
    for layer in good.view_layers:
        layer.use = False
    mend(good, "no_view_layer")
    good.render.use_single_layer = True
    mend(good, "single_layer")


def test_the_gpu_is_given_up_where_nobody_has_one(good: Any):
    good.cycles.device = "GPU"
    mend(good, "gpu_not_here")
    assert good.cycles.device == "CPU"


def test_dialogs_need_a_window(workshop: Any, cycles_scene: Any):
    cycles_scene.render.filepath = "//out/"
    finding = found_one(cycles_scene, "unsaved")
    assert finding.repair is not None
    assert finding.repair.opens_dialog
    with pytest.raises(RepairError, match="Blender runs without one"):
        finding.repair.apply()


def test_a_file_that_was_never_saved_is_said(workshop: Any, cycles_scene: Any):
    cycles_scene.render.filepath = str(workshop.folder / "out") + "/"
    finding = found_one(cycles_scene, "unsaved")
    assert finding.severity is Severity.WARNING
    workshop.save()
    assert findings(cycles_scene) == []


def test_frames_may_go_beside_the_file(workshop: Any, good: Any):
    good.render.filepath = str(workshop.text("a file", "x")) + "/f_"
    mend(good, "output")
    assert good.render.filepath == "//render/f_"
    good.render.filepath = "D:\\renders\\f_"
    assert "a path of Windows" in found_one(good, "output").what
    mend(good, "output")
    good.render.filepath = "//out/" + "n" * 220
    assert "a name of" in found_one(good, "long_name").what


# --- files -------------------------------------------------------------------------------------


def use(path: Path) -> Any:
    image = bpy.data.images.load(str(path))
    image.use_fake_user = True
    return image


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names and drives")
def test_names_that_no_windows_node_can_have(workshop: Any, good: Any):
    use(workshop.png("what?.png"))
    use(workshop.png("aux.png"))
    texts = sorted(findings(good), key=lambda item: item.what, reverse=True)
    assert "'what?.png' has '?' in it, which Windows does not allow in names." in texts[0].what
    assert "'aux.png' is a name that Windows keeps for itself." in texts[1].what
    assert [item.id for item in findings(good)] == ["forbidden_name"] * 2
    for item in texts:
        assert item.repair is not None
        item.repair.apply()
    assert findings(good) == []
    assert all(image.packed_file for image in bpy.data.images)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names and drives")
def test_two_files_that_differ_by_case_only(workshop: Any, good: Any):
    use(workshop.png("wood.png"))
    if (workshop.folder / "WOOD.png").exists():
        pytest.skip("This file system takes both names for one file.")
    use(workshop.png("Wood.png", (0, 255, 0)))
    mend(good, "same_name")
    assert findings(good) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names and drives")
def test_drives_that_are_not_here(workshop: Any, good: Any):
    for path in (
        "Q:\\tex\\a.png",
        "Q:\\tex\\b.png",
        "\\\\nas\\store\\c.png",
        "/Volumes/Film/d.png",
    ):
        image = bpy.data.images.new("away", 4, 4)
        image.source, image.filepath_raw, image.use_fake_user = "FILE", path, True
    texts = [item.what for item in findings(good) if item.id == "unreachable_drive"]
    assert len(texts) == 3
    assert texts[0].startswith("2 files lie on Q:, which cannot be reached from here: ")
    assert texts[1].startswith("1 file lies on \\\\nas\\store, which")
    assert texts[2].startswith("1 file lies on /Volumes/Film, which")
    assert "missing_file" not in [item.id for item in findings(good)]


def test_which_drive_is_away(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(file_checks, "_MOUNTS", (str(tmp_path / "mnt"), str(tmp_path / "media")))
    (tmp_path / "mnt/nas").mkdir(parents=True)
    (tmp_path / "media/anna/stick").mkdir(parents=True)
    away = file_checks.unreachable_drive
    assert away(f"{tmp_path}/mnt/nas/tex/wood.png") == ""
    assert away(f"{tmp_path}/mnt/old/tex/wood.png") == f"{tmp_path}/mnt/old"
    assert away(f"{tmp_path}/mnt/wood.png") == ""
    assert away(f"{tmp_path}/media/anna/stick/wood.png") == ""
    assert away(f"{tmp_path}/media/anna/disk/wood.png") == f"{tmp_path}/media/anna/disk"
    assert away("/home/anna/wood.png") == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_files_that_may_not_be_read(workshop: Any, good: Any):
    path = workshop.png("secret.png")
    use(path)
    path.chmod(0)
    assert str(path) in found_one(good, "unreadable_file").what


# --- where frames go -----------------------------------------------------------------------------


def file_output(good: Any, folder: str) -> Any:
    tree = compositor(good)
    sink = (
        "NodeGroupOutput" if hasattr(good, "compositing_node_group") else "CompositorNodeComposite"
    )
    tree.nodes.new(sink)
    node = tree.nodes.new("CompositorNodeOutputFile")
    compat.set_image_format(node.format, "PNG")
    compat.set_file_output_folder(node, folder)
    if hasattr(node, "file_output_items"):
        node.file_output_items.clear()
        node.file_output_items.new("RGBA", "image")
    return node


def test_file_output_to_an_absolute_place(workshop: Any, good: Any):
    folder = workshop.folder / "project" / "passes"
    node = file_output(good, str(folder))
    finding = found_one(good, "absolute_output")
    assert (finding.severity, finding.may_send) == (Severity.WARNING, True)
    folder.mkdir()
    assert found_one(good, "absolute_output").severity is Severity.INFO
    mend(good, "absolute_output")
    assert compat.file_output_folder(node) == "//passes"
    assert outputs.node_output(node) == (str(folder), "")


def test_names_that_two_scenes_share(workshop: Any, good: Any):
    other = bpy.data.scenes.new("Second")
    other.render.filepath = good.render.filepath
    compat.set_image_format(other.render.image_settings, "PNG")
    assert findings(good) == []  # Nobody could render that one: it has no camera.
    other.camera = good.camera
    finding = found_one(good, "shared_names")
    assert 'and so does "Second".' in finding.what
    mend(good, "shared_names")
    assert good.render.filepath == "//out/Scene/f_"
    assert other.render.filepath == "//out/f_"


# --- add-ons -------------------------------------------------------------------------------------


def test_nodes_and_handlers_of_add_ons(good: Any):
    class Tree(bpy.types.NodeTree):
        bl_idname = "RendermillTestTree"
        bl_label = "Forest"
        bl_icon = "NONE"
        __module__ = "bl_ext.user_default.growing_trees.nodes"

    class Shade(bpy.types.ShaderNodeCustomGroup):
        bl_idname = "RendermillTestShade"
        bl_label = "Test"
        bl_icon = "NONE"
        __module__ = "old_shades"

    def grow(scene: Any) -> None:
        del scene

    grow.__module__ = "growing_trees.handlers"
    for kind in (Tree, Shade):
        bpy.utils.register_class(kind)
    bpy.app.handlers.frame_change_pre.append(grow)
    try:
        bpy.data.node_groups.new("forest", "RendermillTestTree").use_fake_user = True
        material = bpy.data.materials.new("bark")
        material.use_fake_user = True
        if not material.node_tree:
            material.use_nodes = True
        material.node_tree.nodes.new("RendermillTestShade").name = "rough"
        errors = [item.what for item in findings(good) if item.id == "add_on_nodes"]
        assert errors == [
            'Forest "forest" needs the add-on growing_trees.',
            'Node "rough" of Material "bark" needs the add-on old_shades.',
        ]
        assert found_one(good, "add_on_handlers").what == (
            "The add-on growing_trees takes part in every frame (frame_change_pre)."
        )
    finally:
        bpy.app.handlers.frame_change_pre.remove(grow)
        for group in list(bpy.data.node_groups):
            bpy.data.node_groups.remove(group)
        for kind in (Tree, Shade):
            bpy.utils.unregister_class(kind)
    finding = found_one(good, "unknown_nodes")
    assert 'Node "rough" of Material "bark"' in finding.what


# --- simulations ---------------------------------------------------------------------------------


def test_simulations_are_baked_by_their_button(workshop: Any, good: Any):
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    cache = plane.modifiers.new("Cloth", "CLOTH").point_cache
    cache.frame_end = 2
    mend(good, "unbaked", frames="1-2")
    mend(good, "partly_baked", frames="1-4")
    assert (cache.is_baked, cache.frame_end) == (True, 4)
    bpy.ops.rigidbody.world_add()
    bpy.context.view_layer.objects.active = plane
    bpy.ops.rigidbody.object_add()
    mend(good, "unbaked", frames="1-3")


def test_disk_caches_that_lost_files(workshop: Any, good: Any):
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    cache = plane.modifiers.new("Cloth", "CLOTH").point_cache
    cache.frame_end, cache.use_disk_cache = 6, True
    bake(plane, cache)
    assert findings(good, frames="1-6") == []
    folder = workshop.folder / "project/blendcache_scene"
    for path in folder.iterdir():
        if path.name.endswith(("_000005_00.bphys", "_000006_00.bphys")):
            path.unlink()
    finding = found_one(good, "partly_baked", frames="1-6")
    assert "its files end at frame 4, and the job goes to frame 6" in finding.what
    assert findings(good, frames="1-4") == [] or all(
        item.id == "note" for item in findings(good, frames="1-4")
    )
    shutil.rmtree(folder)
    assert "its files are not there" in found_one(good, "partly_baked", frames="1-6").what
    mend(good, "partly_baked", frames="1-6")
    assert any(folder.iterdir())


def test_an_external_cache_that_ends_too_early(workshop: Any, good: Any):
    for frame in (0, 1, 2, 3):
        workshop.text(f"project/caches/flag_{frame:06d}_00.bphys", "x")
    bpy.ops.mesh.primitive_plane_add()
    cache = bpy.context.object.modifiers.new("Cloth", "CLOTH").point_cache
    cache.use_external = True
    cache.filepath, cache.name = "//caches/", "flag"
    assert "partly_baked" not in [item.id for item in findings(good, frames="1-3")]
    finding = found_one(good, "partly_baked", frames="1-8")
    assert "its files end at frame 3, and the job goes to frame 8" in finding.what


def test_a_simulation_zone_that_is_kept_in_the_file_may_not_be_baked(good: Any):
    """The usual place since Blender 4.3, of which nothing tells whether a bake lies there."""
    modifier = zone(bpy.data.objects["Cube"])
    if not hasattr(modifier, "bake_target"):
        pytest.skip("before Blender 4.3 every bake is a folder")
    modifier.bake_target = "PACKED"
    finding = found_one(good, "bake_in_file")
    assert (finding.severity, finding.repair) == (Severity.WARNING, None)
    assert 'simulation zone "' in finding.what
    assert findings(good, frames="1") == []


def test_a_simulation_zone_that_ends_too_early(workshop: Any, good: Any):
    good.frame_end = 3
    modifier = zone(bpy.data.objects["Cube"])
    mend(good, "unbaked")
    assert modifier.bakes[0].bake_id
    finding = found_one(good, "partly_baked", frames="1-9")
    assert "its bake ends at frame 3, and the job goes to frame 9" in finding.what
    # Blender plays what is not baked from the frame where the scene begins.
    assert "unbaked" not in [item.id for item in findings(good, frames="1")]


# --- the farm ------------------------------------------------------------------------------------


def test_what_the_farm_lacks_is_told_and_mended(good: Any):
    good.cycles.device = "GPU"
    good.cycles.use_denoising = True
    good.cycles.denoiser = "OPENIMAGEDENOISE"
    captured = capture(good, kind=JobKind.ANIMATION, snapshot=Path("/nowhere/scene.blend"))
    version = captured.spec.requires.blender
    weak = BlenderInfo(version=version, path="/b", is_module=False, engines=("CYCLES",))
    its = Machine(
        hostname="one", system="Linux", cpu="x", cores=4, memory_bytes=8 << 30, blenders=(weak,)
    )
    nodes = [node("one", its)]
    found = {item.id: item for item in check(good, captured, nodes)}
    assert found["no_gpu"].severity is Severity.ERROR
    assert "gpu_not_here" not in found
    assert "no_gpu" not in [item.id for item in check(good, captured)]
    for kind in ("no_gpu", "no_openimagedenoise"):
        repair = found[kind].repair
        assert repair is not None
        repair.apply()
    captured = capture(good, kind=JobKind.ANIMATION, snapshot=Path("/nowhere/scene.blend"))
    assert check(good, captured, nodes) == []


def test_a_colour_configuration_without_its_tables_is_one_finding(
    workshop: Any, good: Any, monkeypatch: Any
):
    transforms = "\n".join(f"- !<FileTransform> {{src: {name}.spi1d}}" for name in ("a", "b", "c"))
    path = workshop.text("studio/config.ocio", f"search_path: luts\n{transforms}\n")
    monkeypatch.setenv("OCIO", str(path))
    finding = found_one(good, "missing_file")
    assert "Colour configuration needs 3 files that do not exist: " in finding.what
    for name in ("a", "b", "c"):
        workshop.text(f"studio/luts/{name}.spi1d")
    assert [item.id for item in findings(good)] == ["colour_configuration"]
