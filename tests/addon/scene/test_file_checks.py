"""Files that are not what the scene takes them for: pixels in memory only, a folder."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from rendermill.addon.scene import repairs
from rendermill.addon.scene.snapshot import save_snapshot

from .test_checks import findings, good, mend

pytestmark = pytest.mark.bpy

bpy: Any = importlib.import_module("bpy")
"""The stubs know one version of Blender, these tests run in all."""

__all__ = ["good"]


def paint(image: Any) -> None:
    pixels = [0.25, 0.25, 0.25, 1.0] * (len(image.pixels) // 4)
    image.pixels.foreach_set(pixels)
    image.update()


def sent_pixels(folder: Path) -> dict[str, list[float]]:
    """Return the first pixel of each image as a node would find it in the snapshot."""
    folder.mkdir()
    snapshot = save_snapshot(folder)
    bpy.ops.wm.open_mainfile(filepath=str(snapshot), load_ui=False)
    return {
        image.name: [round(value, 2) for value in image.pixels[:4]] for image in bpy.data.images
    }


def test_painted_pixels_are_saved_before_they_are_sent(workshop: Any, good: Any):
    """In a file of its own, in none, and packed: whatever Blender would lose is told and saved."""
    new = bpy.data.images.new("new", 4, 4)
    wood = bpy.data.images.load(str(workshop.png("project/wood.png")))
    packed = bpy.data.images.load(str(workshop.png("project/packed.png")))
    packed.pack()
    unused = bpy.data.images.new("unused", 4, 4)
    for image in (new, wood, packed):
        image.use_fake_user = True
    assert findings(good) == []
    for image in (new, wood, packed, unused):
        paint(image)
    (found,) = findings(good)
    assert found.what == "3 images have changes that are not saved: new, packed.png, wood.png."
    mend(good, "changed_images")
    assert findings(good) == []
    assert new.packed_file is not None
    assert wood.packed_file is None
    assert repairs.changed_images() == []
    pixels = sent_pixels(workshop.folder / "sent")
    assert pixels["new"] == pixels["wood.png"] == pixels["packed.png"] == [0.25, 0.25, 0.25, 1.0]


def test_one_painted_image_that_cannot_be_saved(workshop: Any, good: Any):
    image = bpy.data.images.load(str(workshop.png("project/wood.png")))
    image.use_fake_user = True
    paint(image)
    image.filepath_raw = str(workshop.text("project/a file", "x")) + "/wood.png"
    found = next(item for item in findings(good) if item.id == "changed_images")
    assert found.what == "1 image has changes that are not saved: wood.png."
    assert found.repair is not None
    with pytest.raises(repairs.RepairError, match="could not do it"):
        found.repair.apply()


def test_a_folder_where_a_file_should_be(workshop: Any, good: Any):
    (workshop.folder / "project" / "textures").mkdir()
    image = bpy.data.images.new("wood", 4, 4)
    image.source, image.filepath, image.use_fake_user = "FILE", "//textures", True
    (found,) = findings(good)
    folder = workshop.folder / "project" / "textures"
    assert found.what == f'Image "wood" needs a file, and {folder} is a folder.'
    assert found.repair is None
