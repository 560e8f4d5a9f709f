"""A project with absolute paths is moved elsewhere and still renders."""

from __future__ import annotations

import ast
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat, paths, socket_texts

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

RED = (255, 0, 0)


def emission(image: Any, name: str) -> Any:
    """Return a material that shines as the image, whatever the light."""
    material = bpy.data.materials.new(name)
    if not material.node_tree:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shine, sink = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(texture.outputs["Color"], shine.inputs["Color"])
    tree.links.new(shine.outputs[0], sink.inputs["Surface"])
    return material


def link(blend: Path, kind: str, *, relative: bool) -> list[Any]:
    with bpy.data.libraries.load(str(blend), link=True, relative=relative) as (source, target):
        setattr(target, kind, list(getattr(source, kind)))
    return getattr(target, kind)


def build_project(workshop: Any) -> None:
    """home/scene.blend links home/lib/props.blend, which links materials with a texture.

    Every path in all three files is absolute.
    """
    image = bpy.data.images.load(str(workshop.png("home/textures/red.png", RED)))
    bpy.data.meshes.new("keeper").materials.append(emission(image, "red"))
    bpy.data.materials["red"].use_fake_user = True
    # The first save of a new file makes its paths relative.
    workshop.save("home/lib/materials.blend")
    image.filepath = str(workshop.folder / "home/textures/red.png")
    workshop.save("home/lib/materials.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("home/lib/props.blend")
    (material,) = link(workshop.folder / "home/lib/materials.blend", "materials", relative=False)
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.name = "Prop"
    cube.data.materials.append(material)
    workshop.save("home/lib/props.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("home/scene.blend")


def render_centre(scene: Any, path: Path) -> tuple[int, ...]:
    """Render one frame and return its middle pixel, as 8-bit values."""
    scene.view_settings.view_transform = "Raw"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True, scene=scene.name)
    image = bpy.data.images.load(str(path))
    width, height = image.size
    start = (height // 2 * width + width // 2) * 4
    pixel = tuple(round(value * 255) for value in image.pixels[start : start + 3])
    bpy.data.images.remove(image)
    return pixel


def test_a_moved_tree_is_whole_again(workshop: Any, cycles_scene: Any, tmp_path: Path):
    build_project(workshop)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.render.resolution_x = scene.render.resolution_y = 16
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location = (0, 0, 5)
    scene.collection.objects.link(camera)
    scene.camera = camera
    (prop,) = link(workshop.folder / "home/lib/props.blend", "objects", relative=False)
    scene.collection.objects.link(prop)
    world_image = bpy.data.images.load(str(workshop.png("home/sky/blue.png", (0, 0, 255))))
    world_image.use_fake_user = True
    workshop.save("home/scene.blend")
    home = str(workshop.folder / "home")
    here = render_centre(scene, tmp_path / "here.png")
    assert here == RED

    elsewhere = workshop.folder / "elsewhere" / "scene"
    shutil.move(home, elsewhere)
    bpy.ops.wm.open_mainfile(filepath=str(elsewhere / "scene.blend"), load_ui=False)
    report = paths.rewrite_absolute_paths([(home, str(elsewhere))])
    assert not report.warnings
    assert {label for label, _, _ in report.changed} == {
        'Library "props.blend"',
        'Library "materials.blend"',
        'Image "red.png"',
        'Image "blue.png"',
    }
    for slot in paths.iterate_slots():
        if slot.kind is not paths.PathKind.OUTPUT:
            assert Path(slot.resolved).is_relative_to(elsewhere)
            assert Path(slot.resolved).is_file()
    assert render_centre(bpy.context.scene, tmp_path / "there.png") == RED


def test_what_a_node_embeds_stands_alone():
    """What becomes a part of a node's script needs bpy and the standard library, no more."""
    for file, allowed in (
        (compat.__file__, set()),
        (socket_texts.__file__, {"compat"}),
        (paths.__file__, {"compat", "socket_texts"}),
    ):
        tree = ast.parse(Path(str(file)).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1
                assert node.module is None
                assert {alias.name for alias in node.names} <= allowed
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module] if isinstance(node, ast.ImportFrom) else node.names
                for name in names:
                    top = str(getattr(name, "name", name)).partition(".")[0]
                    assert top == "bpy" or top in sys.stdlib_module_names


def test_paths_outside_the_roots_are_named(workshop: Any):
    image = bpy.data.images.load(str(workshop.png("outside.png")))
    image.use_fake_user = True
    report = paths.rewrite_absolute_paths([("/somewhere/else", str(workshop.folder / "new"))])
    assert not report.changed
    assert len(report.warnings) == 1
    assert 'Image "outside.png"' in report.warnings[0]
    assert "outside.png" in report.warnings[0]


def test_relative_paths_and_outputs_stay(workshop: Any):
    workshop.save("home/scene.blend")
    image = bpy.data.images.load(str(workshop.png("home/wood.png")))
    image.filepath = "//wood.png"
    bpy.context.scene.render.filepath = str(workshop.folder / "home/out/")
    report = paths.rewrite_absolute_paths(
        [(str(workshop.folder / "home"), str(workshop.folder / "home"))]
    )
    assert not report.changed
    assert image.filepath == "//wood.png"
    assert bpy.context.scene.render.filepath == str(workshop.folder / "home/out/")


def test_windows_paths_on_another_system(workshop: Any):
    tree = workshop.folder / "tree"
    workshop.png("tree/drive_d/Textures/Wood.png")
    workshop.png("tree/share/stone.png")
    workshop.save("tree/scene/scene.blend")
    images = {}
    for name, value in (
        ("drive", r"d:\Project\textures\WOOD.PNG"),
        ("share", r"\\server\Assets\stone.png"),
        ("other", r"E:\x.png"),
    ):
        images[name] = bpy.data.images.new(name, 4, 4)
        images[name].source = "FILE"
        images[name].filepath_raw = value
        images[name].use_fake_user = True
    report = paths.rewrite_absolute_paths(
        [
            (r"C:\Users\me", str(tree / "scene")),
            (r"D:\project", str(tree / "drive_d")),
            (r"\\SERVER\assets", str(tree / "share")),
        ]
    )
    assert images["drive"].filepath == str(tree / "drive_d/Textures/Wood.png")
    assert images["share"].filepath == str(tree / "share/stone.png")
    assert images["other"].filepath == r"E:\x.png"
    assert [r"E:\\x.png" in text for text in report.warnings] == [True]


def test_relative_names_in_another_case_are_corrected(workshop: Any):
    workshop.png("tree/Textures/Wood.png")
    workshop.save("tree/scene.blend")
    image = bpy.data.images.new("wood", 4, 4)
    image.source = "FILE"
    image.filepath_raw = r"//textures\wood.PNG"
    image.use_fake_user = True
    paths.rewrite_absolute_paths([(r"C:\tree", str(workshop.folder / "tree"))])
    assert image.filepath == str(workshop.folder / "tree/Textures/Wood.png")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/proj/a.png", "/new/scene/a.png"),
        ("/proj", "/new/scene"),
        ("/project/a.png", None),
        ("/Proj/a.png", None),
        ("/proj/deep/b.png", "/other/b.png"),
        ("/proj/x/../a.png", "/new/scene/a.png"),
        ("/new/scene/a.png", None),
        ("//a.png", None),
        (r"C:\proj\a.png", None),
    ],
)
def test_relocate(path: str, expected: str | None):
    mapping = [("/proj", "/new/scene"), ("/proj/deep", "/other")]
    assert paths.relocate(path, mapping) == expected


