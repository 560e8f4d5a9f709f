"""A node that stands still past its lease and wakes up: late results count once, or not at all."""

from __future__ import annotations

import time

from rendermill.protocol.scene import CapturedScene

from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until


def leased_to(farm: FarmUnderFault, job: FollowedJob, node: str) -> list[int]:
    """Frames that a node holds, as the coordinator shows them."""
    own = farm.farm.node(node).get("id", "")
    return [f["frame"] for f in farm.frames(job) if f["state"] == "leased" and f["node"] == own]


def outcomes(farm: FarmUnderFault, job: FollowedJob, frame: int) -> list[tuple[str, str]]:
    return [(one["node_name"], one["outcome"]) for one in farm.attempts(job, frame)]


def test_a_node_wakes_up_after_another_has_done_its_frames(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Its late result changes nothing, is acknowledged, and the other node's work stays."""
    farm.start("sleeper")
    job = farm.submit(scene, "1-6")
    wait_until(lambda: farm.done(job) >= 1, "a frame is done")
    wait_until(lambda: leased_to(farm, job, "sleeper") != [], "the sleeper holds a frame")
    farm.freeze("sleeper")
    held = leased_to(farm, job, "sleeper")
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
    job = farm.submit(scene, "1-4")
    wait_until(lambda: leased_to(farm, job, "only") != [], "the node holds a frame")
    farm.freeze("only")
    wait_until(
        lambda: leased_to(farm, job, "only") == [], lambda: f"leases run out\n{farm.story()}"
    )
    farm.thaw("only")
    farm.check(seen=seen, may_repeat=["only"])


def test_a_coordinator_that_stood_still_takes_nothing_away(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """It did not listen, so silence in that time says nothing: no lease is lost over it."""
    farm.start("one")
    job = farm.submit(scene, "1-6")
    wait_until(lambda: leased_to(farm, job, "one") != [], "the node holds a frame")
    farm.freeze("coordinator")
    # Nothing happens that could be waited for: it is the time itself that is the fault.
    time.sleep(farm.lease_seconds * 1.5)
    farm.thaw("coordinator")
    disk = farm.check(seen=seen)
    lost = [one for one in disk.attempts(job.id) if one["outcome"] == "lost"]
    assert lost == []
