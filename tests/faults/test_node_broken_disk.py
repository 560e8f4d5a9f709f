"""Writes and flushes that fail under a node: final, said in one sentence; no frame is blamed.

What it could not keep goes back to the farm; the node takes nothing more until it is started again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.scene import CapturedScene

from .failing_calls import NEEDS_LIBFIU, Faults
from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until
from .mounts import break_down, image_disk, make_image

FRAMES = 4
HURT = "hurt"
OTHER = "other"
IMAGE_BYTES = 640 * 1024**2
"""Most of it is a hole in a file."""
NO_FAILURE = {"rendering", "done", "lost", "returned", "superseded"}
"""Outcomes of an attempt that blame neither frame nor node."""


def reason(farm: FarmUnderFault) -> str:
    """Why the hurt node takes no frames, as pages show it; '' when it takes them."""
    found = farm.farm.node(HURT)
    return str(found.get("reason", "")) if found.get("state") == "unavailable" else ""


def wait_broken(farm: FarmUnderFault, scene: CapturedScene, job: FollowedJob) -> FollowedJob:
    """Wait until the hurt node says that its disk is broken, at work on the job that is returned.

    On a busy machine the first job may be over before anything was hurt: then there is another.
    """
    while True:
        wait_until(
            lambda job=job: reason(farm) != "" or farm.view(job).get("state") == "done",
            lambda: f"the farm shows what is wrong: {farm.farm.node(HURT)}\n{farm.story()}",
        )
        if reason(farm):
            return job
        job = farm.submit(scene, f"1-{FRAMES}")


def check_said(farm: FarmUnderFault, *words: str) -> None:
    """One sentence says what failed, where, and what to do."""
    said = reason(farm)
    for word in (*words, "Nothing can be relied on there", "started again"):
        assert word in said, said
    assert farm.is_alive(HURT)


def check_nobody_blamed(farm: FarmUnderFault) -> None:
    """The broken disk is no failure of any frame."""
    for job in farm.jobs:
        assert farm.view(job)["counts"]["failed"] == 0
        for frame in job.frames:
            attempts = farm.attempts(job, frame)
            assert {attempt["outcome"] for attempt in attempts} <= NO_FAILURE, (frame, attempts)


def rendered(farm: FarmUnderFault, node: str) -> int:
    """How many frames a node has kept so far."""
    return sum(notice["event"] == "rendered" for notice in farm.notices(node))


class TestCallsThatFail:
    """One call of the C library reports an error, as from a bad sector; the next would succeed."""

    pytestmark = NEEDS_LIBFIU

    @pytest.fixture
    def faults(self, tmp_path: Path) -> Faults:
        return Faults(tmp_path)

    @pytest.mark.parametrize(
        ("point", "where"),
        [
            pytest.param("sync/fsync", "could not be kept in", id="a flush in the outbox"),
            pytest.param("dir/rename", "The scene cache", id="a write to the scene cache"),
        ],
    )
    def test_the_node_takes_nothing_more_until_it_is_started_again(
        self,
        farm: FarmUnderFault,
        scene: CapturedScene,
        seen: dict[int, bytes],
        faults: Faults,
        point: str,
        where: str,
    ) -> None:
        """Alone: the job waits for the start, and then ends."""
        farm.surround(HURT, faults.variables)
        farm.start(HURT)
        # Nothing but the outbox flushes, and the scene comes before any frame.
        faults.enable(farm.pid(HURT), point, errno.EIO, once=True)
        job = farm.submit(scene, f"1-{FRAMES}")
        wait_until(
            lambda: reason(farm) != "",
            lambda: f"the farm shows what is wrong: {farm.farm.node(HURT)}\n{farm.story()}",
        )
        check_said(farm, where, "Input/output error")
        wait_until(
            lambda: farm.view(job)["counts"]["leased"] == 0,
            lambda: f"it gives back what it holds: {farm.view(job)}\n{farm.story()}",
        )
        assert farm.done(job) < FRAMES
        before = rendered(farm, HURT)
        farm.farm.members[HURT].stop()
        assert rendered(farm, HURT) == before, "it went on with a disk that had failed"
        farm.start_node(HURT)
        farm.wait_ready(HURT)
        farm.wait_done(job)
        check_nobody_blamed(farm)
        farm.check(seen=seen)

    def test_an_error_at_the_start_is_a_sentence(
        self, farm: FarmUnderFault, faults: Faults
    ) -> None:
        farm.start_coordinator()
        farm.surround(HURT, {**faults.variables, **faults.from_the_start("sync/fsync", errno.EIO)})
        node = farm.start_node(HURT)
        wait_until(lambda: not node.alive, f"it ends: {node.log_tail()}")
        assert node.process.returncode == 1, node.log_tail()
        lines = node.log.read_text().splitlines()
        assert len(lines) == 1, lines
        assert "cannot be written: Input/output error. Check its disk" in lines[0]


@pytest.fixture
def mortal_farm(farm: FarmUnderFault) -> Iterator[FarmUnderFault]:
    """A farm whose node works on a disk that can be taken from it."""
    make_image(farm.folder / "disk.img", IMAGE_BYTES)
    with image_disk(farm.folder / "disk.img", farm.folder / HURT):
        yield farm
        # Whatever still writes there ends before its disk does.
        farm.__exit__()


def test_a_disk_that_dies_takes_no_frame_along(
    mortal_farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes]
) -> None:
    """Every call on it fails from one moment to the next; another node takes over."""
    farm = mortal_farm.start(HURT)
    job = farm.submit(scene, f"1-{FRAMES}")
    wait_until(lambda: farm.done(job) >= 1, lambda: f"a frame is done\n{farm.story()}")
    break_down(farm.folder / HURT)
    job = wait_broken(farm, scene, job)
    check_said(farm, str(farm.folder / HURT), "Input/output error")
    farm.start_node(OTHER)
    farm.wait_ready(OTHER)
    farm.wait_done(job)
    check_nobody_blamed(farm)
    # Its disk lets it clean up nothing; that too is a sentence.
    hurt = farm.farm.members[HURT]
    hurt.stop()
    assert "Traceback" not in hurt.log.read_text(), hurt.log_tail()
    farm.check(seen=seen)
