"""A walk through the add-on in a Blender window; runs inside Blender, started by its test.

An artist's first hour: install the zip, look at the preferences and the panel, run into a check,
press the button, follow, cancel, look at scout frames, close Blender, open it again and approve
them; on a computer of their own, start a farm, render on it, and let it go on without Blender. Real
operators, real panels. Each step notes what it saw; the test reads
the notes. Arguments after ``--``: the act, the extension's zip, a folder for scene and pictures,
the file for the notes.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import bpy

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))
window_steps: Any = importlib.import_module("window_steps")
context, ops, drawn = window_steps.context, window_steps.ops, window_steps.drawn
over, photograph, press = window_steps.over, window_steps.photograph, window_steps.press
rounds, until = window_steps.rounds, window_steps.until

Steps = Generator[None, None, None]
MODULE = "bl_ext.user_default.rendermill"
SHORT, LONG = 6, 24
"""Frames of the jobs."""
SCOUTS = 3
"""Frames that are rendered before the artist says that the rest may be."""
HOME_COORDINATOR = ("--host", "127.0.0.1", "--port", "0")

act, archive, work, notes_file = sys.argv[sys.argv.index("--") + 1 :]
folder = Path(work)
scene_file = folder / "shot.blend"
notes: dict[str, Any] = {}


def part(name: str) -> Any:
    """Return a module of the installed add-on."""
    return importlib.import_module(f"{MODULE}.addon.ui.{name}")


def classes() -> list[Any]:
    """Return every class of the add-on that Blender draws, opened panels first."""
    found = [
        one
        for kind in (bpy.types.Panel, bpy.types.Operator, bpy.types.AddonPreferences)
        for one in kind.__subclasses__()
        if one.__module__.startswith(MODULE)
    ]
    return sorted(found, key=lambda one: one.__name__)


def open_all_panels() -> None:
    """Show every sub-panel open; Blender remembers this only once it has drawn one."""
    panels = [one for one in classes() if issubclass(one, bpy.types.Panel)]
    closed = [one for one in panels if "DEFAULT_CLOSED" in getattr(one, "bl_options", ())]
    # A parent before its children: Blender takes the children along when it forgets a parent.
    for one in closed:
        bpy.utils.unregister_class(one)
        one.bl_options = one.bl_options - {"DEFAULT_CLOSED"}
        bpy.utils.register_class(one)


def visible_panels() -> list[str]:
    """Return the panels that have something to show now."""
    return [
        one.__name__
        for one in classes()
        if issubclass(one, bpy.types.Panel) and (not hasattr(one, "poll") or one.poll(context))
    ]


def small_scene(frames: int) -> None:
    """Make the open scene one of a few tiny frames."""
    scene = context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    # Debian's Blender has no denoiser.
    scene.cycles.use_denoising = False
    scene.render.resolution_x, scene.render.resolution_y = 64, 36
    scene.frame_start, scene.frame_end = 1, frames
    scene.render.filepath = "//render/shot_###"


def look_for_the_farm() -> Steps:
    """Wait until the add-on shows the farm and its node."""
    pump = part("pump")
    yield from until(lambda: pump.problem() != "" or pump.state_if_loaded() is not None, "client")
    notes["problem"] = pump.problem()
    state = pump.state()
    yield from until(lambda: state.farm is not None and state.nodes_ready() == 1, "a node ready")
    notes["farm"] = state.farm.farm


def first_hour() -> Steps:
    """Install, enable, look around, send; leave a job behind that is not done."""
    installed = ops.extensions.package_install_files(
        filepath=archive, repo="user_default", enable_on_install=True
    )
    notes["installed"] = [sorted(installed), MODULE in context.preferences.addons]
    open_all_panels()
    window_steps.watch(classes())
    area = window_steps.largest_area()
    yield from window_steps.show_output_properties(area)
    yield from look_for_the_farm()
    yield from see_panels(area, "panel")
    yield from see_preferences(area)
    yield from window_steps.show_output_properties(area)

    small_scene(SHORT)
    ops.wm.save_as_mainfile(filepath=str(scene_file))
    yield from escape_at_once(area)
    yield from repair_a_scene(area)
    yield from run_into_a_check(area)
    yield from send_by_search(area)
    yield from see_panels(area, "delivered")
    over(area, lambda: ops.wm.call_menu(name="TOPBAR_MT_render"))
    yield from rounds()
    photograph(folder / "menu.png")
    yield from press("ESC")
    yield from cancel_a_job(area)
    yield from load_anew()
    yield from leave_a_job()


def see_panels(area: Any, name: str) -> Steps:
    """Photograph the panel from top to end, and note which panels were not drawn."""
    drawn.clear()
    window_steps.scroll(area, 4000)
    photograph(folder / f"{name}-top.png")
    window_steps.scroll(area, -8000)
    photograph(folder / f"{name}.png")
    yield from rounds()
    notes[f"not drawn: {name}"] = [one for one in visible_panels() if not drawn[one]]


def see_preferences(area: Any) -> Steps:
    """Open the add-on's page of the preferences."""
    area.type = "PREFERENCES"
    context.preferences.active_section = "ADDONS"
    context.window_manager.addon_search = "Rendermill"
    yield from rounds()
    over(area, lambda: ops.preferences.addon_expand(module=MODULE))
    yield from until(lambda: drawn["RENDERMILL_AddonPreferences"] > 0, "the preferences drawn")
    photograph(folder / "preferences.png")


