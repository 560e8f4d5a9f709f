"""Every kind of file a scene can need is made for real and found, exactly."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat
from rendermill.addon.scene.dependencies import find_dependencies, sequence_pattern

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

Found = Callable[[], set[str]]
Missing = Callable[[], dict[str, str]]


has_sound = bpy.app.build_options.audaspace


def node_tree(owner: Any) -> Any:
    """Return the nodes of a material or light; since 5.0 they are always there."""
    if owner.node_tree is None:
        owner.use_nodes = True
    return owner.node_tree


def material_with_image(image: Any, name: str = "material") -> Any:
    material = bpy.data.materials.new(name)
    node_tree(material).nodes.new("ShaderNodeTexImage").image = image
    return material


def cube_with(material: Any) -> Any:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.data.materials.append(material)
    return cube


def load(path: Path) -> Any:
    image = bpy.data.images.load(str(path))
    cube_with(material_with_image(image))
    return image


# --- images ------------------------------------------------------------------------------------


def test_image_relative_and_absolute(workshop: Any, found: Found):
    absolute = load(workshop.png("textures/wood.png"))
    relative = load(workshop.png("textures/stone.png"))
    workshop.save()
    relative.filepath = bpy.path.relpath(relative.filepath)
    assert relative.filepath == "//textures/stone.png"
    assert absolute.filepath.startswith("/")
    assert found() == {"textures/wood.png", "textures/stone.png"}


def test_names_beyond_ascii_and_spaces(workshop: Any, found: Found):
    load(workshop.png("Texturen/Größe 木目.png"))
    workshop.reopen("Szene ü.blend")
    assert found() == {"Texturen/Größe 木目.png"}


def test_missing_image_names_who_needs_it(workshop: Any, found: Found, missing: Missing):
    path = workshop.png("gone.png")
    load(path)
    workshop.reopen()
    path.unlink()
    assert missing() == {"gone.png": 'Image "gone.png"'}
    assert found() == set()


def test_missing_image_that_nobody_uses_is_no_error(workshop: Any, missing: Missing):
    path = workshop.png("gone.png")
    bpy.data.images.load(str(path))
    path.unlink()
    workshop.save()
    assert missing() == {}


def test_packed_and_generated_images_need_no_file(workshop: Any, found: Found, missing: Missing):
    path = workshop.png("packed.png")
    load(path).pack()
    cube_with(material_with_image(bpy.data.images.new("generated", 4, 4)))
    path.unlink()
    workshop.reopen()
    assert found() == set()
    assert missing() == {}


def test_every_tile_of_a_udim_image(workshop: Any, found: Found, missing: Missing):
    for tile in (1001, 1002, 1011):
        workshop.png(f"udim/wood.{tile}.png")
    image = load(workshop.folder / "udim/wood.1001.png")
    image.source = "TILED"
    image.filepath = str(workshop.folder / "udim/wood.<UDIM>.png")
    for tile in (1002, 1011):
        if image.tiles.get(tile) is None:
            image.tiles.new(tile)
    workshop.reopen()
    assert found() == {f"udim/wood.{tile}.png" for tile in (1001, 1002, 1011)}
    (workshop.folder / "udim/wood.1011.png").unlink()
    assert missing() == {"udim/wood.1011.png": 'Image "wood.1001.png"'}


def test_whole_image_sequence_and_nothing_beside_it(workshop: Any, found: Found):
    for frame in (1, 2, 10):
        workshop.png(f"sequence/flame_{frame:04d}.png")
    workshop.png("sequence/flame_0001_old.png")
    workshop.png("sequence/smoke_0001.png")
    load(workshop.folder / "sequence/flame_0001.png").source = "SEQUENCE"
    workshop.reopen()
    assert found() == {f"sequence/flame_{frame:04d}.png" for frame in (1, 2, 10)}


def test_image_sequence_may_lack_its_first_frame(workshop: Any, found: Found, missing: Missing):
    first = workshop.png("sequence/flame_0001.png")
    workshop.png("sequence/flame_0002.png")
    load(first).source = "SEQUENCE"
    first.unlink()
    workshop.save()
    assert found() == {"sequence/flame_0002.png"}
    assert missing() == {}


def test_stereo_image_brings_its_other_eye(workshop: Any, found: Found):
    image = load(workshop.png("stereo_L.png"))
    workshop.png("stereo_R.png")
    bpy.context.scene.render.use_multiview = True
    image.use_multiview = True
    image.views_format = "INDIVIDUAL"
    workshop.save()
    assert found() == {"stereo_L.png", "stereo_R.png"}


def test_symbolic_links_keep_their_spelling(workshop: Any, found: Found):
    workshop.png("store/wood.png")
    (workshop.folder / "project").mkdir()
    (workshop.folder / "project/textures").symlink_to(workshop.folder / "store")
    load(workshop.folder / "project/textures/wood.png")
    workshop.save("project/scene.blend")
    assert found() == {"project/textures/wood.png"}


@pytest.mark.parametrize(
    ("name", "belongs", "does_not"),
    [
        ("a_0001.png", ["a_0002.png", "a_12345.png"], ["b_0001.png", "a_0001.jpg", "a_x.png"]),
        ("take2_001.exr", ["take2_100.exr"], ["take3_001.exr"]),
        ("0007.v3", ["0008.v3"], ["0007.v4"]),
        ("shot12end.png", ["shot13end.png"], ["shot13.png"]),
    ],
)
def test_sequence_pattern(name: str, belongs: list[str], does_not: list[str]):
    pattern = sequence_pattern(name)
    assert pattern is not None
    assert all(pattern.fullmatch(other) for other in [name, *belongs])
    assert not any(pattern.fullmatch(other) for other in does_not)


# --- other media -------------------------------------------------------------------------------


def test_font(workshop: Any, found: Found):
    source = Path(bpy.utils.system_resource("DATAFILES")) / "fonts"
    original = next(path for path in sorted(source.iterdir()) if path.suffix in (".woff2", ".ttf"))
    path = workshop.path(f"fonts/letters{original.suffix}")
    shutil.copy(original, path)
    bpy.ops.object.text_add()
    text = bpy.context.object
    text.data.font = bpy.data.fonts.load(str(path))
    workshop.reopen()
    assert found() == {f"fonts/letters{original.suffix}"}


def strips_of(scene: Any) -> Any:
    editor = scene.sequence_editor or scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def test_sequencer_strips_in_nested_metas(workshop: Any, found: Found):
    scene = bpy.context.scene
    strips = strips_of(scene)
    for frame in (1, 2, 3):
        workshop.png(f"plates/plate_{frame}.png")
    image = strips.new_image("image", str(workshop.folder / "plates/plate_1.png"), 1, 1)
    image.elements.append("plate_2.png")
    if has_sound:
        strips.new_sound("sound", str(workshop.wav("sound/step.wav")), 2, 1)
    outer = strips.new_meta("outer", 3, 1)
    inner_strips = outer.strips if hasattr(outer, "strips") else outer.sequences
    inner = inner_strips.new_meta("inner", 1, 1)
    deepest = inner.strips if hasattr(inner, "strips") else inner.sequences
    deepest.new_image("deep", str(workshop.png("plates/deep.png")), 1, 1)
    workshop.reopen()
    # plate_3 belongs to no element, so it does not travel.
    expected = {"plates/plate_1.png", "plates/plate_2.png", "plates/deep.png"}
    assert found() == expected | ({"sound/step.wav"} if has_sound else set())


def test_movie_strip_clip_and_image(workshop: Any, found: Found, cycles_scene: Any):
    movie = workshop.path("video/take.mkv")
    render_movie(cycles_scene, movie)
    strips_of(cycles_scene).new_movie("movie", str(movie), 1, 1)
    bpy.data.movieclips.load(str(movie)).use_fake_user = True
    assert load(movie).source == "MOVIE"
    workshop.reopen()
    assert found() == {"video/take.mkv"}


def render_movie(scene: Any, path: Path) -> None:
    """Render two frames as a real video, and set the scene back to images."""
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MKV"
    scene.render.filepath = str(path)
    scene.frame_start, scene.frame_end = 1, 2
    scene.render.resolution_x, scene.render.resolution_y = 64, 64
    bpy.ops.render.render(animation=True, scene=scene.name)
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format = "PNG"
    assert path.is_file()


def test_movie_clip_as_sequence(workshop: Any, found: Found):
    for frame in (1, 2, 3):
        workshop.png(f"clip/c{frame:03d}.png")
    clip = bpy.data.movieclips.load(str(workshop.folder / "clip/c001.png"))
    clip.use_fake_user = True
    assert clip.source == "SEQUENCE"
    workshop.reopen()
    assert found() == {f"clip/c{frame:03d}.png" for frame in (1, 2, 3)}


def test_volume_sequence(workshop: Any, found: Found):
    for frame in (1, 2, 3):
        write_vdb(workshop.path(f"vdb/cloud_{frame:03d}.vdb"))
    write_vdb(workshop.path("vdb/still.vdb"))
    for name, sequence in (("cloud_001.vdb", True), ("still.vdb", False)):
        volume = bpy.data.volumes.new(name)
        volume.filepath = str(workshop.folder / "vdb" / name)
        volume.is_sequence = sequence
        bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, volume))
    workshop.reopen()
    assert found() == {
        "vdb/cloud_001.vdb",
        "vdb/cloud_002.vdb",
        "vdb/cloud_003.vdb",
        "vdb/still.vdb",
    }


def write_vdb(path: Path) -> None:
    """Write a real OpenVDB grid where Blender brings the module; in 4.2 bytes stand for it."""
    if hasattr(bpy.utils, "expose_bundled_modules"):
        bpy.utils.expose_bundled_modules()
        openvdb: Any = importlib.import_module("openvdb")
        grid = openvdb.FloatGrid()
        grid.name = "density"
        grid.fill((0, 0, 0), (2, 2, 2), 1.0)
        openvdb.write(str(path), grids=[grid])
    else:
        path.write_bytes(b" BDV")


@pytest.mark.parametrize("extension", ["abc", "usdc"])
def test_alembic_and_usd(workshop: Any, found: Found, extension: str):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.keyframe_insert("location", frame=1)
    cube.location.x = 2
    cube.keyframe_insert("location", frame=3)
    path = workshop.path(f"cache/cube.{extension}")
    if extension == "abc":
        bpy.ops.wm.alembic_export(
            filepath=str(path), start=1, end=3, as_background_job=False, evaluation_mode="RENDER"
        )
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    else:
        bpy.context.scene.frame_end = 3
        bpy.ops.wm.usd_export(filepath=str(path), export_animation=True)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.usd_import(filepath=str(path))
    assert len(bpy.data.cache_files) == 1
    workshop.reopen()
    assert found() == {f"cache/cube.{extension}"}


def test_alembic_sequence_and_layer(workshop: Any, found: Found):
    bpy.ops.mesh.primitive_cube_add()
    for name in ("sim_0001.abc", "sim_0002.abc", "layer.abc"):
        bpy.ops.wm.alembic_export(
            filepath=str(workshop.path(f"abc/{name}")), start=1, end=1, as_background_job=False
        )
    bpy.ops.cachefile.open(filepath=str(workshop.folder / "abc/sim_0001.abc"))
    cache: Any = bpy.data.cache_files[0]
    cache.is_sequence = True
    cube = bpy.context.object
    cube.modifiers.new("cache", "MESH_SEQUENCE_CACHE").cache_file = cache
    cache.layers.new(filepath=str(workshop.folder / "abc/layer.abc"))
    workshop.reopen()
    assert {"abc/sim_0001.abc", "abc/sim_0002.abc", "abc/layer.abc"} == found()


def test_mesh_cache_modifier(workshop: Any, found: Found):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    path = workshop.path("cube.mdd")
    path.write_bytes(b"\0" * 64)
    cube.modifiers.new("cache", "MESH_CACHE").filepath = str(path)
    workshop.reopen()
    assert found() == {"cube.mdd"}


# --- shaders -----------------------------------------------------------------------------------


def test_ies_in_light_material_and_group(workshop: Any, found: Found, ies_text: str):
    light = bpy.data.lights.new("lamp", "POINT")
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("lamp", light))
    material = bpy.data.materials.new("m")
    cube_with(material)
    group = bpy.data.node_groups.new("g", "ShaderNodeTree")
    node_tree(material).nodes.new("ShaderNodeGroup").node_tree = group
    for tree, name in ((node_tree(light), "l"), (node_tree(material), "m"), (group, "g")):
        node = tree.nodes.new("ShaderNodeTexIES")
        node.mode = "EXTERNAL"
        node.filepath = str(workshop.text(f"ies/{name}.ies", ies_text))
    workshop.reopen()
    assert found() == {"ies/l.ies", "ies/m.ies", "ies/g.ies"}


def test_osl_script_file(workshop: Any, found: Found):
    path = workshop.text("osl/red.osl", "shader red(output color C = color(1,0,0)) {}\n")
    material = bpy.data.materials.new("m")
    cube_with(material)
    node = node_tree(material).nodes.new("ShaderNodeScript")
    node.mode = "EXTERNAL"
    node.filepath = str(path)
    workshop.reopen()
    assert "osl/red.osl" in found()
    assert found() <= {"osl/red.osl", "osl/red.oso"}


def test_external_text_is_needed_by_the_node_that_reads_it(
    workshop: Any, found: Found, missing: Missing, ies_text: str
):
    used = bpy.data.texts.load(str(workshop.text("used.ies", ies_text)))
    bpy.data.texts.load(str(workshop.text("notes.txt", "remember")))
    light = bpy.data.lights.new("lamp", "POINT")
    node_tree(light).nodes.new("ShaderNodeTexIES").ies = used
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("lamp", light))
    workshop.reopen()
    assert found() == {"used.ies", "notes.txt"}
    for name in ("used.ies", "notes.txt"):
        (workshop.folder / name).unlink()
    assert missing() == {"used.ies": 'Text "used.ies"'}


# --- libraries ---------------------------------------------------------------------------------


def link_all(blend: Path, kind: str) -> list[Any]:
    with bpy.data.libraries.load(str(blend), link=True, relative=True) as (source, target):
        setattr(target, kind, list(getattr(source, kind)))
    return getattr(target, kind)


def build_library_of_library(workshop: Any) -> None:
    """scene.blend links lib/props.blend, which links lib/deep/materials.blend with a texture."""
    load(workshop.png("lib/deep/textures/wood.png"))
    workshop.save("lib/deep/materials.blend")
    bpy.ops.file.make_paths_relative()
    workshop.save("lib/deep/materials.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("lib/props.blend")
    (material,) = link_all(workshop.folder / "lib/deep/materials.blend", "materials")
    cube = cube_with(material)
    cube.name = "Prop"
    workshop.save("lib/props.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save("scene.blend")
    for item in link_all(workshop.folder / "lib/props.blend", "objects"):
        bpy.context.scene.collection.objects.link(item)
    workshop.reopen()


def test_library_of_library_with_texture(workshop: Any, found: Found):
    build_library_of_library(workshop)
    assert {library.filepath for library in bpy.data.libraries} == {
        "//lib/props.blend",
        "//lib/deep/materials.blend",
    }
    assert found() == {
        "lib/props.blend",
        "lib/deep/materials.blend",
        "lib/deep/textures/wood.png",
    }


def test_missing_library(workshop: Any, found: Found, missing: Missing):
    build_library_of_library(workshop)
    (workshop.folder / "lib/props.blend").unlink()
    workshop.open()
    assert missing() == {"lib/props.blend": 'Library "props.blend"'}


def test_packed_library_is_in_the_file(workshop: Any, found: Found, missing: Missing):
    build_library_of_library(workshop)
    bpy.ops.file.pack_libraries()
    workshop.reopen()
    assert found() == {"lib/deep/textures/wood.png"}


# --- caches and bakes --------------------------------------------------------------------------


def bake(owner: Any, cache: Any) -> None:
    with bpy.context.temp_override(
        point_cache=cache, scene=bpy.context.scene, active_object=owner, object=owner
    ):
        bpy.ops.ptcache.bake(bake=True)


def cloth_plane() -> tuple[Any, Any]:
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    cache = plane.modifiers.new("Cloth", "CLOTH").point_cache
    cache.frame_end = 3
    return plane, cache


def test_disk_caches_of_cloth_and_particles(workshop: Any, found: Found):
    workshop.save()
    plane, cache = cloth_plane()
    cache.use_disk_cache = True
    bake(plane, cache)
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.modifiers.new("particles", "PARTICLE_SYSTEM")
    system = cube.particle_systems[0]
    system.settings.count, system.settings.lifetime = 3, 2
    system.point_cache.name = "dust"
    system.point_cache.frame_end = 2
    system.point_cache.use_disk_cache = True
    bake(cube, system.point_cache)
    workshop.reopen()
    on_disk = {
        path.relative_to(workshop.folder).as_posix()
        for path in (workshop.folder / "blendcache_scene").iterdir()
    }
    # Names of caches without one are the hex digits of the object's name.
    assert any(name.startswith("blendcache_scene/506C616E65_") for name in on_disk)
    assert any(name.startswith("blendcache_scene/dust_") for name in on_disk)
    assert found() == on_disk


def test_external_point_cache(workshop: Any, found: Found, missing: Missing):
    workshop.save("maker.blend")
    plane, cache = cloth_plane()
    cache.use_disk_cache = True
    cache.name = "flag"
    bake(plane, cache)
    (workshop.folder / "blendcache_maker").rename(workshop.folder / "caches")
    workshop.text("caches/other_000001_00.bphys", "of another object")
    workshop.text("caches/secret.txt", "not ours")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    workshop.save()
    plane, cache = cloth_plane()
    cache.use_external = True
    cache.filepath = "//caches/"
    cache.name = "flag"
    workshop.reopen()
    expected = {f"caches/flag_{frame:06d}_00.bphys" for frame in (1, 2, 3)}
    assert {name for name in found() if name.startswith("caches/")} == expected
    shutil.rmtree(workshop.folder / "caches")
    assert missing() == {"caches": 'Modifier "Cloth" of Object "Plane"'}


@pytest.mark.parametrize("folder", ["", "/", "~"])
def test_junk_cache_folders_are_never_followed(workshop: Any, folder: str, monkeypatch: Any):
    home = workshop.path("home/letter.bphys").parent
    workshop.text("home/Plane_000001_00.bphys", "private")
    monkeypatch.setenv("HOME", str(home))
    workshop.save()
    _, cache = cloth_plane()
    cache.use_external = True
    cache.name = "Plane"
    cache.filepath = str(home) if folder == "~" else folder
    found = find_dependencies()
    assert not found.files
    assert not found.missing


def nodes_cube(node_type: str) -> tuple[Any, Any, Any]:
    """Return cube, Geometry Nodes modifier and the one node of ``node_type`` in its group."""
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    group = bpy.data.node_groups.new("group", "GeometryNodeTree")
    for in_out in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
    source, node = group.nodes.new("NodeGroupInput"), group.nodes.new(node_type)
    sink = group.nodes.new("NodeGroupOutput")
    group.links.new(node.outputs[0], sink.inputs[0])
    if node_type == "GeometryNodeBake":
        group.links.new(source.outputs[0], node.inputs[0])
    modifier = cube.modifiers.new("nodes", "NODES")
    modifier.node_group = group
    return cube, modifier, node


@pytest.mark.parametrize("custom", [False, True])
def test_geometry_nodes_bake(workshop: Any, found: Found, custom: bool):
    workshop.save()
    cube, modifier, _ = nodes_cube("GeometryNodeBake")
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    (bake_,) = modifier.bakes
    bake_.bake_mode = "STILL"
    if custom:
        bake_.use_custom_path = True
        bake_.directory = "//my bakes/one"
    bpy.ops.object.geometry_node_bake_single(
        session_uid=cube.session_uid, modifier_name="nodes", bake_id=bake_.bake_id
    )
    workshop.reopen()
    folder = workshop.folder / ("my bakes" if custom else "blendcache_scene")
    on_disk = {
        path.relative_to(workshop.folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    assert any("/meta/" in name for name in on_disk)
    assert found() == on_disk


@pytest.mark.skipif(
    not hasattr(bpy.types, "GeometryNodeImportOBJ"), reason="import nodes came with Blender 4.5"
)
def test_geometry_nodes_import_paths(workshop: Any, found: Found):
    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    paths = {
        name: str(workshop.text(f"obj/{name}.obj", triangle))
        for name in ("socket", "string", "modifier")
    }
    workshop.text("obj/socket.mtl", "newmtl a\n")
    workshop.save()
    _, _, node = nodes_cube("GeometryNodeImportOBJ")
    node.inputs["Path"].default_value = bpy.path.relpath(paths["socket"])
    _, _, linked = nodes_cube("GeometryNodeImportOBJ")
    tree = linked.id_data
    string = tree.nodes.new("FunctionNodeInputString")
    string.string = paths["string"]
    reroute = tree.nodes.new("NodeReroute")
    tree.links.new(string.outputs[0], reroute.inputs[0])
    tree.links.new(reroute.outputs[0], linked.inputs["Path"])
    _, modifier, fed = nodes_cube("GeometryNodeImportOBJ")
    group = fed.id_data
    item = group.interface.new_socket("Path", in_out="INPUT", socket_type="NodeSocketString")
    item.subtype = "FILE_PATH"
    group.links.new(group.nodes["Group Input"].outputs["Path"], fed.inputs["Path"])
    compat.set_modifier_input(modifier, item.identifier, paths["modifier"])
    workshop.reopen()
    assert found() == {"obj/socket.obj", "obj/socket.mtl", "obj/string.obj", "obj/modifier.obj"}


def test_ocean_cache(workshop: Any, found: Found):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    workshop.save()
    cube.modifiers.new("ocean", "OCEAN").filepath = "//waves"
    workshop.text("waves/disp_0001.exr", "baked")
    workshop.text("waves/diary.txt", "not ours")
    assert found() == {"waves/disp_0001.exr"}


def test_fluid_cache_folder(workshop: Any, found: Found):
    # Domains crash the wheels when they are evaluated, so only the property is set here.
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    workshop.save()
    modifier = cube.modifiers.new("fluid", "FLUID")
    modifier.show_viewport = False
    modifier.fluid_type = "DOMAIN"
    modifier.domain_settings.cache_directory = "//smoke"
    for name in ("data/fluid_data_0001.vdb", "config/config_0001.uni", "mesh/a.bobj.gz"):
        workshop.text(f"smoke/{name}", "baked")
    workshop.text("smoke/readme.txt", "not ours")
    assert found() == {
        "smoke/data/fluid_data_0001.vdb",
        "smoke/config/config_0001.uni",
        "smoke/mesh/a.bobj.gz",
    }


# --- against another tracer --------------------------------------------------------------------


def traced_by_bat(blend: Path) -> set[str]:
    """Return the existing files that blender-asset-tracer finds, relative to the .blend."""
    from blender_asset_tracer import trace

    found: set[str] = set()
    for usage in trace.deps(blend):
        for file in usage.files():
            path = Path(os.path.normpath(file))
            if path.is_file():
                found.add(path.relative_to(blend.parent).as_posix())
    return found


def test_everything_bat_finds_is_found(workshop: Any, found: Found, ies_text: str):
    build_library_of_library(workshop)
    for tile in (1001, 1002):
        workshop.png(f"udim/wood.{tile}.png")
    udim = load(workshop.folder / "udim/wood.1001.png")
    udim.source = "TILED"
    udim.filepath = "//udim/wood.<UDIM>.png"
    for frame in (1, 2, 3):
        workshop.png(f"sequence/flame_{frame:04d}.png")
    load(workshop.folder / "sequence/flame_0001.png").source = "SEQUENCE"
    strips = strips_of(bpy.context.scene)
    if has_sound:
        strips.new_sound("sound", str(workshop.wav("step.wav")), 2, 1)
    strips.new_image("image", str(workshop.png("plate_1.png")), 1, 1)
    light = bpy.data.lights.new("lamp", "POINT")
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("lamp", light))
    node = node_tree(light).nodes.new("ShaderNodeTexIES")
    node.mode, node.filepath = "EXTERNAL", str(workshop.text("lamp.ies", ies_text))
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.wm.alembic_export(
        filepath=str(workshop.path("cube.abc")), start=1, end=1, as_background_job=False
    )
    bpy.ops.wm.alembic_import(filepath=str(workshop.path("cube.abc")), as_background_job=False)
    plane, cache = cloth_plane()
    cache.use_disk_cache = True
    bake(plane, cache)
    workshop.reopen()
    theirs, ours = traced_by_bat(workshop.folder / "scene.blend"), found()
    assert len(theirs) >= 10
    assert theirs - ours <= {"scene.blend"}
