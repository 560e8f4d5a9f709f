"""Entry: tells what this Blender is and can do, one question per throw-away process.

The answer is a JSON file and not an exit code: a driver may crash at exit after all went well.
"""

from __future__ import annotations

import json
import os
from typing import Any

import bpy

from . import compat  # pyright: ignore[reportAttributeAccessIssue]

TEST_PIXELS = 16
"""Width and height of a test picture."""


def main(params: dict[str, Any]) -> int:
    """Answer ``params["question"]`` in the file ``params["answer"]``."""
    question = params["question"]
    if question == "facts":
        answer = _facts()
    elif question == "gpus":
        answer = {"gpus": _gpus()}
    else:
        answer = _try_engine(question, params["picture"])
    written = params["answer"] + ".part"
    with open(written, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.replace(written, params["answer"])
    return 0


def _facts() -> dict[str, Any]:
    options = bpy.app.build_options
    names = {
        "alembic": "alembic",
        "usd": "usd",
        "openvdb": "openvdb",
        "audaspace": "audaspace",
        "ffmpeg": "codec_ffmpeg",
        "fluid": "fluid",
    }
    # Where a wheel has fluid it crashes on the first domain: seen in 4.2 to 5.2.
    missing = {"fluid"} if not bpy.app.binary_path else set()
    able = [
        name
        for name, option in names.items()
        if getattr(options, option, False) and name not in missing
    ]
    engines = [name for name in compat.FARM_ENGINES if _has_engine(name)]
    if "CYCLES" in engines:
        import _cycles  # pyright: ignore[reportMissingImports]

        if getattr(_cycles, "with_openimagedenoise", False):
            able.append("openimagedenoise")
        if getattr(_cycles, "with_osl", False):
            able.append("osl")
    build = f"{_text(bpy.app.build_hash)} {_text(bpy.app.build_branch)}".strip()
    return {
        "version": list(bpy.app.version),
        "build": build,
        "able": able,
        "engines": engines,
    }


def _has_engine(name: str) -> bool:
    # The list of engines grows at run time, so the property itself does not tell.
    scene: Any = bpy.context.scene
    try:
        scene.render.engine = name
    except TypeError:
        return False
    return True


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _gpus() -> list[dict[str, str]]:
    context: Any = bpy.context
    addon = context.preferences.addons.get("cycles")
    if addon is None:
        return []
    preferences: Any = addon.preferences
    preferences.refresh_devices()
    return [
        {"backend": device.type, "name": device.name, "id": device.id}
        for device in preferences.devices
        if device.type != "CPU"
    ]


def _try_engine(engine: str, picture: str) -> dict[str, Any]:
    """Render a cube and look whether there is anything in the picture."""
    scene: Any = bpy.context.scene
    render = scene.render
    render.engine = engine
    render.resolution_x = render.resolution_y = TEST_PIXELS
    render.resolution_percentage = 100
    render.filepath = picture
    compat.set_image_format(render.image_settings, "PNG")
    render.image_settings.color_mode = "RGB"
    if engine == "CYCLES":
        scene.cycles.device = "CPU"
        scene.cycles.samples = 4
        # What is tried here is the engine; the denoiser is a capability of its own.
        scene.cycles.use_denoising = False
    elif engine in compat.EEVEE_ENGINES:
        scene.eevee.taa_render_samples = 1
    bpy.ops.render.render(write_still=True)
    image: Any = bpy.data.images.load(picture)
    colours = {tuple(image.pixels[i : i + 3]) for i in range(0, len(image.pixels), 4)}
    return {"colours": len(colours)}
