"""A disk that is full, under a node: it says so and takes nothing; no frame is blamed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rendermill.node.room import AGAIN_PART, RESERVE_BYTES
from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until
from .mounts import fill, free_bytes, small_disk

DISK_BYTES = int(RESERVE_BYTES * AGAIN_PART) + 32 * 1024**2
"""Room for a node that renders small frames, and little to fill."""
FRAMES = 12
NO_FAILURE = {"rendering", "done", "lost", "returned", "superseded"}
"""Outcomes of an attempt that blame neither frame nor node."""


@pytest.fixture
def small_farm(farm: FarmUnderFault) -> Iterator[FarmUnderFault]:
    """A farm whose node "small" works on a disk of its own."""
    with small_disk(farm.folder / "small", DISK_BYTES):
        yield farm
        # Whatever still writes there ends before its disk does.
        farm.__exit__()


def reason(farm: FarmUnderFault, node: str) -> str:
    """Why the node takes no frames, as pages show it; '' when it takes them."""
    found = farm.farm.node(node)
    return str(found.get("reason", "")) if found.get("state") == "unavailable" else ""


def wait_full(farm: FarmUnderFault, node: str) -> None:
    """Wait until the farm shows that the node's disk is full, and that it holds no frame."""
    wait_until(
        lambda: "is full" in reason(farm, node),
        lambda: f"the farm shows why: {farm.farm.node(node)}\n{farm.story()}",
    )
    said = reason(farm, node)
    assert str(farm.folder / node) in said
    assert "MiB free of the" in said
    assert "goes on by itself" in said


def check_nobody_blamed(farm: FarmUnderFault, job: FollowedJob) -> None:
    """The full disk is no failure of any frame."""
    assert farm.view(job)["counts"]["failed"] == 0
    for frame in job.frames:
        attempts = farm.attempts(job, frame)
        assert {attempt["outcome"] for attempt in attempts} <= NO_FAILURE, (frame, attempts)


def test_alone_it_waits_for_room_and_finishes(
    small_farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """To the last byte, so that Blender cannot write the frame in progress."""
    farm = small_farm.start("small")
    job = farm.submit(scene, f"1-{FRAMES}")
    wait_until(lambda: farm.done(job) >= 2, lambda: f"frames are done\n{farm.story()}")
    filler = fill(farm.folder / "small")
    wait_full(farm, "small")
    wait_until(
        lambda: farm.view(job)["counts"]["leased"] == 0 and not farm.outbox("small"),
        lambda: f"it gives back what it cannot keep: {farm.view(job)}\n{farm.story()}",
    )
    if farm.done(job) == FRAMES:
        # On a busy machine the job may be over before its disk is full: then another one waits.
        job = farm.submit(scene, f"1-{FRAMES}")
    assert farm.done(job) < FRAMES
    assert farm.is_alive("small")
    filler.unlink()
    farm.wait_done(job)
    assert reason(farm, "small") == ""
    assert free_bytes(farm.folder / "small") > RESERVE_BYTES
    check_nobody_blamed(farm, job)
    farm.check(seen=seen)


def test_another_node_takes_over(
    small_farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Less than its reserve is left: it says so before anything fails."""
    farm = small_farm.start("small")
    job = farm.submit(scene, f"1-{FRAMES}")
    wait_until(lambda: farm.done(job) >= 2, lambda: f"frames are done\n{farm.story()}")
    fill(farm.folder / "small", leave_bytes=RESERVE_BYTES // 2)
    wait_full(farm, "small")
    farm.start_node("other")
    farm.wait_ready("other")
    farm.wait_done(job)
    assert "is full" in reason(farm, "small")
    check_nobody_blamed(farm, job)
    farm.check(seen=seen)
