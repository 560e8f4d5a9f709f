"""Processes killed in the middle of a job: every frame still comes, each once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import psutil

from .conftest import wait_until

SLOW = 1500
"""Samples that make a frame of the small scene take about a second on one core."""


def submit(farm, blend: Path) -> str:
    done = farm.command("submit", str(blend), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])["id"]


def frames(farm, job: str) -> list[dict]:
    return farm.ask("GET", f"/api/v1/jobs/{job}/frames")["frames"]


def attempts(farm, job: str, frame: int) -> list[dict]:
    return farm.ask("GET", f"/api/v1/jobs/{job}/frames/{frame}")["attempts"]


def test_the_coordinator_is_killed_and_no_finished_frame_is_rendered_again(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    blend = scenes(SLOW, 8)
    farm.start_coordinator()
    farm.start_node("one")
    farm.wait_ready(["one"])
    job = submit(farm, blend)
    wait_until(lambda: farm.job(job)["counts"]["done"] >= 3, "three frames are done")
    before = {
        frame["frame"]: frame["files"][0]["sha256"]
        for frame in frames(farm, job)
        if frame["state"] == "done"
    }

    farm.members["coordinator"].kill()
    farm.start_coordinator()

    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done")
    after = {frame["frame"]: frame for frame in frames(farm, job)}
    assert sorted(after) == list(range(1, 9))
    for number, sha256 in before.items():
        assert after[number]["files"][0]["sha256"] == sha256
        outcomes = [attempt["outcome"] for attempt in attempts(farm, job, number)]
        assert outcomes == ["done"]
    assert farm.members["one"].alive


def test_a_node_is_killed_and_another_renders_its_frames(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    blend = scenes(SLOW, 6)
    farm.start_coordinator()
    farm.start_node("doomed")
    farm.wait_ready(["doomed"])
    job = submit(farm, blend)
    wait_until(lambda: farm.node("doomed")["state"] == "rendering", "it renders")
    farm.start_node("heir")
    farm.wait_ready(["heir"])

    farm.members["doomed"].kill()

    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done")
    assert [frame["state"] for frame in frames(farm, job)] == ["done"] * 6


def test_blender_is_killed_and_the_frame_says_so_and_is_rendered_again(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    # Frames of several seconds: the one seen to be begun is not done when Blender is killed.
    blend = scenes(5 * SLOW, 3)
    farm.start_coordinator()
    node = farm.start_node("one")
    farm.wait_ready(["one"])
    job = submit(farm, blend)
    # Not by its progress: Cycles renders a picture this small in one go and tells it at the end.
    wait_until(lambda: "frame 1: Rendering" in node.log_tail(), "frame 1 is rendered")

    blenders = psutil.Process(node.process.pid).children(recursive=True)
    assert blenders
    for blender in blenders:
        # One of them may take another along.
        with contextlib.suppress(psutil.NoSuchProcess):
            blender.kill()

    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done")
    assert [f["state"] for f in frames(farm, job)] == ["done"] * 3
    told = {f["frame"]: attempts(farm, job, f["frame"]) for f in frames(farm, job)}
    outcomes = sorted([attempt["outcome"] for attempt in tries] for tries in told.values())
    # The crash blames the frame in progress and no other.
    assert outcomes == [["crash", "done"], ["done"], ["done"]]
    (crash,) = [a for tries in told.values() for a in tries if a["outcome"] == "crash"]
    assert crash["reason"]
