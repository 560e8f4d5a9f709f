"""What the panel says of the scene and what it lets the artist choose, with a real farm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from rendermill.addon.ui import panels, pump, survey

pytestmark = pytest.mark.bpy

# Blender's stubs know nothing of what an add-on adds.
context: Any = bpy.context
ops: Any = bpy.ops


def texture(folder: Path, name: str, size: int = 4) -> Any:
    """An image of the open file that lies in a file of its own."""
    image: Any = bpy.data.images.new(name, size, size)
    image.filepath_raw = str(folder / f"{name}.png")
    image.file_format = "PNG"
    image.save()
    image.source = "FILE"
    image.use_fake_user = True
    return image


def work_until(is_over: Callable[[], bool]) -> None:
    """Do what Blender's timer does in a window."""

    def worked() -> bool:
        pump.work()
        return is_over()

    pump.wait_for(worked, lambda: None)


def look() -> survey.Report:
    """Look at the open scene and return what was found."""
    assert ops.rendermill.check_scene() == {"FINISHED"}
    report = survey.latest
    assert report is not None
    return report


def said(report: survey.Report) -> str:
    return " ".join(text for text, _ in panels.files_text(report))


def test_the_files_of_the_scene_are_counted_without_a_farm(
    small_scene: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_scene()
    texture(tmp_path, "wood")
    report = look()
    assert report.is_about(context.scene)
    assert report.is_checked
    assert report.size is not None
    assert (report.size.files, report.size.sent_at) == (1, None)
    assert report.size.total_bytes == (tmp_path / "wood.png").stat().st_size
    assert "1 file, " in said(report)
    assert "Never sent" in said(report)
    assert "numpy" not in said(report)
    monkeypatch.setattr(panels, "HAS_NUMPY", False)
    assert "lacks numpy, so after a change most of the .blend is sent again" in said(report)
    # To look is not to send.
    assert pump.state().submissions == {}
    assert not bpy.data.is_dirty or bpy.data.filepath


def test_what_has_changed_since_the_scene_was_sent(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    small_scene(frames=1)
    wood = texture(tmp_path, "wood")
    texture(tmp_path, "iron")
    assert ops.rendermill.render_animation(deliver=False) == {"FINISHED"}
    assert "no other file has changed" in said(look())
    texture(tmp_path, "rust")
    # Bigger, so that no clock of a file system can hide the change.
    wood.scale(32, 32)
    wood.save()
    bpy.data.images.remove(bpy.data.images["iron"])
    report = look()
    assert report.size is not None
    assert (report.size.new, report.size.changed) == (("rust.png",), ("wood.png",))
    assert report.size.gone == 1
    assert "1 new (rust.png), 1 changed (wood.png), 1 gone" in said(report)


def test_a_job_of_the_open_file_is_known_as_such(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    small_scene(frames=1)
    assert ops.rendermill.render_animation(deliver=False) == {"FINISHED"}
    job = context.window_manager.rendermill.last_job
    current = pump.state()
    blend = str(tmp_path / "shot.blend")
    work_until(lambda: bool(current.jobs_here(blend)))
    assert [one.id for one in current.jobs_here(blend)] == [job]
    ops.wm.save_as_mainfile(filepath=str(tmp_path / "other.blend"))
    other = str(tmp_path / "other.blend")
    work_until(lambda: current.blend == other)
    assert current.jobs_here(other) == []
    assert job in [one.id for one in current.shown_jobs(current.jobs[job].submitter, other)[1]]


def test_the_picture_of_a_job_that_is_not_brought_here_comes_by_itself(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    small_scene(frames=1)
    assert ops.rendermill.render_animation(deliver=False) == {"FINISHED"}
    job = context.window_manager.rendermill.last_job
    current = pump.state()
    work_until(lambda: job in current.thumbnails)
    picture = current.picture_of(job)
    assert picture is not None
    assert picture.frame == 1
    assert picture.path.read_bytes()[:2] in (b"\xff\xd8", b"\x89P", b"RI")
    assert not (tmp_path / "render").exists()


def test_a_repair_is_made_and_the_finding_goes(small_scene: Callable[..., Any]):
    small_scene()
    bpy.data.images.new("painted", 4, 4)
    scene = context.scene
    camera = scene.camera
    scene.camera = None
    report = look()
    found = [each for each in report.findings if each.repair is not None]
    assert found, [each.what for each in report.findings]
    finding = next(each for each in found if each.id == "no_camera")
    assert ops.rendermill.repair(place=0, what=finding.what) == {"FINISHED"}
    assert scene.camera == camera
    assert "no_camera" not in [each.id for each in look().findings]
    with pytest.raises(RuntimeError, match="check it again"):
        ops.rendermill.repair(place=0, what="Nobody has found this.")


def work_through() -> survey.Report:
    """Let the timer's work go on until the scene was looked at."""
    while survey.is_under_way():
        pump.work()
    assert survey.latest is not None
    return survey.latest


def test_an_option_or_an_undone_repair_has_the_scene_looked_at_again(
    small_scene: Callable[..., Any],
):
    """What the panel says must not stay when it is no longer so."""
    scene = small_scene()
    scene.camera = None
    cube: Any = bpy.data.objects["Cube"]
    cube.driver_add("location", 0).driver.expression = "len([1 for _ in range(3)])"
    assert not survey.is_under_way() or work_through()
    assert [each.id for each in look().findings] == ["no_camera", "python_drivers"]
    context.window_manager.rendermill.trust_scripts = True
    assert [each.id for each in work_through().findings] == ["no_camera"]

    ops.ed.undo_push(message="before")
    ops.rendermill.repair(place=0, what=work_through().findings[0].what)
    assert work_through().findings == []
    ops.ed.undo_push(message="repaired")
    ops.ed.undo()
    assert [each.id for each in work_through().findings] == ["no_camera"]


def test_a_look_says_why_the_options_forbid_to_send(small_scene: Callable[..., Any], at_home: Any):
    scene = small_scene()
    look()
    scene.rendermill.nodes = "nobody"
    pump.connect()
    work_until(lambda: pump.state().are_nodes_known)
    (finding,) = look().findings
    assert finding.what == 'The farm has no node called "nobody".'
    assert not finding.may_send
    scene.rendermill.nodes = ""
    assert work_through().findings == []
    scene.rendermill.frames = "1-x"
    assert '"1-x" is not a frame' in said(work_through())
    assert panels.frames_text(scene) == "No frame (1-x)"


def test_a_file_dialog_that_was_closed_has_the_scene_looked_at(
    small_scene: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    small_scene()
    look()
    is_open = True
    monkeypatch.setattr(survey, "_is_file_dialog_open", lambda: is_open)
    survey.want_after_repair(opens_dialog=True)
    before = work_through()
    pump.work()
    assert work_through() is before
    is_open = False
    pump.work()
    assert (after := work_through()) is not before
    pump.work()
    assert work_through() is after


def test_nodes_and_scouts_reach_the_farm(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    scene = small_scene(frames=5)
    name = next(iter(at_home.ask("GET", "/api/v1/nodes")["nodes"]))
    ops.rendermill.choose_node(node=name["name"])
    assert scene.rendermill.nodes == name["name"]
    scene.rendermill.max_nodes = 3
    scene.rendermill.scouts = True
    scene.render.use_overwrite = False
    assert ops.rendermill.render_animation(deliver=False) == {"FINISHED"}
    job = context.window_manager.rendermill.last_job
    spec = at_home.ask("GET", f"/api/v1/jobs/{job}")["spec"]
    assert spec["requires"]["nodes"] == [name["id"]]
    assert (spec["max_nodes"], spec["scouts"], spec["overwrite"]) == (3, True, False)
    current = pump.state()
    pump.wait_for(
        lambda: current.jobs[job].waiting_because.startswith("Its scout frames"), lambda: None
    )
    assert current.jobs[job].counts.done == 3
    ops.rendermill.act(job=job, action="approve")
    pump.wait_for(lambda: current.jobs[job].state.value == "done", lambda: None)
    ops.rendermill.choose_node(node=name["name"])
    assert scene.rendermill.nodes == ""


def test_a_node_that_is_not_there_is_said_before_anything_is_sent(
    small_scene: Callable[..., Any], at_home: Any
):
    scene = small_scene(frames=1)
    scene.rendermill.nodes = "nobody"
    with pytest.raises(RuntimeError, match='has no node called "nobody"'):
        ops.rendermill.render_animation()
    assert pump.state().submissions == {}


def test_an_image_waits_for_nobodys_approval(small_scene: Callable[..., Any], at_home: Any):
    scene = small_scene(frames=5)
    scene.rendermill.scouts = True
    assert ops.rendermill.render_image(wait=True) == {"FINISHED"}


def test_options_are_the_scenes_own_and_can_be_undone(small_scene: Callable[..., Any]):
    small_scene()
    ops.ed.undo_push(message="before")
    ops.rendermill.choose_node(node="atlas")
    ops.rendermill.choose_node(node="desk")
    assert context.scene.rendermill.nodes == "atlas, desk"
    ops.ed.undo_push(message="chosen")
    ops.ed.undo()
    assert context.scene.rendermill.nodes == ""
