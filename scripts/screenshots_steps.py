"""What is done inside Blender for the pictures of the documentation; see `screenshots_blender`.

Arguments after ``--``: the act, the extension's zip, the folder with the scene (``mill``), for the
pictures (``pictures``) and for ``ACT.json``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import bpy

sys.path.append(str(Path(__file__).resolve().parent))

import window_steps
from window_steps import Steps, context, ops, over, press, rounds, until

MODULE = "bl_ext.user_default.rendermill"
FRAMES_SEEN = 6
"""Frames that are done in the picture of a job that renders."""
SAMPLES = 4
PICTURE_ROUNDS = 20

act, archive, work = sys.argv[sys.argv.index("--") + 1 :]
folder = Path(work)
scene_file = folder / "mill" / "mill.blend"
notes: dict[str, Any] = {}


def part(name: str) -> Any:
    """Return a module of the installed add-on."""
    return importlib.import_module(f"{MODULE}.addon.ui.{name}")


def photograph(name: str) -> None:
    """Save a picture of the screen."""
    window_steps.photograph(folder / "pictures" / f"{name}.png")


def open_panels(names: set[str]) -> None:
    """Have closed panels open from the start."""
    for one in bpy.types.Panel.__subclasses__():
        closed = "DEFAULT_CLOSED" in getattr(one, "bl_options", ())
        if one.__name__ in names and closed and one.__module__.startswith(MODULE):
            bpy.utils.unregister_class(one)
            one.bl_options = one.bl_options - {"DEFAULT_CLOSED"}
            bpy.utils.register_class(one)


def begin() -> Steps:
    """Install the extension unless that is done, and open the scene."""
    if MODULE not in context.preferences.addons:
        ops.extensions.package_install_files(
            filepath=archive, repo="user_default", enable_on_install=True
        )
        ops.wm.save_userpref()
    # The screen stays as it is.
    ops.wm.open_mainfile(filepath=str(scene_file), load_ui=False)
    yield from rounds()
    # One would cover what the pictures are about.
    context.preferences.view.show_tooltips = False
    context.scene.cycles.samples = SAMPLES
    context.scene.cycles.use_denoising = False
    ops.wm.save_mainfile()


def farm_found() -> Steps:
    """Wait for the farm with both nodes."""
    pump = part("pump")
    yield from until(lambda: pump.state_if_loaded() is not None, "the client")
    state = pump.state()
    yield from until(lambda: state.farm is not None and state.nodes_ready() == 2, "two nodes")


def scene_seen() -> Steps:
    """Have the scene looked at, down to the sizes of its files where it can be sent."""
    survey = part("survey")
    ops.rendermill.check_scene()
    yield from until(
        lambda: survey.latest is not None and not survey.is_under_way(), "the look at the scene"
    )
    yield from until(
        lambda: survey.latest.size is not None or survey.latest.captured is None,
        "the files' sizes",
    )


def only_properties() -> Steps:
    """Show the *Output* tab over the whole window."""
    area = window_steps.largest_area()
    yield from window_steps.show_output_properties(area)
    over(area, ops.screen.screen_full_area)
    yield from rounds()


def properties_area() -> Any:
    """Return the Properties editor that fills the window."""
    return window_steps.largest_area()


def show_end() -> Steps:
    """Scroll to the end of the tab, where our panel is."""
    yield from rounds()
    window_steps.scroll(properties_area(), -20_000)
    yield from rounds()


def menu() -> Steps:
    """Blender's Render menu with our entries."""
    yield from begin()
    yield from farm_found()
    area = window_steps.largest_area()
    for space in area.spaces:
        if space.type == "VIEW_3D":
            space.region_3d.view_perspective = "CAMERA"
    yield from rounds()
    # The menu opens where the mouse is.
    middle = window_steps.window()
    middle.cursor_warp(middle.width // 2, middle.height // 2)
    yield from rounds()
    over(area, lambda: ops.wm.call_menu(name="TOPBAR_MT_render"))
    yield from rounds()
    photograph("menu")
    yield from press("ESC")


def panel() -> Steps:
    """The panel before and while a job renders, its options, the preferences."""
    open_panels({"RENDERMILL_PT_options"})
    yield from begin()
    yield from only_properties()
    yield from farm_found()
    yield from scene_seen()
    yield from show_end()
    photograph("options")
    state = part("pump").state()
    over(properties_area(), lambda: ops.rendermill.render_animation("INVOKE_DEFAULT"))
    yield from until(lambda: bool(state.submissions), "a submission")
    submission = next(iter(state.submissions.values()))
    yield from until(lambda: not submission.is_sending, "the job accepted")
    yield from until(lambda: state.jobs[submission.job].counts.done >= FRAMES_SEEN, "frames")
    yield from until(lambda: state.picture_of(submission.job) is not None, "a picture")
    yield from show_end()
    photograph("job")
    area = properties_area()
    area.type = "PREFERENCES"
    context.preferences.active_section = "ADDONS"
    context.window_manager.addon_search = "Rendermill"
    yield from rounds()
    over(area, lambda: ops.preferences.addon_expand(module=MODULE))
    ops.rendermill.try_connection()
    yield from until(lambda: state.tried is not None, "the trial of the connection")
    yield from rounds()
    photograph("preferences")


def check() -> Steps:
    """What the checks say of a scene with a missing picture and no camera."""
    yield from begin()
    image = bpy.data.images.new("sky", 4, 4)
    image.source, image.filepath, image.use_fake_user = "FILE", "//textures/sky.png", True
    context.scene.camera = None
    yield from only_properties()
    yield from farm_found()
    yield from scene_seen()
    yield from show_end()
    # Blender reads the picture of the job once it has drawn where it goes.
    yield from rounds(PICTURE_ROUNDS)
    photograph("checks")


def alone() -> Steps:
    """The panel of a computer that knows no farm."""
    yield from begin()
    yield from only_properties()
    pump = part("pump")
    yield from until(
        lambda: pump.state_if_loaded() is not None and pump.state().link_text != "", "no farm"
    )
    yield from show_end()
    photograph("alone")


ACTS = {"menu": menu, "panel": panel, "check": check, "alone": alone}

window_steps.run(ACTS[act](), notes, folder / f"{act}.json")
