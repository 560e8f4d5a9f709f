"""Simulation caches travel as far as the frames of the job need them, and no further."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene.cache_frames import (
    MARGIN_FRAMES,
    FrameSpans,
    cut_bake,
    cut_fluid,
    cut_point_cache,
    spans_of,
)
from rendermill.addon.scene.capture import capture
from rendermill.protocol.job import JobKind

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""


def sent(scene: Any, frames: str) -> set[str]:
    """Return the names of the files that travel besides the .blend."""
    captured = capture(
        scene, kind=JobKind.ANIMATION, frames=frames, snapshot=Path("/nowhere/scene.blend")
    )
    return {file.source.name for file in captured.files[1:]}


def frames_of(names: set[str]) -> set[int]:
    return {int(found[1]) for name in names if (found := re.search(r"_?(\d{5,})", name))}


@pytest.mark.parametrize(
    ("frames", "present", "wanted"),
    [
        ((5,), range(1, 11), {3, 4, 5, 6, 7}),
        ((1,), range(1, 11), {1, 2, 3}),
        ((5, 6, 7), range(1, 21), set(range(3, 10))),
        ((5, 15), range(1, 21), {3, 4, 5, 6, 7, 13, 14, 15, 16, 17}),
        ((10,), (1, 20, 40), {1, 20}),
        ((50,), (1, 20, 40), {40}),
        ((-9,), (1, 20), {1}),
        ((10,), (), set()),
    ],
)
def test_the_neighbours_of_each_frame_are_kept(
    frames: tuple[int, ...], present: Any, wanted: set[int]
):
    assert FrameSpans.around(frames, MARGIN_FRAMES).wanted(present) == wanted


def test_names_that_tell_no_frame_are_kept():
    spans = FrameSpans.around((50,), 2)
    points = [f"/c/a_{frame:06d}_00.bphys" for frame in range(100)]
    points += ["/c/a_000000_01.bphys", "/c/readme.txt", "/c/b_000003_00.bphys"]
    kept = cut_point_cache(points, spans)
    # Frame 0 is what is true of all frames; another cache ends before the job begins.
    assert kept == [
        "/c/a_000000_00.bphys",
        *(f"/c/a_{frame:06d}_00.bphys" for frame in range(48, 53)),
        "/c/a_000000_01.bphys",
        "/c/readme.txt",
        "/c/b_000003_00.bphys",
    ]
    assert cut_point_cache(points, None) == points


def test_every_folder_of_a_fluid_domain_is_cut():
    spans = FrameSpans.around((10,), 1)
    names = (
        "data/fluid_data_{:04d}.vdb",
        "mesh/fluid_mesh_{:04d}.bobj.gz",
        "config/config_{:04d}.uni",
    )
    files = [f"/f/{name.format(frame)}" for name in names for frame in range(1, 31)]
    kept = cut_fluid([*files, "/f/script/fluid_script.py"], spans)
    assert kept == [
        *(f"/f/{name.format(frame)}" for name in names for frame in (9, 10, 11)),
        "/f/script/fluid_script.py",
    ]
    assert {Path(path).name for path in cut_fluid(files, spans, offset=-3)} >= {
        "fluid_data_0006.vdb",
        "fluid_data_0014.vdb",
    }


def test_a_bake_keeps_the_blobs_its_states_name(tmp_path: Path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "blobs").mkdir()
    files: list[str] = []
    for frame in range(1, 21):
        # Each state has a blob of its own, and one of frame 1 that all share.
        state = tmp_path / f"meta/{frame:05d}_00000.json"
        state.write_text(f'{{"a": {{"name": "{frame:05d}_00000.blob"}}, "b": "00001_00000.blob"}}')
        blob = tmp_path / f"blobs/{frame:05d}_00000.blob"
        blob.write_bytes(b"x")
        files += [str(state), str(blob)]
    kept = {Path(path).name for path in cut_bake(files, FrameSpans.around((10,), 1))}
    assert {name for name in kept if name.endswith("json")} == {
        f"{frame:05d}_00000.json" for frame in (9, 10, 11)
    }
    assert {name for name in kept if name.endswith("blob")} == {
        f"{frame:05d}_00000.blob" for frame in (1, 9, 10, 11)
    }


def bake(owner: Any, cache: Any) -> None:
    with bpy.context.temp_override(
        point_cache=cache, scene=bpy.context.scene, active_object=owner, object=owner
    ):
        bpy.ops.ptcache.bake(bake=True)


def baked_cloth(workshop: Any) -> Any:
    workshop.save()
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    cache = plane.modifiers.new("Cloth", "CLOTH").point_cache
    cache.name, cache.frame_end, cache.use_disk_cache = "flag", 12, True
    bake(plane, cache)
    return cache


def test_a_disk_cache_is_cut_and_said(workshop: Any, cycles_scene: Any):
    baked_cloth(workshop)
    scene = cycles_scene
    assert frames_of(sent(scene, "6")) - {0} == {4, 5, 6, 7, 8}
    assert frames_of(sent(scene, "1-12")) - {0} == set(range(1, 13))
    captured = capture(
        scene, kind=JobKind.ANIMATION, frames="6", snapshot=Path("/nowhere/scene.blend")
    )
    there = len(list((workshop.folder / "blendcache_scene").iterdir()))
    assert captured.notes == (
        f"Of {there} files of simulation caches {there - 7} are sent: "
        "what the frames of the job need.",
    )
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = 2.5
    assert frames_of(sent(scene, "6")) - {0} == set(range(1, 12))


def test_time_that_does_not_run_by_frames_cuts_nothing(workshop: Any, cycles_scene: Any):
    baked_cloth(workshop)
    scene = cycles_scene
    scene.render.frame_map_new = 200
    assert spans_of(scene, (6,)) is None
    assert frames_of(sent(scene, "6")) - {0} == set(range(1, 13))
    scene.render.frame_map_new = scene.render.frame_map_old
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.modifiers.new("hairs", "PARTICLE_SYSTEM")
    settings = cube.particle_systems[0].settings
    assert len(frames_of(sent(scene, "6")) - {0}) == 5
    settings.render_type = "PATH"
    assert frames_of(sent(scene, "6")) - {0} == set(range(1, 13))


def simulation_zone(workshop: Any) -> Any:
    workshop.save()
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    group = bpy.data.node_groups.new("group", "GeometryNodeTree")
    for in_out in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
    start = group.nodes.new("GeometryNodeSimulationInput")
    end = group.nodes.new("GeometryNodeSimulationOutput")
    start.pair_with_output(end)
    move = group.nodes.new("GeometryNodeTransform")
    move.inputs["Translation"].default_value = (0.1, 0, 0)
    source, sink = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    group.links.new(source.outputs[0], start.inputs[0])
    group.links.new(start.outputs[1], move.inputs[0])
    group.links.new(move.outputs[0], end.inputs[1])
    group.links.new(end.outputs[0], sink.inputs[0])
    modifier = cube.modifiers.new("nodes", "NODES")
    modifier.node_group = group
    if hasattr(modifier, "bake_target"):
        modifier.bake_target = "DISK"
    bpy.ops.object.geometry_node_bake_single(
        session_uid=cube.session_uid, modifier_name="nodes", bake_id=modifier.bakes[0].bake_id
    )
    return modifier


def test_a_simulation_zone_is_cut(workshop: Any, cycles_scene: Any):
    cycles_scene.frame_end = 12
    simulation_zone(workshop)
    names = sent(cycles_scene, "6")
    assert frames_of({name for name in names if name.endswith("json")}) == {4, 5, 6, 7, 8}
    # Faces and edges never change: they are in the blob of the first frame.
    assert frames_of({name for name in names if name.endswith("blob")}) == {1, 4, 5, 6, 7, 8}