def send(area: Any) -> Any:
    """Press *Render Animation on Farm*."""
    return over(area, lambda: ops.rendermill.render_animation("INVOKE_DEFAULT"))


def escape_at_once(area: Any) -> Steps:
    """Escape while the scene is packed: nothing is sent, nothing stays."""
    send(area)
    yield from press("ESC")
    snapshots = Path(os.environ["RENDERMILL_HOME"], "cache", "snapshots")
    left = len(list(snapshots.glob("*")))
    notes["after escape"] = [len(part("pump").state().submissions), left]


def repair_a_scene(area: Any) -> Steps:
    """No camera: the panel says so before anything is sent, and its button chooses one."""
    survey = part("survey")
    camera, context.scene.camera = context.scene.camera, None
    over(area, ops.rendermill.check_scene)

    def finding() -> Any:
        found = survey.latest.findings if survey.latest is not None else ()
        return next((each for each in found if each.id == "no_camera"), None)

    yield from until(lambda: finding() is not None, "the check of the camera")
    yield from see_panels(area, "check")
    notes["repair"] = finding().repair.label
    over(area, lambda: ops.rendermill.repair("EXEC_DEFAULT", what=finding().what))
    yield from until(lambda: not survey.is_under_way() and finding() is None, "the check anew")
    notes["repaired"] = context.scene.camera == camera


def run_into_a_check(area: Any) -> Steps:
    """A file that is missing: the add-on asks, and Escape sends nothing."""
    image = bpy.data.images.new("wood", 4, 4)
    image.source, image.filepath, image.use_fake_user = "FILE", "//wood.png", True
    drawn.clear()
    send(area)
    yield from until(lambda: drawn["RENDERMILL_OT_send_anyway"] > 0, "the dialog of checks")
    photograph(folder / "dialog.png")
    yield from press("ESC")
    notes["after dialog"] = len(part("pump").state().submissions)
    bpy.data.images.remove(image)


def send_by_search(area: Any) -> Steps:
    """Find the operator with F3 by its name, and follow the job to its last frame."""
    state = part("pump").state()
    over(area, lambda: ops.wm.search_operator("INVOKE_DEFAULT"))
    yield from rounds()
    yield from window_steps.write("render animation on farm")
    photograph(folder / "search.png")
    yield from press("RET")
    yield from until(lambda: bool(state.submissions), "a submission begun by the search")
    photograph(folder / "sending.png")
    yield from until(
        lambda: any(entry.is_over for entry in state.submissions.values()), "every frame here"
    )
    notes["submissions"] = [entry.step.value for entry in state.submissions.values()]
    notes["files"] = pictures_in("render")
    notes["last job"] = context.window_manager.rendermill.last_job in state.jobs


