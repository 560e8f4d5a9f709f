"""A walk through the add-on in a Blender window; runs inside Blender, started by its test.

Real operators, real panels, drawn and photographed; keys come by Blender's own event simulation,
so no step depends on where a window manager puts the focus. Each step notes what it saw; the test
reads the notes. Arguments after ``--``: a folder for scene and pictures, the file for the notes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

MODULE = "bl_ext.user_default.rendermill"
TICK_SECONDS = 0.1
PATIENCE_SECONDS = 90.0

work, notes_file = map(Path, sys.argv[sys.argv.index("--") + 1 :])
notes: dict[str, Any] = {}
context: Any = bpy.context
ops: Any = bpy.ops


def window() -> Any:
    return context.window_manager.windows[0]


def photograph(name: str) -> None:
    ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=2)
    subprocess.run(["import", "-window", "root", str(work / f"{name}.png")], check=True)


def press(key: str) -> None:
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type=key, value=value, x=200, y=200)


def until(is_true: Callable[[], bool]) -> Iterator[float]:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError("a step of the walk did not come to its end")
        yield TICK_SECONDS


def walk() -> Iterator[float]:
    area = max(window().screen.areas, key=lambda area: area.width * area.height)
    area.type = "PROPERTIES"
    yield TICK_SECONDS
    area.spaces.active.context = "OUTPUT"
    yield TICK_SECONDS

    def over(act: Callable[[], Any]) -> Any:
        region = next(region for region in area.regions if region.type == "WINDOW")
        with context.temp_override(window=window(), area=area, region=region):
            return act()

    def scroll_down() -> None:
        over(lambda: [ops.view2d.scroll_down(deltay=-200) for _ in range(40)])

    def send() -> Any:
        return over(lambda: ops.rendermill.render_animation("INVOKE_DEFAULT"))

    ops.preferences.addon_enable(module=MODULE)
    pump = importlib.import_module(f"{MODULE}.addon.ui.pump")
    yield from until(lambda: pump.problem() != "" or pump.state_if_loaded() is not None)
    notes["problem"] = pump.problem()
    state = pump.state()
    yield from until(lambda: state.farm is not None and state.nodes_ready() == 1)
    notes["farm"] = state.farm.farm
    scroll_down()
    photograph("panel")

    scene = context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    # Debian's Blender has no denoiser.
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    scene.frame_end = 6
    scene.render.filepath = "//render/shot_###"
    ops.wm.save_as_mainfile(filepath=str(work / "shot.blend"))

    send()
    press("ESC")
    for _ in range(5):
        yield TICK_SECONDS
    snapshots = Path(os.environ["RENDERMILL_HOME"], "cache", "snapshots")
    notes["after escape"] = [len(state.submissions), len(list(snapshots.glob("*")))]

    image = bpy.data.images.new("wood", 4, 4)
    image.source, image.filepath, image.use_fake_user = "FILE", "//wood.png", True
    operators: Any = importlib.import_module(f"{MODULE}.addon.ui.render_operators")
    earlier = operators.last_packing
    send()
    yield from until(lambda: operators.last_packing is not earlier)
    yield from until(lambda: bool(operators.last_packing.findings))
    for _ in range(5):
        yield TICK_SECONDS
    photograph("dialog")
    press("ESC")
    yield TICK_SECONDS
    notes["after dialog"] = len(state.submissions)
    bpy.data.images.remove(image)

    send()
    yield from until(lambda: bool(state.submissions))
    photograph("sending")
    yield from until(lambda: any(entry.is_over for entry in state.submissions.values()))
    yield TICK_SECONDS
    notes["submissions"] = [entry.step.value for entry in state.submissions.values()]
    notes["files"] = sorted(path.name for path in (work / "render").iterdir())
    notes["last job"] = context.window_manager.rendermill.last_job in state.jobs
    scroll_down()
    photograph("delivered")

    over(lambda: ops.wm.call_menu(name="TOPBAR_MT_render"))
    yield TICK_SECONDS
    photograph("menu")
    press("ESC")
    yield TICK_SECONDS

    area.type = "PREFERENCES"
    context.preferences.active_section = "ADDONS"
    context.window_manager.addon_search = "Rendermill"
    yield TICK_SECONDS
    over(lambda: ops.preferences.addon_expand(module=MODULE))
    yield TICK_SECONDS
    photograph("preferences")

    ops.wm.open_mainfile(filepath=str(work / "shot.blend"))
    yield TICK_SECONDS
    notes["after load"] = [
        pump.state() is state,
        state.link.value,
        bpy.app.timers.is_registered(pump._tick),
    ]
    ops.preferences.addon_disable(module=MODULE)
    yield TICK_SECONDS
    notes["threads"] = [t.name for t in threading.enumerate() if "rendermill" in t.name]


steps = walk()


def tick() -> float:
    try:
        return next(steps)
    except StopIteration:
        notes["finished"] = True
    except BaseException:  # noqa: BLE001 - whatever it is, Blender must end and the test must see it
        traceback.print_exc()
    notes_file.write_text(json.dumps(notes))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


context.preferences.view.show_splash = False
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
