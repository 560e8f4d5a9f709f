"""Real material for scenes: files of every kind that a .blend can name, made on the spot.

bpy is imported inside the fixtures: this file is also read by sessions that must not load Blender.
"""

from __future__ import annotations

import struct
import warnings
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Workshop:
    """Makes files and saves scenes in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the path of ``name`` with its folder made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def png(self, name: str, colour: tuple[int, int, int] = (255, 0, 0), size: int = 8) -> Path:
        """Write a real PNG of one colour."""
        rows = (b"\x00" + bytes(colour) * size) * size
        path = self.path(name)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
            + _chunk(b"IDAT", zlib.compress(rows))
            + _chunk(b"IEND", b"")
        )
        return path

    def wav(self, name: str) -> Path:
        """Write a tenth of a second of silence."""
        path = self.path(name)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(b"\0\0" * 800)
        return path

    def text(self, name: str, content: str = "") -> Path:
        """Write a text file."""
        path = self.path(name)
        path.write_text(content, "utf-8")
        return path

    def save(self, name: str = "scene.blend") -> Path:
        """Save the open scene here."""
        import bpy

        path = self.path(name)
        bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=False)
        return path

    def open(self, name: str = "scene.blend") -> None:
        """Open a scene saved here, as a fresh session would."""
        import bpy

        bpy.ops.wm.open_mainfile(filepath=str(self.folder / name), load_ui=False)

    def reopen(self, name: str = "scene.blend") -> None:
        """Save the open scene and open it again."""
        self.save(name)
        self.open(name)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IES = """IESNA:LM-63-1995
[TEST] Rendermill
TILT=NONE
1 1000 1 3 1 1 2 0 0 0
1 1 10
0 45 90
0
100 50 0
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A workshop in a fresh folder, with an empty scene open in this Blender."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    return Workshop(tmp_path)


@pytest.fixture
def ies_text() -> str:
    """A valid photometric profile."""
    return IES


@pytest.fixture
def found(workshop: Workshop) -> Callable[[], set[str]]:
    """Return what `find_dependencies` finds, relative to the workshop's folder."""
    from rendermill.addon.scene.dependencies import find_dependencies

    def names() -> set[str]:
        return {
            Path(path).relative_to(workshop.folder).as_posix() for path in find_dependencies().files
        }

    return names


@pytest.fixture
def missing(workshop: Workshop) -> Callable[[], dict[str, str]]:
    """Return missing files relative to the workshop's folder -> who needs them."""
    from rendermill.addon.scene.dependencies import find_dependencies

    def names() -> dict[str, str]:
        return {
            item.source.relative_to(workshop.folder).as_posix(): item.user
            for item in find_dependencies().missing
        }

    return names


@pytest.fixture
def cycles_scene(workshop: Workshop) -> Any:
    """A tiny Cycles scene with a camera, a lit cube and a moving part; renders in a blink."""
    import bpy

    scene: Any = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = 16, 12
    scene.render.resolution_percentage = 100
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location = (0, 0, 5)
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.mesh.primitive_cube_add()
    return scene


@pytest.fixture
def whole_file() -> Callable[[], dict[str, Any]]:
    """Return a photograph of everything in the open file that a person could see changed."""
    import bpy as blender

    bpy: Any = blender

    # One level of nested structs: 4.2 crashes when shading settings are read headless.
    def photograph() -> dict[str, Any]:
        state: dict[str, Any] = {
            "filepath": bpy.data.filepath,
            "is_dirty": bpy.data.is_dirty,
            "is_saved": bpy.data.is_saved,
            "autopack": bpy.data.use_autopack,
            "preferences": bpy.context.preferences.is_dirty,
            "preview": bpy.context.preferences.filepaths.file_preview_type,
            "frame": bpy.context.scene.frame_current,
            "selected": [item.name for item in bpy.context.selected_objects],
            "active": getattr(bpy.context.view_layer.objects.active, "name", None),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for name in dir(bpy.data):
                collection = getattr(bpy.data, name)
                # What a window shows is no part of a scene, and 4.2 crashes on it when headless.
                if name in ("screens", "window_managers", "workspaces") or not isinstance(
                    collection, bpy.types.bpy_prop_collection
                ):
                    continue
                for item in collection:
                    state[f"{name}:{item.name_full}"] = _properties(item, depth=1)
        return state

    return photograph


_MADE_BY_LOOKING = frozenset(
    {
        "rna_type",
        "preview",
        "session_uid",
        "bindcode",
        "pixels",
        "has_data",
        "size",
        "depth",
        "channels",
        "is_float",
        "type",
        "resolution",
        "frame_duration",
        "display_aspect",
        "generated_width",
        "generated_height",
        "alpha_mode",
    }
)
"""Properties of previews and of image buffers, which Blender fills when they are asked for."""


def _properties(struct_: Any, depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for prop in struct_.bl_rna.properties:
        if prop.identifier in _MADE_BY_LOOKING:
            continue
        try:
            value: Any = getattr(struct_, prop.identifier)
        except (AttributeError, RuntimeError, TypeError):
            continue
        if prop.type in ("INT", "FLOAT", "BOOLEAN", "STRING", "ENUM"):
            is_array = getattr(prop, "is_array", False) and not isinstance(value, set)
            values[prop.identifier] = repr([*value]) if is_array else repr(value)
        elif prop.type == "POINTER" and value is not None and depth:
            is_id = hasattr(value, "name_full")
            values[prop.identifier] = value.name_full if is_id else _properties(value, depth - 1)
        elif prop.type == "COLLECTION" and depth:
            values[prop.identifier] = len(value or ())
    return values
