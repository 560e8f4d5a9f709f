"""The shots of a studio's day for the pictures of the status page, made of the demo scene.

``python scripts/screenshots_scenes.py FOLDER`` runs with bpy in a folder that scripts/demo_scene.py
has filled, and writes a .blend for each of `SHOTS` beside its ``mill.blend``. One of them has a
script in it that ends Blender at one frame, when it is trusted: a frame that fails on every node.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

FAILING_FRAME = 9


@dataclass(frozen=True)
class Shot:
    """What differs from the demo scene."""

    lens: float = 1.0
    """Factor of the camera's focal length."""
    shift: tuple[float, float] = (0.0, 0.0)
    """The camera's shift, in widths of the picture."""
    exposure: float = 0.0
    """Stops."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of the lamps' and the sky's colour."""


SHOTS = {
    "mln_010_establishing": Shot(),
    "mln_020_sails": Shot(lens=2.1, shift=(-0.42, 0.3)),
    "mln_030_dusk": Shot(lens=1.15, exposure=-0.9, tint=(0.62, 0.72, 1.35)),
    "mln_040_easel": Shot(lens=1.9, shift=(0.4, -0.02), tint=(1.15, 1.0, 0.8)),
    "mln_050_night": Shot(lens=1.4, shift=(-0.25, 0.05), exposure=-2.2, tint=(0.35, 0.5, 1.6)),
    "mln_060_fog": Shot(lens=0.8, exposure=0.5, tint=(0.95, 1.05, 1.1)),
}
FAILING = "mln_060_fog"

_context: Any = bpy.context
_data: Any = bpy.data


def write(folder: Path, name: str, shot: Shot) -> None:
    """Write one shot."""
    bpy.ops.wm.open_mainfile(filepath=str(folder / "mill.blend"))
    camera = _context.scene.camera.data
    camera.lens *= shot.lens
    camera.shift_x += shot.shift[0]
    camera.shift_y += shot.shift[1]
    _context.scene.view_settings.exposure += shot.exposure
    for lamp in _data.lights:
        lamp.color = [part * factor for part, factor in zip(lamp.color, shot.tint, strict=True)]
    for node in _context.scene.world.node_tree.nodes:
        if node.type == "VALTORGB":
            for stop in node.color_ramp.elements:
                stop.color = (*(p * f for p, f in zip(stop.color[:3], shot.tint, strict=True)), 1)
    if name == FAILING:
        text = _data.texts.new("fog.py")
        text.write(
            "import bpy, os\n"
            "def fog(scene, _):\n"
            f"    if scene.frame_current == {FAILING_FRAME}:\n"
            "        os.abort()\n"
            "bpy.app.handlers.render_pre.append(fog)\n"
        )
        text.use_module = True
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"), compress=False)


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[-1]).resolve()
    for name, shot in SHOTS.items():
        write(folder, name, shot)


if __name__ == "__main__":
    main()
