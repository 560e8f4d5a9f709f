"""Names and sizes: what Blender writes here is what it writes with its outputs redirected.

The redirection is the one that every node does: each root's folder becomes one of the node's own.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat, outputs
from rendermill.protocol.frame_names import numbered
from rendermill.protocol.frames import parse_frames

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

AT_LEAST_5 = bpy.app.version >= (5, 0, 0)
IS_5_0 = (5, 0, 0) <= bpy.app.version < (5, 1, 0)
"""There the names of a File Output node's inputs are made safe, folders included."""


def written(folder: Path) -> dict[str, int]:
    """Return the files below a folder and their sizes."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def render(scene: Any, frames: str) -> None:
    for frame in parse_frames(frames):
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True, scene=scene.name)


def redirect(scene: Any, roots: tuple[Any, ...], scratch: Path) -> None:
    nodes = {(owner, node.name): node for owner, node in outputs.file_output_nodes(scene)}
    for root in roots:
        place = f"{scratch}/{root.id}/{root.name}"
        if root.id == outputs.MAIN:
            scene.render.filepath = place
        else:
            compat.set_file_output_folder(nodes[root.owner, root.node], place)


def both_ways(scene: Any, folder: Path, frames: str) -> dict[str, int]:
    """Render here and redirected; return what was written here after seeing that it is the same."""
    roots = outputs.output_roots(scene)
    render(scene, frames)
    here = written(folder)
    scratch = folder.parent / "scratch"
    redirect(scene, roots, scratch)
    render(scene, frames)
    delivered: dict[str, int] = {}
    for root in roots:
        for name, size in written(scratch / root.id).items():
            place = Path(root.folder, name).relative_to(folder).as_posix()
            assert place not in delivered
            delivered[place] = size
    assert delivered.keys() == here.keys()
    return here


NAMES = [
    ("shot_####", ["shot_0002.png", "shot_0120.png"]),
    ("shot_", ["shot_0002.png", "shot_0120.png"]),
    ("", ["0002.png", "0120.png"]),
    ("a##_b###", ["a##_b002.png", "a##_b120.png"]),
    ("##take", ["02take.png", "120take.png"]),
    ("sub####/x", ["sub####/x0002.png", "sub####/x0120.png"]),
    ("film.png", ["film.png0002.png", "film.png0120.png"]),
    ("Größe 木 #", ["Größe 木 2.png", "Größe 木 120.png"]),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
@pytest.mark.parametrize("relative", [False, True])
def test_names_of_the_main_output(
    workshop: Any, cycles_scene: Any, name: str, expected: list[str], relative: bool
):
    workshop.save("project/scene.blend")
    cycles_scene.render.filepath = (
        f"//../out/{name}" if relative else f"{workshop.folder}/out/{name}"
    )
    here = both_ways(cycles_scene, workshop.folder / "out", "2, 120")
    assert sorted(here) == sorted(expected)


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
@pytest.mark.parametrize("frame", [-12345, -3, 0, 7, 12345])
def test_frame_numbers_stand_where_blender_puts_them(workshop: Any, name: str, frame: int):
    render_settings = bpy.context.scene.render
    render_settings.filepath = f"/out/{name}"
    expected = render_settings.frame_path(frame=frame)
    assert f"/out/{numbered(name, frame)}.png" == expected


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
@pytest.mark.parametrize("has_extension", [True, False])
def test_the_pattern_of_a_scene_gives_the_names_of_its_frames(
    workshop: Any, cycles_scene: Any, name: str, has_extension: bool
):
    render = cycles_scene.render
    render.filepath, render.use_file_extension = f"{workshop.folder}/out/{name}", has_extension
    pattern = outputs.frame_pattern(cycles_scene)
    folder, _ = outputs.split_output(render.filepath)
    for frame in (-3, 1, 12345):
        assert Path(folder, numbered(pattern, frame)) == Path(render.frame_path(frame=frame))


def test_views_have_no_pattern(workshop: Any, cycles_scene: Any):
    cycles_scene.render.use_multiview = True
    assert outputs.frame_pattern(cycles_scene) == ""


def test_no_extension(workshop: Any, cycles_scene: Any):
    cycles_scene.render.use_file_extension = False
    cycles_scene.render.filepath = f"{workshop.folder}/out/x_###"
    assert set(both_ways(cycles_scene, workshop.folder / "out", "7")) == {"x_007"}


def test_default_output_folder(workshop: Any):
    bpy.context.scene.render.filepath = "/tmp\\" if os.name == "nt" else "/tmp/"
    (main,) = outputs.output_roots(bpy.context.scene)
    assert (main.id, main.folder, main.name) == ("main", os.path.normpath("/tmp"), "")


@pytest.mark.skipif(not compat.has_path_templates(), reason="templates came with Blender 4.5")
def test_templates_in_folders_and_names(workshop: Any, cycles_scene: Any):
    workshop.save("project/scene.blend")
    cycles_scene.render.filepath = "//out/{blend_name}/{resolution_x}_####"
    (main,) = outputs.output_roots(cycles_scene)
    assert (main.folder, main.name) == (
        str(workshop.folder / "project/out"),
        "{blend_name}/{resolution_x}_####",
    )
    here = both_ways(cycles_scene, workshop.folder / "project/out", "1")
    assert set(here) == {"scene/16_0001.png"}


@pytest.mark.skipif(not AT_LEAST_5, reason="{blend_dir} came with Blender 5.0")
def test_the_folder_of_the_file_is_no_template_for_a_node(workshop: Any, cycles_scene: Any):
    workshop.save("project/scene.blend")
    cycles_scene.render.filepath = "{blend_dir}/out/{scene_name}_"
    (main,) = outputs.output_roots(cycles_scene)
    assert (main.folder, main.name) == (str(workshop.folder / "project/out"), "{scene_name}_")
    here = both_ways(cycles_scene, workshop.folder / "project/out", "1")
    assert set(here) == {"Scene_0001.png"}


def test_output_node_of_a_linked_group_writes_relative_to_the_scene(
    workshop: Any, cycles_scene: Any
):
    group, image = group_with_input("linked")
    file_output(group, image, "//passes/", ["c"])
    group.use_fake_user = True
    workshop.save("library/nodes.blend")
    bpy.data.node_groups.remove(group)
    workshop.save("project/scene.blend")
    with bpy.data.libraries.load(
        str(workshop.folder / "library/nodes.blend"), link=True, relative=True
    ) as (_, target):
        target.node_groups = ["linked"]
    tree = compositor(cycles_scene)
    add_group(tree, target.node_groups[0], tree.nodes["layers"].outputs["Image"])
    cycles_scene.render.filepath = "//m_"
    render(cycles_scene, "1")
    (_, node) = outputs.output_roots(cycles_scene)
    assert list(written(Path(node.folder))) == ["c0001.png"]


@pytest.mark.parametrize("mode", ["INDIVIDUAL", "STEREO_3D", "MULTIVIEW"])
def test_stereo_views(workshop: Any, cycles_scene: Any, mode: str):
    scene = cycles_scene
    scene.render.use_multiview = True
    scene.render.image_settings.file_format = "OPEN_EXR" if mode == "MULTIVIEW" else "PNG"
    scene.render.image_settings.views_format = mode
    if mode == "STEREO_3D":
        scene.render.image_settings.stereo_3d_format.display_mode = "SIDEBYSIDE"
    scene.render.filepath = f"{workshop.folder}/out/s_"
    here = both_ways(scene, workshop.folder / "out", "1")
    image = outputs.frame_image(scene)
    if mode == "INDIVIDUAL":
        assert image.views == ("_L", "_R")
        assert set(here) == {f"s_0001{view}.png" for view in image.views}
    else:
        assert image.views == ()
        assert len(here) == 1
    picture = bpy.data.images.load(str(workshop.folder / "out" / min(here)))
    if mode != "MULTIVIEW":
        assert tuple(picture.size) == (image.width, image.height)


# --- File Output nodes -------------------------------------------------------------------------


def compositor(scene: Any) -> Any:
    """Return an empty compositor tree with render layers going to the main image."""
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
    layers = tree.nodes.new("CompositorNodeRLayers")
    layers.name = "layers"
    tree.links.new(layers.outputs["Image"], sink.inputs[0])
    return tree


def file_output(tree: Any, source: Any, folder: str, names: list[str], **settings: Any) -> Any:
    """Add a File Output node with one linked input for each name."""
    node = tree.nodes.new("CompositorNodeOutputFile")
    multilayer = settings.get("multilayer", False)
    if multilayer:
        compat.set_image_format(node.format, "OPEN_EXR_MULTILAYER")
    else:
        compat.set_image_format(node.format, "PNG")
    if hasattr(node, "file_output_items"):
        node.directory = folder
        node.file_name = settings.get("file_name", "")
        for name in names:
            node.file_output_items.new("RGBA", name)
    else:
        node.base_path = folder + (settings["file_name"] if multilayer else "")
        node.file_slots.clear()
        for name in names:
            node.file_slots.new(name)
    for socket in node.inputs:
        if not socket.is_linked and socket.bl_idname != "NodeSocketVirtual":
            tree.links.new(source, socket)
    return node


def test_file_output_nodes(workshop: Any, cycles_scene: Any):
    workshop.save("project/scene.blend")
    scene = cycles_scene
    tree = compositor(scene)
    image = tree.nodes["layers"].outputs["Image"]
    out = f"{workshop.folder}/project/out"
    scene.render.filepath = f"{out}/main_####"
    file_output(tree, image, "//out/passes/", ["depth_", "sub/colour_##"])
    file_output(tree, image, f"{out}/flat", ["x"]).label = "Flat"
    file_output(tree, image, "//out/layers/", ["a", "b"], multilayer=True, file_name="all_###")
    muted = file_output(tree, image, f"{out}/muted", ["never"])
    muted.mute = True
    roots = outputs.output_roots(scene)
    assert [root.id for root in roots] == ["main", "out1", "out2", "out3"]
    assert roots[2].label == "Flat"
    expected = {
        os.path.relpath(path, out).replace(os.sep, "/")
        for path, _ in outputs.expected_files(scene, 3)
    }
    here = both_ways(scene, workshop.folder / "project/out", "3")
    assert set(here) == {
        "main_0003.png",
        "passes/depth_0003.png",
        "passes/sub_colour_03.png" if IS_5_0 else "passes/sub/colour_03.png",
        "flat/x0003.png",
        "layers/all_003.exr",
    }
    assert expected == set(here)


def group_with_input(name: str) -> tuple[Any, Any]:
    """Return a compositor group and the socket inside it that carries its one input."""
    group = bpy.data.node_groups.new(name, "CompositorNodeTree")
    group.interface.new_socket("Image", in_out="INPUT", socket_type="NodeSocketColor")
    return group, group.nodes.new("NodeGroupInput").outputs[0]


def add_group(tree: Any, group: Any, source: Any) -> Any:
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree = group
    tree.links.new(source, node.inputs[0])
    return node


def test_file_output_node_in_nested_groups(workshop: Any, cycles_scene: Any):
    tree = compositor(cycles_scene)
    outer, outer_image = group_with_input("outer")
    inner, inner_image = group_with_input("inner")
    add_group(tree, outer, tree.nodes["layers"].outputs["Image"])
    add_group(outer, inner, outer_image)
    # The same group twice writes the same files, so it is one output.
    add_group(outer, inner, outer_image)
    file_output(inner, inner_image, f"{workshop.folder}/out/inner", ["c"])
    cycles_scene.render.filepath = f"{workshop.folder}/out/m"
    roots = outputs.output_roots(cycles_scene)
    assert [(root.owner, root.node) for root in roots[1:]] == [("inner", "File Output")]
    here = both_ways(cycles_scene, workshop.folder / "out", "1")
    assert set(here) == {"m0001.png", "inner/c0001.png"}
    cycles_scene.render.use_compositing = False
    assert len(outputs.output_roots(cycles_scene)) == 1


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("percentage", [33, 50, 100])
@pytest.mark.parametrize(
    "border", [None, (0.1, 0.9, 0.2, 0.7), (0.3, 0.7, 0.7, 0.9), (1 / 3, 2 / 3, 0.0, 1.0)]
)
def test_size_is_the_one_blender_renders(
    workshop: Any, cycles_scene: Any, percentage: int, border: tuple[float, ...] | None
):
    render_settings = cycles_scene.render
    render_settings.resolution_x, render_settings.resolution_y = 101, 70
    render_settings.resolution_percentage = percentage
    if border is not None:
        render_settings.use_border = render_settings.use_crop_to_border = True
        (
            render_settings.border_min_x,
            render_settings.border_max_x,
            render_settings.border_min_y,
            render_settings.border_max_y,
        ) = border
    path = workshop.path("size.png")
    render_settings.filepath = str(path)
    bpy.ops.render.render(write_still=True, scene=cycles_scene.name)
    assert tuple(bpy.data.images.load(str(path)).size) == compat.frame_size(cycles_scene)


# --- films -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.mp4", "a###b", "", "a.mkv", "A.MKV"])
@pytest.mark.parametrize("container", ["MKV", "MPEG4", "QUICKTIME", "WEBM"])
@pytest.mark.parametrize("frames", [(1, 250), (0, 12345)])
def test_films_are_named_as_blender_names_them(
    workshop: Any, name: str, container: str, frames: tuple[int, int]
):
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    scene.render.ffmpeg.format = container
    scene.frame_start, scene.frame_end = frames
    for extension in (True, False) if name else (True,):
        scene.render.use_file_extension = extension
        scene.render.filepath = str(workshop.folder) + "/" + name
        film = outputs.film(scene, tuple(range(frames[0], frames[1] + 1)))
        image = outputs.frame_image(scene, film)
        assert film is not None
        assert f"{film.folder}/{film.name}" == scene.render.frame_path(frame=1)
        assert film.fps == 24
        assert image.file_format == "PNG"


def test_a_step_names_a_film_as_blender_does(workshop: Any):
    """Blender names the whole range, whatever frame is the last one rendered."""
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    scene.render.ffmpeg.format = "MPEG4"
    scene.frame_start, scene.frame_end, scene.frame_step = 2, 9, 3
    scene.render.filepath = str(workshop.folder / "cut_")
    whole = outputs.film(scene, (2, 5, 8))
    part = outputs.film(scene, (5, 8))
    assert whole is not None
    assert part is not None
    assert (whole.name, part.name) == ("cut_0002-0009.mp4", "cut_0005-0008.mp4")
    assert Path(scene.render.frame_path(frame=1)).name == whole.name


@pytest.mark.skipif(not compat.has_path_templates(), reason="templates came with Blender 4.5")
def test_templates_in_the_name_of_a_film(workshop: Any):
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    scene.render.ffmpeg.format = "MPEG4"
    scene.frame_start, scene.frame_end = 1, 20
    scene.render.filepath = str(workshop.folder) + "/{resolution_x}/take_{resolution_y}_"
    whole = outputs.film(scene, tuple(range(1, 21)))
    part = outputs.film(scene, tuple(range(3, 11)))
    assert whole is not None
    assert part is not None
    assert f"{whole.folder}/{whole.name}" == scene.render.frame_path(frame=1)
    assert (whole.name, part.name) == (
        "1920/take_1080_0001-0020.mp4",
        "1920/take_1080_0003-0010.mp4",
    )
    assert outputs.output_roots(scene)[0].folder == whole.folder


def test_what_cannot_be_a_film_comes_as_pictures(workshop: Any):
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    assert outputs.film(scene, (1, 2, 7)) is None
    assert "unbroken range" in outputs.why_no_film(scene, (1, 2, 7))
    assert bool(outputs.why_no_film(scene, (-2, -1))) == (bpy.app.version < (5, 0, 0))
    scene.render.use_multiview = True
    assert outputs.film(scene, (1, 2)) is None
    assert "several views" in outputs.why_no_film(scene, (1, 2))


def test_what_the_frames_of_a_film_are(workshop: Any):
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    settings = scene.render.image_settings
    assert compat.film_frame_format(scene) == "PNG"
    scene.display_settings.display_device = "Display P3"
    assert compat.film_frame_format(scene) == "OPEN_EXR"
    settings.color_mode = "BW"
    compat.set_film_frame_format(settings, "OPEN_EXR")
    assert (settings.file_format, settings.color_depth) == ("OPEN_EXR", "32")
    assert settings.color_mode == "RGB"


def test_frames_of_a_film_get_names_of_their_own(workshop: Any):
    scene = bpy.context.scene
    compat.set_image_format(scene.render.image_settings, "FFMPEG")
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.filepath = str(workshop.folder / "cut.mp4")
    (main,) = outputs.output_roots(scene)
    assert main.name == "cut_"
