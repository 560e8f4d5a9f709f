"""Cutting and settling of what real Blenders save, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rendermill.addon.client.chunking import chunk_file
from rendermill.addon.client.settling import settle

pytestmark = pytest.mark.bpy

MAKE = """
import numpy as np
bpy.ops.wm.read_factory_settings(use_empty=False)
rng = np.random.default_rng(1)
for n in range(40):
    mesh = bpy.data.meshes.new(f"mesh{n}")
    count = 2000 if n < 4 else 30
    faces = [(i, i + 1, i + 2) for i in range(count - 2)]
    mesh.from_pydata(rng.random((count, 3)).tolist(), [], faces)
    ob = bpy.data.objects.new(f"object{n}", mesh)
    bpy.context.scene.collection.objects.link(ob)
    material = bpy.data.materials.new(f"material{n}")
    material.use_nodes = True
    mesh.materials.append(material)
    ob.modifiers.new("bevel", "BEVEL")
    ob.keyframe_insert("location", frame=n + 1)
    ob["note"] = f"custom {n}"
    if n % 3:
        ob.parent = bpy.data.objects[f"object{n - 1}"]
image = bpy.data.images.new("noise", 256, 256)
image.pixels.foreach_set(rng.random(256 * 256 * 4).astype("f"))
image.pack()
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1], compress=False)
"""

SAVE = """
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
bpy.data.objects["object5"].delta_location.x += float(sys.argv[3])
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[2], compress=False, copy=True)
"""

TELL = """
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
scene = bpy.context.scene
told = []
for ob in sorted(bpy.data.objects, key=lambda ob: ob.name):
    scene.frame_set(7)
    told.append([
        ob.name, ob.parent and ob.parent.name, [list(row) for row in ob.matrix_world],
        [slot.material and slot.material.name for slot in ob.material_slots],
        [(m.name, m.type) for m in ob.modifiers], ob.get("note"),
        ob.animation_data and ob.animation_data.action and ob.animation_data.action.name,
        [list(v.co) for v in ob.data.vertices] if ob.type == "MESH" else None,
    ])
for material in sorted(bpy.data.materials, key=lambda m: m.name):
    links = material.node_tree.links if material.node_tree else ()
    told.append([material.name, [(l.from_node.name, l.to_socket.name) for l in links]])
told.append([(image.name, list(image.pixels)[:2000]) for image in bpy.data.images])
told.append([scene.camera.name, scene.world and scene.world.name, len(bpy.data.screens)])
with open(sys.argv[2], "w") as file:
    json.dump(told, file)
"""


def blender(code: str, *words: object) -> None:
    whole = f"import json, os, sys\nimport bpy\n{code}\nsys.stdout.flush()\nos._exit(0)\n"
    subprocess.run(
        [sys.executable, "-c", whole, *map(str, words)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=200,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, Path]:
    """A scene as two Blenders saved it, the second with one object moved."""
    folder = tmp_path_factory.mktemp("saved")
    blender(MAKE, folder / "scene.blend")
    first, second = folder / "first.blend", folder / "second.blend"
    blender(SAVE, folder / "scene.blend", first, 0)
    blender(SAVE, folder / "scene.blend", second, 1)
    return first, second


def test_a_moved_object_is_all_that_differs(saved, tmp_path):
    known: dict[str, int] = {}
    share, new = 1.0, known
    for path in saved:
        snapshot = tmp_path / "snapshot.blend"
        shutil.copy(path, snapshot)
        assert settle(snapshot)
        chunks = {chunk.sha256: chunk.length for chunk in chunk_file(snapshot).chunks}
        new = {name: length for name, length in chunks.items() if name not in known}
        share = sum(new.values()) / sum(chunks.values())
        known |= chunks
    assert share < 0.08, "before compression, in a scene of small structs"
    assert len(new) <= 4


def test_blender_finds_everything_in_a_settled_file(saved, tmp_path):
    first, _ = saved
    snapshot = tmp_path / "first.blend"
    shutil.copy(first, snapshot)
    assert settle(snapshot)
    assert snapshot.read_bytes() != first.read_bytes()
    told: list[object] = []
    for path in (first, snapshot):
        blender(TELL, path, tmp_path / "told.json")
        told.append(json.loads((tmp_path / "told.json").read_text()))
    assert told[0] == told[1]
    assert len(json.dumps(told[0])) > 100_000
