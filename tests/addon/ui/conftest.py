"""A Blender with the add-on switched on, and a real farm behind it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load_local_farm() -> ModuleType:
    """Return ``scripts/local_farm.py``; scripts are no package."""
    spec = importlib.util.spec_from_file_location("local_farm", ROOT / "scripts" / "local_farm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules["local_farm"] = module
    spec.loader.exec_module(module)
    return module


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
    with load_local_farm().local_farm(tmp_path_factory.mktemp("farm"), nodes=1) as running:
        yield running


@pytest.fixture
def at_home(farm: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The farm, with this process as one of its user's."""
    monkeypatch.setenv("RENDERMILL_HOME", str(farm.folder / "home"))
    return farm
