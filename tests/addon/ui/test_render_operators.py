"""The two buttons, pressed for real: a scene in this Blender, a farm of processes beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import pytest
from rendermill.addon.ui import pump, render_operators
from rendermill.addon.ui.farm_operators import folder_of, question
from rendermill.addon.ui.job_panels import actions_of
from rendermill.protocol.states import JobState

from .test_farm_state import JOB

pytestmark = pytest.mark.bpy

# Blender's stubs know nothing of what an add-on adds.
context: Any = bpy.context
ops: Any = bpy.ops


def press(operator: str = "render_animation", **properties: Any) -> set[str]:
    return getattr(ops.rendermill, operator)(**properties)


def snapshots(home: Path) -> list[Path]:
    return list((home / "cache" / "snapshots").glob("*"))


def test_a_scene_without_a_camera_is_refused_with_a_sentence(
    small_scene: Callable[..., Any], rendermill_home: Path
):
    scene = small_scene()
    bpy.data.objects.remove(scene.camera)
    with pytest.raises(RuntimeError, match=r"has no camera.*Add a camera"):
        press()
    assert snapshots(rendermill_home) == []
    assert pump.state().submissions == {}


def test_a_missing_file_is_refused_unless_it_is_sent_anyway(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    small_scene(frames=1)
    image = bpy.data.images.new("wood", 4, 4)
    image.source = "FILE"
    image.filepath = "//wood.png"
    image.use_fake_user = True
    with pytest.raises(RuntimeError, match=r"wood\.png.*Find Missing Files"):
        press()
    packing = render_operators.last_packing
    assert packing is not None
    assert packing.may_insist
    assert press(send_anyway=True, wait=True) == {"FINISHED"}
    assert (tmp_path / "render" / "shot_001.png").is_file()


@pytest.mark.parametrize("frames", ["5-1", "1-x", "1-2:0"])
def test_frames_that_cannot_be_read_are_refused(small_scene: Callable[..., Any], frames: str):
    small_scene()
    with pytest.raises(RuntimeError, match=r"range|frame|step"):
        press(frames=frames)


def test_without_a_farm_it_says_how_to_get_one(
    small_scene: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    small_scene()
    monkeypatch.setenv("RENDERMILL_HOME", str(tmp_path / "nobody"))
    with pytest.raises(RuntimeError, match=r"No farm was found\. Start one"):
        press()
    assert snapshots(tmp_path / "nobody") == []


def test_every_frame_lands_in_the_output_path(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path, capfd: Any
):
    scene = small_scene(frames=3)
    was_dirty = bpy.data.is_dirty
    assert press(wait=True) == {"FINISHED"}
    names = sorted(path.name for path in (tmp_path / "render").iterdir())
    assert names == ["shot_001.png", "shot_002.png", "shot_003.png"]
    job = at_home.job(context.window_manager.rendermill.last_job)
    assert (job["name"], job["state"], job["counts"]["done"]) == ("shot", "done", 3)
    # Nothing of the artist's session has changed.
    assert (bpy.data.is_dirty, bpy.data.filepath) == (was_dirty, str(tmp_path / "shot.blend"))
    assert scene.render.filepath == "//render/shot_###"
    assert snapshots(at_home.folder / "home") == []
    assert "3 of 3 frames" in capfd.readouterr().out


def test_options_of_the_scene_and_of_the_call(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    scene = small_scene(frames=9)
    scene.rendermill.frames = "2-4:2"
    scene.rendermill.priority = 70
    assert press(wait=True) == {"FINISHED"}
    job = at_home.job(context.window_manager.rendermill.last_job)
    assert (job["frames"], job["priority"]) == ("2, 4", 70)
    assert press(frames="-1, 7", priority=30, job_name="By hand", wait=True) == {"FINISHED"}
    job = at_home.job(context.window_manager.rendermill.last_job)
    assert (job["name"], job["frames"], job["priority"]) == ("By hand", "-1, 7", 30)
    names = {path.name for path in (tmp_path / "render").iterdir()}
    assert names == {Path(scene.render.frame_path(frame=frame)).name for frame in (-1, 2, 4, 7)}


def test_an_image_is_the_current_frame(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    scene = small_scene(frames=9)
    scene.frame_set(6)
    # The range is that of animations.
    scene.rendermill.frames = "1-3"
    assert press("render_image", wait=True) == {"FINISHED"}
    assert [path.name for path in (tmp_path / "render").iterdir()] == ["shot_006.png"]


def test_unsaved_changes_are_sent(small_scene: Callable[..., Any], at_home: Any):
    scene = small_scene(frames=1)
    scene.render.resolution_x = 40
    assert press(wait=True) == {"FINISHED"}
    job_id = context.window_manager.rendermill.last_job
    frame = at_home.ask("GET", f"/api/v1/jobs/{job_id}/frames/1")["frame"]
    spec = at_home.ask("GET", f"/api/v1/jobs/{job_id}")["spec"]
    assert frame["state"] == "done"
    assert spec["image"]["width"] == 40


def test_without_delivery_the_frames_stay_on_the_farm_until_they_are_fetched(
    small_scene: Callable[..., Any], at_home: Any, tmp_path: Path
):
    small_scene(frames=2)
    assert press(deliver=False) == {"FINISHED"}
    job_id = context.window_manager.rendermill.last_job
    assert not (tmp_path / "render").exists()
    assert ops.rendermill.fetch(job=job_id) == {"FINISHED"}
    current = pump.state()
    pump.wait_for(
        lambda: job_id in current.deliveries and current.deliveries[job_id].is_over, lambda: None
    )
    names = sorted(path.name for path in (tmp_path / "render").iterdir())
    assert names == ["shot_001.png", "shot_002.png"]
    # As in a Blender that was closed since: nothing has come home in this one.
    current.deliveries.clear()
    assert folder_of(job_id) == tmp_path / "render"
    assert folder_of("nobodys") is None
    with pytest.raises(RuntimeError, match="was not sent from this computer"):
        ops.rendermill.open_folder(job="nobodys")


def test_a_job_is_paused_cancelled_and_removed_from_here(
    small_scene: Callable[..., Any], at_home: Any
):
    small_scene(frames=9)
    assert press(deliver=False) == {"FINISHED"}
    current = pump.state()
    job_id = context.window_manager.rendermill.last_job
    ops.rendermill.act(job=job_id, action="pause")
    pump.wait_for(lambda: current.jobs[job_id].paused or current.notice != "", lambda: None)
    assert current.notice == ""
    ops.rendermill.act(job=job_id, action="cancel")
    pump.wait_for(lambda: current.jobs[job_id].state.value == "cancelled", lambda: None)
    ops.rendermill.act(job=job_id, action="pause")
    pump.wait_for(lambda: current.notice != "", lambda: None)
    # Which button it was is said with why: the answer may come when others have been pressed.
    assert current.notice.startswith('Pause "shot" was not done. ')
    assert "cancelled" in current.notice
    assert current.wishes == {}
    ops.rendermill.act(job=job_id, action="delete")
    pump.wait_for(lambda: job_id not in current.jobs, lambda: None)


def test_what_failed_can_be_tried_again_a_film_too():
    actions = {
        state: [action for action, *_ in actions_of(dataclasses.replace(JOB, state=state))]
        for state in (JobState.RENDERING, JobState.FAILED)
    }
    assert actions == {
        JobState.RENDERING: ["pause", "cancel"],
        JobState.FAILED: ["retry", "delete"],
    }


def test_the_way_to_the_page_is_private_and_leads_to_the_job(addon: Any, at_home: Any):
    from rendermill.addon.client.status_page import write_way_in

    page = write_way_in(at_home.url, "/jobs/abc")
    assert page.stat().st_mode & 0o777 == 0o600
    text = page.read_text()
    assert at_home.token in text
    assert "&amp;to=/jobs/abc" in text


def test_a_question_names_the_job_and_no_button_of_it_is_called_as_that_which_does_nothing():
    for action in ("cancel", "delete", "reject"):
        asked = question(action, "mill {braces} <b>")
        assert asked is not None
        title, message, button = asked
        assert '"mill {braces} <b>"' in title
        assert title.endswith("?")
        assert message.endswith(".")
        assert "Cancel" not in button
    assert question("pause", "mill") is None
