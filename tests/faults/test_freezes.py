"""A node that stands still past its lease and wakes up: late results count once, or not at all."""

from __future__ import annotations

import time
from typing import Any

from rendermill.protocol.scene import CapturedScene

from .conftest import StartFarm
from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until

TRIES = 3


def leased_to(farm: FarmUnderFault, job: FollowedJob, node: str) -> list[int]:
    """Frames that a node holds, as the coordinator shows them."""
    own = farm.farm.node(node).get("id", "")
    return [f["frame"] for f in farm.frames(job) if f["state"] == "leased" and f["node"] == own]


def freeze_at_work(
    farm: FarmUnderFault, scene: CapturedScene, node: str, frames: str
) -> tuple[FollowedJob, list[int]]:
    """Freeze a node that holds frames of a new job, and wait until it has lost them.

    Returns the job and these frames. On a busy machine a job may be over before anyone freezes its
    node: then the node gets another.
    """
    while True:
        job = farm.submit(scene, frames)
        wait_until(lambda job=job: farm.done(job) >= 1, "a frame is done")
        farm.freeze(node)
        wait_until(
            lambda job=job: leased_to(farm, job, node) == [],
            lambda: f"leases run out\n{farm.story()}",
        )
        lost = [f for f in job.frames if (node, "lost") in outcomes(farm, job, f)]
        if lost and farm.view(job)["state"] != "done":
            return job, lost
        farm.thaw(node)
        farm.wait_done(job)


def outcomes(farm: FarmUnderFault, job: FollowedJob, frame: int) -> list[tuple[str, str]]:
    return [(one["node_name"], one["outcome"]) for one in farm.attempts(job, frame)]


def test_a_node_wakes_up_after_another_has_done_its_frames(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Its late result changes nothing, is acknowledged, and the other node's work stays."""
    farm.start("sleeper")
    job, held = freeze_at_work(farm, scene, "sleeper", "1-6")
    farm.start_node("heir")
    farm.wait_ready("heir")
    wait_until(lambda: farm.view(job).get("state") == "done", lambda: f"done\n{farm.story()}")
    before = {frame["frame"]: frame["files"] for frame in farm.frames(job)}
    by_heir = [frame for frame in held if ("heir", "done") in outcomes(farm, job, frame)]
    assert by_heir, f"the heir took over none of {held}"

    farm.thaw("sleeper")

    wait_until(
        lambda: farm.farm.node("sleeper").get("state") == "idle" and farm.outbox("sleeper") == [],
        lambda: f"the sleeper is back and has nothing left\n{farm.story()}",
    )
    after = {frame["frame"]: frame["files"] for frame in farm.frames(job)}
    assert after == before
    farm.check(seen=seen, may_repeat=["sleeper"])


def test_a_node_wakes_up_and_its_frame_is_still_open(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Nobody else was there: what it had rendered counts, although its lease had run out."""
    farm.start("only")
    freeze_at_work(farm, scene, "only", "1-4")
    farm.thaw("only")
    farm.check(seen=seen, may_repeat=["only"])


def test_a_coordinator_that_stood_still_takes_nothing_away(
    new_farm: StartFarm, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """It did not listen, so silence in that time says nothing: no lease is lost over it."""
    lost: list[dict[str, Any]] = []
    # A node that itself gets no processor for a lease's time rightly loses one, on a machine that
    # is busy enough. What the coordinator got wrong, it would get wrong each time.
    for _ in range(TRIES):
        farm = new_farm()
        farm.start("one")
        job = farm.submit(scene, "1-6")
        wait_until(lambda farm=farm, job=job: farm.done(job) >= 1, "a frame is done")
        farm.freeze("coordinator")
        # Nothing happens that could be waited for: it is the time itself that is the fault.
        time.sleep(farm.lease_seconds * 1.5)
        farm.thaw("coordinator")
        disk = farm.check(seen=seen)
        lost = [one for one in disk.attempts(job.id) if one["outcome"] == "lost"]
        if not lost:
            break
    assert lost == []