def test_a_root_may_be_the_whole_drive():
    mapping = [("/", "/work/scene"), ("C:\\", "/work/drive_c")]
    assert paths.relocate("/home/me/a.png", mapping) == "/work/scene/home/me/a.png"
    assert paths.relocate(r"c:/x/a.png", mapping) == "/work/drive_c/x/a.png"
    assert paths.relocate("/work/scene/home/me/a.png", mapping) is None


def test_every_kind_of_slot_can_be_written(workshop: Any):
    """What `iterate_slots` yields is writable and reads back what was written."""
    workshop.save("home/scene.blend")
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    home = str(workshop.folder / "home")
    cube.modifiers.new("mesh cache", "MESH_CACHE").filepath = f"{home}/a.mdd"
    cube.modifiers.new("ocean", "OCEAN").filepath = f"{home}/ocean"
    cloth = cube.modifiers.new("cloth", "CLOTH").point_cache
    cloth.use_external, cloth.filepath = True, f"{home}/cache"
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strips.new_image("image", str(workshop.png("home/plate.png")), 1, 1)
    text = bpy.data.texts.load(str(workshop.text("home/a.txt", "text")))
    volume = bpy.data.volumes.new("volume")
    volume.filepath = f"{home}/a.vdb"
    slots = [slot for slot in paths.iterate_slots() if slot.kind is not paths.PathKind.OUTPUT]
    kinds = {slot.kind for slot in slots}
    assert kinds == {
        paths.PathKind.FILE,
        paths.PathKind.OCEAN_CACHE,
        paths.PathKind.POINT_CACHE,
        paths.PathKind.STRIP_FOLDER,
    }
    report = paths.rewrite_absolute_paths([(home, "/elsewhere")])
    assert len(report.changed) == len(slots)
    for slot in slots:
        assert slot.value.startswith("/elsewhere"), slot.label
    assert text.filepath == "/elsewhere/a.txt"
