"""Processes killed in the middle of a job: every frame still comes, each once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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

    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done", 240)
    assert [frame["state"] for frame in frames(farm, job)] == ["done"] * 6


def test_blender_is_killed_and_the_frame_says_so_and_is_rendered_again(
    farm, scenes: Callable[[int, int], Path]
) -> None:
    import psutil

    blend = scenes(SLOW, 4)
    farm.start_coordinator()
    node = farm.start_node("one")
    farm.wait_ready(["one"])
    job = submit(farm, blend)
    wait_until(
        lambda: any(f["state"] == "leased" and f["progress"] > 0 for f in frames(farm, job)),
        "a frame makes progress",
    )
    frame = next(f["frame"] for f in frames(farm, job) if f["progress"] > 0)
    blenders = psutil.Process(node.process.pid).children(recursive=True)
    assert blenders

    for blender in blenders:
        blender.kill()

    wait_until(lambda: farm.job(job)["state"] == "done", "the job is done", 240)
    assert [f["state"] for f in frames(farm, job)] == ["done"] * 4
    told = attempts(farm, job, frame)
    assert [attempt["outcome"] for attempt in told] == ["crash", "done"]
    assert told[0]["reason"]