def new_job(area: Any, frames: int, output: str) -> Steps:
    """Send the scene with more frames to another folder; `last_job` is its id then."""
    state = part("pump").state()
    context.scene.frame_end = frames
    context.scene.render.filepath = f"//{output}/shot_###"
    ops.wm.save_mainfile()
    before = len(state.submissions)
    send(area)
    yield from until(lambda: len(state.submissions) > before, "a submission")
    request = max(state.submissions)
    yield from until(lambda: not state.submissions[request].is_sending, "the job accepted")
    yield from until(
        lambda: context.window_manager.rendermill.last_job == state.submissions[request].job,
        "the button's own end",
    )


def cancel_a_job(area: Any) -> Steps:
    """Stop a job with its button; it waits for a word about its scouts, so it cannot be over."""
    state = part("pump").state()
    context.scene.rendermill.scouts = True
    yield from new_job(area, LONG, "cancelled")
    job = context.window_manager.rendermill.last_job
    over(area, lambda: ops.rendermill.act("EXEC_DEFAULT", job=job, action="cancel"))
    yield from until(lambda: state.jobs[job].state.value == "cancelled", "the job cancelled")
    notes["cancelled"] = state.jobs[job].counts.done < LONG


def load_anew() -> Steps:
    """Open the file again: the farm is followed all along."""
    pump = part("pump")
    state = pump.state()
    ops.wm.open_mainfile(filepath=str(scene_file))
    yield from rounds()
    notes["after load"] = [
        pump.state() is state,
        state.link.value,
        bpy.app.timers.is_registered(pump._tick),
    ]


def pictures_in(name: str) -> list[str]:
    """Return the names of the frames that are home in a folder."""
    place = folder / name
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def leave_a_job() -> Steps:
    """Close Blender while a job stands with its scout frames here and the others not rendered."""
    state = part("pump").state()
    area = window_steps.largest_area()
    context.scene.rendermill.scouts = True
    yield from new_job(area, LONG, "left")
    job = context.window_manager.rendermill.last_job
    yield from until(lambda: waits_for_a_word(job), "the scout frames")
    yield from until(lambda: len(pictures_in("left")) == SCOUTS, "the scout frames at home")
    yield from see_panels(area, "scouts")
    yield from act_on(area, job, "pause", lambda: state.jobs[job].paused)
    notes["left"] = [job, pictures_in("left")]
    ops.wm.save_userpref()
    yield from close()


def waits_for_a_word(job: str) -> bool:
    """Whether the panel shows *Approve the Rest* for a job."""
    view = part("pump").state().jobs.get(job)
    return view is not None and part("wording").waits_for_approval(view)


def act_on(area: Any, job: str, action: str, is_so: Callable[[], bool]) -> Steps:
    """Press a button of a job, and see its effect."""
    over(area, lambda: ops.rendermill.act("EXEC_DEFAULT", job=job, action=action))
    yield from until(is_so, f"the effect of {action}")


def close() -> Steps:
    """Close Blender; it ends when this step is over."""
    window_steps.close_blender(notes, Path(notes_file))
    yield from until(lambda: False, "the end of Blender")


def is_home(job: str) -> bool:
    """Whether all that a job has to bring has been brought."""
    delivery = part("pump").state().deliveries.get(job)
    return delivery is not None and delivery.is_over


def next_morning() -> Steps:
    """Open Blender again: the job is found, its scouts are approved, the rest comes home."""
    notes["enabled"] = MODULE in context.preferences.addons
    open_all_panels()
    window_steps.watch(classes())
    yield from look_for_the_farm()
    ops.wm.open_mainfile(filepath=str(scene_file))
    yield from rounds()
    context.preferences.view.ui_scale = 2.0
    area = window_steps.largest_area()
    yield from window_steps.show_output_properties(area)
    state = part("pump").state()
    paused = [job for job in state.jobs.values() if job.paused]
    notes["found"] = [job.id for job in paused]
    yield from see_panels(area, "twice")
    yield from see_preferences(area)
    job = paused[0].id
    yield from act_on(area, job, "resume", lambda: not state.jobs[job].paused)
    yield from until(lambda: waits_for_a_word(job), "the question about the scout frames")
    notes["not approved yet"] = state.jobs[job].counts.done
    yield from act_on(area, job, "approve", lambda: not waits_for_a_word(job))
    yield from until(lambda: is_home(job), "the frames of the job that was left")
    notes["files"] = pictures_in("left")
    context.preferences.view.ui_scale = 1.0
    ops.preferences.addon_disable(module=MODULE)
    yield from rounds()
    notes["threads"] = [t.name for t in threading.enumerate() if "rendermill" in t.name]
    yield from close()


