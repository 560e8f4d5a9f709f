"""Captured scenes of small real files."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

from rendermill.protocol.scene import CapturedScene, MissingFile, SceneFile

from ...coordinator.conftest import make_scene
from .blend_files import Made, write

HOUR_NS = 3_600 * 10**9


def make_files(folder: Path) -> dict[str, Path]:
    """A .blend and two textures, an hour old so that they are remembered."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "scene/shot.blend": write(
            [Made("DATA", "raw_data", 16, random.Random(1).randbytes(2_500_000))]
        ),
        "scene/wood.png": random.Random(2).randbytes(1_200_000),
        "scene/empty.txt": b"",
    }
    made: dict[str, Path] = {}
    for path, data in contents.items():
        made[path] = folder / Path(path).name
        made[path].write_bytes(data)
        stat = made[path].stat()
        os.utime(made[path], ns=(stat.st_atime_ns, stat.st_mtime_ns - HOUR_NS))
    return made


def capture(
    files: dict[str, Path], out: Path, frames: str = "1-3", **changes: object
) -> CapturedScene:
    """A captured scene whose frames land in ``out``."""
    spec = make_scene(frames).spec
    outputs = (replace(spec.outputs[0], folder=str(out)),)
    missing = changes.pop("missing", ())
    assert isinstance(missing, tuple)
    spec = replace(spec, outputs=outputs, **changes)  # pyright: ignore[reportArgumentType]
    return CapturedScene(
        spec=spec,
        files=tuple(SceneFile(source, path) for path, source in files.items()),
        missing=tuple(MissingFile(Path(name), 'Image "wood"') for name in missing),
    )
