"""The open scene becomes a job, and stays as it was."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import compat, needs
from rendermill.addon.scene.capture import CaptureError, capture
from rendermill.addon.scene.checks import check
from rendermill.addon.scene.snapshot import SnapshotError, save_snapshot
from rendermill.protocol.codec import from_plain, to_plain
from rendermill.protocol.frames import FrameRangeError, parse_frames
from rendermill.protocol.job import Capability, Device, JobKind, JobSpec

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""


def spec(scene: Any, kind: JobKind = JobKind.ANIMATION, **options: Any) -> JobSpec:
    return capture(scene, kind=kind, snapshot=Path("/nowhere/scene.blend"), **options).spec


def add_library(workshop: Any) -> None:
    bpy.ops.mesh.primitive_uv_sphere_add()
    bpy.context.object.name = "Ball"
    workshop.save("assets/lib.blend")


def test_a_whole_scene(workshop: Any, cycles_scene: Any):
    scene = cycles_scene
    workshop.save("project/shots/shot.blend")
    image = bpy.data.images.load(str(workshop.png("project/textures/wood.png")))
    image.use_fake_user = True
    scene.frame_start, scene.frame_end, scene.frame_step = 1, 9, 2
    scene.render.fps, scene.render.fps_base = 30, 1.001
    scene.render.resolution_percentage = 50
    scene.render.filepath = "//../out/shot_####"
    scene.render.use_overwrite, scene.render.use_placeholder = False, True
    scene.view_layers.new("Second")
    scene.view_layers.new("Unused").use = False
    workshop.save("project/shots/shot.blend")
    copy = save_snapshot(workshop.folder / "snapshot")
    captured = capture(bpy.context, kind=JobKind.ANIMATION, snapshot=copy)
    job = captured.spec
    root = str(workshop.folder / "project")
    assert (job.name, job.blend, job.scene) == ("shot", "scene/shots/shot.blend", "Scene")
    assert job.frames == "1-9:2"
    assert [(item.folder, item.path) for item in job.roots] == [(root, "scene")]
    assert [(item.id, item.folder, item.name) for item in job.outputs] == [
        ("main", f"{root}/out", "shot_####")
    ]
    assert (job.image.width, job.image.height, job.image.file_format) == (8, 6, "PNG")
    assert job.view_layers == ("ViewLayer", "Second")
    assert (job.camera, job.samples) == ("Camera", 1)
    assert job.fps == pytest.approx(29.97, abs=0.001)
    assert (job.overwrite, job.placeholders, job.trust_scripts) == (False, True, False)
    assert job.requires.blender == bpy.app.version
    assert (job.requires.engine, job.requires.device) == ("CYCLES", Device.CPU)
    assert job.requires.capabilities == ()
    assert job.film is None
    assert {(file.source, file.path) for file in captured.files} == {
        (copy, "scene/shots/shot.blend"),
        (workshop.folder / "project/textures/wood.png", "scene/textures/wood.png"),
    }
    assert captured.files[0].source == copy
    assert (captured.missing, captured.warnings) == ((), ())
    assert captured.scratch == copy.parent
    assert from_plain(to_plain(job), JobSpec) == job


def test_frames(workshop: Any):
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.frame_current = 10, 20, 15
    assert spec(scene).frames == "10-20"
    assert spec(scene, JobKind.IMAGE).frames == "15"
    assert spec(scene, frames="-5--1, 7, 10-20:5").frames == "-5--1, 7, 10-20:5"
    assert spec(scene, JobKind.IMAGE, frames="3").frames == "3"
    scene.frame_step = 100
    assert spec(scene).frames == "10"
    for frames in ("5-1", "x", "1-2:0"):
        with pytest.raises(FrameRangeError):
            spec(scene, frames=frames)


def test_nothing_changes(workshop: Any, cycles_scene: Any, whole_file: Callable[[], Any]):
    add_library(workshop)
    bpy.ops.wm.read_factory_settings(use_empty=False)
    with bpy.data.libraries.load(str(workshop.folder / "assets/lib.blend"), link=True) as (_, b):
        b.objects = ["Ball"]
    bpy.context.scene.collection.objects.link(b.objects[0])
    bpy.data.images.load(str(workshop.png("wood.png")))
    bpy.ops.object.modifier_add(type="CLOTH")
    for saved, dirty, autopack in ((False, True, True), (True, False, False), (True, True, True)):
        if saved:
            bpy.data.use_autopack = False
            workshop.save("home/scene.blend")
        if dirty:
            bpy.ops.mesh.primitive_cube_add()
            bpy.ops.ed.undo_push(message="test")
        bpy.data.use_autopack = autopack
        before = whole_file()
        copy = save_snapshot(workshop.folder / f"snapshot {saved} {dirty}")
        captured = capture(bpy.context, kind=JobKind.ANIMATION, snapshot=copy)
        check(bpy.context.scene, captured)
        after = whole_file()
        assert before.keys() == after.keys()
        assert {key: value for key, value in after.items() if value != before[key]} == {}
        assert (before["filepath"] != "") == saved
        if bpy.app.version >= (5, 0, 0):  # before, addresses in a file differ from save to save
            again = save_snapshot(workshop.folder / f"again {saved} {dirty}")
            assert again.read_bytes() == copy.read_bytes()


def test_the_capture_of_an_unsaved_file(workshop: Any, cycles_scene: Any):
    image = bpy.data.images.load(str(workshop.png("wood.png")))
    image.use_fake_user = True
    with pytest.raises(CaptureError, match="never been saved"):
        capture(bpy.context, kind=JobKind.IMAGE)
    copy = save_snapshot(workshop.folder / "snapshot")
    captured = capture(bpy.context, kind=JobKind.IMAGE, snapshot=copy)
    assert copy.name == "untitled.blend"
    assert captured.spec.blend.endswith("/untitled.blend")
    assert [file.source for file in captured.files] == [copy, workshop.folder / "wood.png"]


def test_a_file_that_cannot_travel_is_missing(workshop: Any):
    workshop.save("project/scene.blend")
    image = bpy.data.images.load(str(workshop.png("project/what?.png")))
    image.use_fake_user = True
    captured = capture(bpy.context, kind=JobKind.IMAGE)
    assert [item.user for item in captured.missing] == ['Image "what?.png"']
    assert len(captured.files) == 1


# --- what the farm must be able to do ----------------------------------------------------------


def test_denoising_needs_the_denoiser(workshop: Any, cycles_scene: Any):
    cycles_scene.cycles.use_denoising = True
    cycles_scene.cycles.denoiser = "OPENIMAGEDENOISE"
    assert needs.capabilities(cycles_scene) == (Capability.OPENIMAGEDENOISE,)
    cycles_scene.view_layers[0].cycles.use_denoising = False
    assert needs.capabilities(cycles_scene) == ()


def test_denoise_node_in_a_group(workshop: Any, cycles_scene: Any):
    cycles_scene.render.compositor_device = "CPU"  # Since 5.2 it begins on the graphics card.
    if hasattr(cycles_scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("compositor", "CompositorNodeTree")
        cycles_scene.compositing_node_group = tree
    else:
        cycles_scene.use_nodes = True
        tree = cycles_scene.node_tree
    group = bpy.data.node_groups.new("group", "CompositorNodeTree")
    node = tree.nodes.new("CompositorNodeGroup")
    node.node_tree = group
    group.nodes.new("CompositorNodeDenoise")
    assert needs.capabilities(cycles_scene) == (Capability.OPENIMAGEDENOISE,)
    node.mute = True
    assert needs.capabilities(cycles_scene) == ()
    node.mute = False
    cycles_scene.render.use_compositing = False
    assert needs.capabilities(cycles_scene) == ()


def test_shading_language_volumes_caches_and_graphics(workshop: Any, cycles_scene: Any):
    scene = cycles_scene
    scene.cycles.shading_system = True
    assert Capability.OSL in needs.capabilities(scene)
    scene.cycles.shading_system = False
    volume = bpy.data.volumes.new("cloud")
    assert Capability.OPENVDB not in needs.capabilities(scene)
    scene.collection.objects.link(bpy.data.objects.new("cloud", volume))
    assert Capability.OPENVDB in needs.capabilities(scene)
    for engine in compat.OPENGL_ENGINES:
        try:
            scene.render.engine = engine
        except TypeError:  # the other version's name for EEVEE
            continue
        assert Capability.OPENGL in needs.capabilities(scene)


@pytest.mark.parametrize(
    ("extension", "capability"), [("abc", Capability.ALEMBIC), ("usdc", Capability.USD)]
)
def test_cache_files(workshop: Any, cycles_scene: Any, extension: str, capability: Capability):
    path = str(workshop.text(f"a.{extension}", "any"))
    bpy.ops.cachefile.open(filepath=path)
    bpy.data.cache_files[0].user_clear()
    assert capability not in needs.capabilities(cycles_scene)
    modifier = bpy.context.object.modifiers.new("cache", "MESH_SEQUENCE_CACHE")
    modifier.cache_file = bpy.data.cache_files[0]
    assert capability in needs.capabilities(cycles_scene)


def test_gpu_is_asked_for_not_assumed(workshop: Any, cycles_scene: Any):
    cycles_scene.cycles.device = "GPU"
    assert spec(cycles_scene).requires.device is Device.GPU


def test_scenes_rendered_on_the_way_count_too(workshop: Any, cycles_scene: Any):
    other: Any = bpy.data.scenes.new("Other")
    other.render.engine = "BLENDER_WORKBENCH"
    cycles_scene.sequence_editor_create()
    editor = cycles_scene.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_scene("other", other, 1, 1)
    assert needs.rendered_scenes(cycles_scene) == (cycles_scene, other)
    assert needs.capabilities(cycles_scene) == (Capability.OPENGL,)
    strip.mute = True
    assert needs.capabilities(cycles_scene) == ()


def test_film(workshop: Any, cycles_scene: Any):
    compat.set_image_format(cycles_scene.render.image_settings, "FFMPEG")
    cycles_scene.render.ffmpeg.format = "MPEG4"
    cycles_scene.render.filepath = str(workshop.folder / "out/cut_")
    job = spec(cycles_scene, frames="3-5", film_frames=True)
    film = job.film
    assert film is not None
    assert film.keep_frames
    assert Capability.FFMPEG in job.requires.capabilities
    assert Capability.AUDASPACE not in job.requires.capabilities
    bpy.ops.object.speaker_add()
    cycles_scene.render.ffmpeg.audio_codec = "AAC"
    heard = spec(cycles_scene)
    assert Capability.AUDASPACE in heard.requires.capabilities
    cycles_scene.render.ffmpeg.audio_codec = "NONE"
    assert Capability.AUDASPACE not in spec(cycles_scene).requires.capabilities
    assert (film.name, film.folder, film.fps) == (
        "cut_0003-0005.mp4",
        str(workshop.folder / "out"),
        24.0,
    )
    assert job.image.file_format == "PNG"
    still = spec(cycles_scene, JobKind.IMAGE)
    assert still.film is None
    assert still.image.file_format == "PNG"


# --- the snapshot ------------------------------------------------------------------------------


def test_snapshot_is_uncompressed_and_opens_alike(workshop: Any, cycles_scene: Any):
    workshop.save("project/scene.blend")
    image = bpy.data.images.load(str(workshop.png("textures/wood.png")))
    image.use_fake_user = True
    image.filepath = "//../textures/wood.png"
    bpy.ops.wm.save_mainfile(compress=True)
    bpy.context.scene.frame_end = 77  # not saved
    copy = save_snapshot(workshop.folder / "deep/er/snapshot")
    assert copy.name == "scene.blend"
    assert copy.read_bytes()[:7] == b"BLENDER"
    assert [path.name for path in copy.parent.iterdir()] == ["scene.blend"]
    bpy.ops.wm.open_mainfile(filepath=str(copy), load_ui=False)
    assert bpy.context.scene.frame_end == 77
    assert bpy.data.images["wood.png"].filepath == "//../textures/wood.png"


def test_snapshot_never_overwrites_the_open_file(workshop: Any):
    path = workshop.save()
    before = path.read_bytes()
    with pytest.raises(SnapshotError, match="overwrite"):
        save_snapshot(path.parent)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").is_dir(), reason="needs /proc")
def test_snapshot_into_a_folder_that_cannot_be(workshop: Any):
    with pytest.raises(SnapshotError, match="could not be copied"):
        save_snapshot(Path("/proc/rendermill"))


def test_frames_that_are_there_are_not_rendered_without_overwrite(workshop: Any, cycles_scene: Any):
    workshop.save("project/scene.blend")
    scene = cycles_scene
    scene.frame_start, scene.frame_end = 1, 5
    scene.render.filepath = "//out/f_###"
    workshop.png("project/out/f_002.png")
    workshop.png("project/out/f_004.png")
    workshop.text("project/out/f_003.png")
    captured = capture(scene, kind=JobKind.ANIMATION)
    assert (captured.spec.frames, captured.notes) == ("1-5", ())
    scene.render.use_overwrite = False
    captured = capture(scene, kind=JobKind.ANIMATION)
    assert parse_frames(captured.spec.frames) == (1, 3, 5)
    assert captured.notes == (
        "2 frames are in the output folder already, and not rendered: Overwrite is off.",
    )
    # An empty file is one that some Blender has begun, if Blenders leave such.
    scene.render.use_placeholder = True
    assert parse_frames(capture(scene, kind=JobKind.ANIMATION).spec.frames) == (1, 5)
    assert capture(scene, kind=JobKind.IMAGE).spec.frames == "1"
    with pytest.raises(CaptureError, match="All frames are in the output folder already"):
        capture(scene, kind=JobKind.ANIMATION, frames="2-4")
