"""From a .blend on the artist's disk to frames in the artist's output folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy
from PIL import Image

from .conftest import LOCAL_RENDER, NAMES, run_in_blender


def pixels(file: Path) -> numpy.ndarray:
    with Image.open(file) as image:
        return numpy.asarray(image).copy()


def test_every_frame_comes_back_as_blender_would_have_made_it(
    farm, scenes: Callable[[int, int], Path], tmp_path: Path
) -> None:
    blend = scenes(4, 8)
    farm.start_coordinator()
    farm.start_node("one")
    farm.start_node("two")
    farm.wait_ready(["one", "two"])

    done = farm.command("submit", str(blend), "--wait", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    output = blend.parent / "render"
    assert sorted(file.name for file in output.iterdir()) == [
        f"shot_{frame:03}.png" for frame in range(1, 9)
    ]
    run_in_blender(LOCAL_RENDER, str(blend), f"{tmp_path}/local_###", "1,4,8")
    for frame in (1, 4, 8):
        here, there = tmp_path / f"local_{frame:03}.png", output / f"shot_{frame:03}.png"
        assert (pixels(here) == pixels(there)).all(), f"frame {frame} differs"
    job = farm.job(result["id"])
    assert job["state"] == "done"
    assert job["counts"]["done"] == 8
    workers = {
        frame["node"] for frame in farm.ask("GET", f"/api/v1/jobs/{job['id']}/frames")["frames"]
    }
    assert workers <= {farm.node("one")["id"], farm.node("two")["id"]}
    # What was run can be read by anyone.
    script = farm.command("job", result["id"], "--json")
    assert script.returncode == 0


def test_a_second_submission_sends_next_to_nothing_and_fetch_brings_frames_elsewhere(
    farm, scenes: Callable[[int, int], Path], tmp_path: Path
) -> None:
    blend = scenes(1, 3)
    farm.start_coordinator()
    farm.start_node("one")
    farm.wait_ready(["one"])
    first = json.loads(
        farm.command("submit", str(blend), "--wait", "--json").stdout.splitlines()[-1]
    )
    second = json.loads(
        farm.command("submit", str(blend), "--frames", "2", "--json").stdout.splitlines()[-1]
    )
    assert second["sent_bytes"] < first["sent_bytes"] * 0.03

    elsewhere = tmp_path / "elsewhere"
    fetched = farm.command("fetch", first["id"], "--output", str(elsewhere))

    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    files = sorted(elsewhere.rglob("*.png"))
    assert [file.name for file in files] == [f"shot_{frame:03}.png" for frame in (1, 2, 3)]


def test_frames_given_by_hand_negative_ones_too(
    farm, scenes: Callable[[int, int], Path], tmp_path: Path
) -> None:
    blend = scenes(1, 3)
    farm.start_coordinator()
    farm.start_node("one")
    done = farm.command("submit", str(blend), "--frames=-2--1, 5-9:2", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    # Blender itself says how it pads negative frames.
    run_in_blender(NAMES, str(blend), str(tmp_path / "names"), "-2,-1,5,7,9")
    assert sorted(file.name for file in (blend.parent / "render").iterdir()) == sorted(
        (tmp_path / "names").read_text().splitlines()
    )
