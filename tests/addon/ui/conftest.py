"""A Blender with the add-on switched on, and a real farm behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ...local_farms import local_farm


@pytest.fixture
def addon() -> Iterator[ModuleType]:
    """The add-on, registered in this Blender with a fresh default scene."""
    import bpy
    import rendermill

    bpy.ops.wm.read_factory_settings()
    rendermill.register()
    yield rendermill
    rendermill.unregister()


@pytest.fixture
def small_scene(addon: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """Make the open scene one of a few tiny frames, saved as ``shot.blend``; returns it."""

    def make(frames: int = 3) -> Any:
        import bpy

        scene: Any = bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.cycles.samples = 1
        scene.cycles.use_denoising = False
        scene.render.resolution_x, scene.render.resolution_y = 32, 24
        scene.frame_start, scene.frame_end = 1, frames
        scene.render.filepath = "//render/shot_###"
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
        return scene

    return make


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A coordinator and one node as processes, the node with this very Blender."""
    with local_farm.local_farm(tmp_path_factory.mktemp("farm"), nodes=1) as running:
        yield running


@pytest.fixture
def at_home(farm: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The farm, with this process as one of its user's."""
    monkeypatch.setenv("RENDERMILL_HOME", str(farm.folder / "home"))
    return farm