def at_home() -> Steps:
    """No farm anywhere: start one, let this computer render, and go on when Blender is closed."""
    ops.preferences.addon_enable(module=MODULE)
    open_all_panels()
    window_steps.watch(classes())
    area = window_steps.largest_area()
    yield from window_steps.show_output_properties(area)
    pump, node_here = part("pump"), part("node_here")
    yield from until(
        lambda: pump.state_if_loaded() is not None and pump.state().link_text != "", "no farm"
    )
    state, here = pump.state(), node_here.here
    yield from see_panels(area, "alone")
    # There is no terminal in Blender.
    notes["alone"] = state.farm is None and "`" not in state.link_text
    # As the button does, but on a port that is free here.
    node_here.start_farm("Shed", part("node_operators")._connect, HOME_COORDINATOR)
    yield from until(lambda: state.farm is not None or here.farm_sentence != "", "a farm")
    notes["farm"] = [state.farm and state.farm.farm, here.farm_sentence]

    preferences = part("preferences").stored()
    preferences.node_when = "ALWAYS"
    ops.rendermill.node_here()
    yield from until(lambda: state.nodes_ready() == 1, "the node on this computer")
    yield from see_preferences(area)
    notes["node"] = [here.doing.value, preferences.node_here]
    yield from window_steps.show_output_properties(area)

    small_scene(SHORT)
    context.scene.render.filepath = "//home/shot_###"
    ops.wm.save_as_mainfile(filepath=str(folder / "home.blend"))
    send(area)
    yield from until(
        lambda: any(entry.is_over for entry in state.submissions.values()), "every frame here"
    )
    notes["files"] = pictures_in("home")

    ops.rendermill.node_here()
    yield from until(lambda: here.doing.value == "off", "the node's end")
    notes["off"] = not preferences.node_here

    preferences.node_stays = True
    ops.rendermill.node_here()
    yield from until(lambda: here.doing.value == "running", "the node once more")
    # The rest waits for a word until Blender is closed, so that none of it is rendered before.
    context.scene.rendermill.scouts = True
    yield from new_job(area, LONG, "overnight")
    job = context.window_manager.rendermill.last_job
    yield from until(lambda: waits_for_a_word(job), "the scout frames")
    notes["overnight"] = [job, here.node.pid]
    ops.wm.save_userpref()
    yield from close()


def at_home_again() -> Steps:
    """The node went on without Blender: it is found, its frames come home, it can be stopped."""
    open_all_panels()
    window_steps.watch(classes())
    pump, here = part("pump"), part("node_here").here
    yield from until(lambda: here.doing.value == "running", "the node that went on")
    preferences = part("preferences").stored()
    notes["went on"] = [here.node.pid, preferences.node_here, preferences.node_stays]
    ops.wm.open_mainfile(filepath=str(folder / "home.blend"))
    yield from rounds()
    area = window_steps.largest_area()
    yield from window_steps.show_output_properties(area)
    state = pump.state()
    yield from until(lambda: bool(state.jobs), "the jobs of the farm")
    job = max(state.jobs.values(), key=lambda one: one.created).id
    yield from until(lambda: is_home(job), "the frames that were rendered meanwhile")
    notes["overnight"] = [job, pictures_in("overnight")]
    yield from see_preferences(area)
    ops.rendermill.node_here()
    yield from until(lambda: here.doing.value == "off", "the end of the node that went on")

    preferences.node_stays = False
    ops.rendermill.node_here()
    yield from until(lambda: here.doing.value == "running", "a node that stays no longer")
    over(area, lambda: ops.rendermill.stop_farm("EXEC_DEFAULT"))
    yield from until(lambda: here.coordinator is None, "the coordinator's end")
    # The node goes with Blender, for nobody says any more that it shall stay.
    yield from close()


ACTS = {
    "first hour": first_hour,
    "next morning": next_morning,
    "at home": at_home,
    "at home again": at_home_again,
}

window_steps.run(ACTS[act](), notes, Path(notes_file))
