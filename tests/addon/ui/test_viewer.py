"""The newest frame in an Image Editor, and nothing of it in what the artist keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from rendermill.addon.ui import survey, viewer

pytestmark = pytest.mark.bpy

# Blender's stubs know nothing of what an add-on adds.
context: Any = bpy.context
ops: Any = bpy.ops
data: Any = bpy.data


def picture(folder: Path, name: str) -> Path:
    """A picture that came home."""
    image = data.images.new(name, 4, 4)
    image.filepath_raw = str(folder / f"{name}.png")
    image.file_format = "PNG"
    image.save()
    data.images.remove(image)
    return folder / f"{name}.png"


def editor() -> Any:
    """An Image Editor of this Blender's first window."""
    area = context.window_manager.windows[0].screen.areas[0]
    area.type = "IMAGE_EDITOR"
    area.spaces.active.image = None
    return area


@pytest.fixture
def area(addon: Any) -> Any:
    if not context.window_manager.windows:
        pytest.skip("This Blender has no window to put an Image Editor into.")
    return editor()


def test_it_follows_in_an_editor_that_shows_nothing(area: Any, tmp_path: Path):
    first, second = picture(tmp_path, "f1"), picture(tmp_path, "f2")
    assert viewer.follow(first, 1)
    assert area.spaces.active.image.filepath == str(first)
    assert viewer.follow(second, 2)
    assert area.spaces.active.image.filepath == str(second)
    assert [image.name for image in data.images if "Farm" in image.name] == [viewer.NAME]


def test_it_leaves_what_the_artist_looks_at(area: Any, tmp_path: Path):
    own = data.images.new("reference", 4, 4)
    area.spaces.active.image = own
    assert not viewer.follow(picture(tmp_path, "f1"), 1)
    assert area.spaces.active.image == own


def test_a_picture_that_is_gone_is_not_shown(area: Any, tmp_path: Path):
    assert not viewer.follow(tmp_path / "gone.png", 1)
    assert area.spaces.active.image is None


def test_it_is_in_no_file_that_is_saved(area: Any, small_scene: Callable[..., Any], tmp_path: Path):
    small_scene()
    shown = picture(tmp_path, "f1")
    assert viewer.follow(shown, 1)
    path = str(tmp_path / "kept.blend")
    ops.wm.save_as_mainfile(filepath=path, copy=True)
    assert area.spaces.active.image.filepath == str(shown)
    with data.libraries.load(path) as (inside, _):
        assert viewer.NAME not in inside.images


def test_it_is_no_file_of_the_scene(area: Any, small_scene: Callable[..., Any], tmp_path: Path):
    small_scene()
    assert viewer.follow(picture(tmp_path, "f1"), 1)
    assert ops.rendermill.check_scene() == {"FINISHED"}
    report = survey.latest
    assert report is not None
    assert report.size is not None
    assert report.size.files == 0
    assert area.spaces.active.image is not None


def test_switching_the_add_on_off_takes_it_away(area: Any, tmp_path: Path):
    assert viewer.follow(picture(tmp_path, "f1"), 1)
    viewer.unregister()
    assert viewer.NAME not in data.images
    viewer.register()
