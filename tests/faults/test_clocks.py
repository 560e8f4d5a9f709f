"""Clocks that jump, forwards and backwards, under a coordinator and under a node.

libfaketime moves the date of a process while it runs; the monotonic clock goes on as it does on a
machine whose date is set.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from rendermill.protocol.scene import CapturedScene
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts
from rendermill.wire.connection import FarmConnection

from .coordinators import CoordinatorProcess
from .farm_under_fault import FarmUnderFault, FollowedJob, wait_until
from .painter import SIZE, Painter, job_view, submit
from .promises import Disk

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
FRAMES = 24
DAYS = 86_400

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="libfaketime is preloaded on Linux only"),
    pytest.mark.skipif(not LIBRARIES, reason="there is no libfaketime (Debian: faketime)"),
]


class Date:
    """The date of a process, as far off as this says."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "date"
        self.jump(0)
        others = os.environ.get("LD_PRELOAD", "").split()
        self.variables = {
            "LD_PRELOAD": " ".join([str(LIBRARIES[0]), *others]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # What lies on the disk keeps the times it has.
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Be so far off from now on."""
        # By rename: a process that reads half a date would take it for none.
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


@pytest.mark.parametrize("seconds", [400 * DAYS, -400 * DAYS], ids=["forwards", "backwards"])
async def test_the_coordinators_date_may_jump_in_the_midst_of_a_job(
    tmp_path: Path, seconds: int
) -> None:
    """No lease expires over it, none lives for ever, and the next start is in the same farm."""
    date = Date(tmp_path)
    with CoordinatorProcess(tmp_path / "coordinator", tmp_path / "data", date.variables) as process:
        painter = Painter(await asyncio.to_thread(process.start))
        async with painter.at_work(), FarmConnection(painter.credentials) as farm:
            job = await submit(farm, f"1-{FRAMES}")
            await painter.until(lambda: len(painter.taken(job)) >= 3)
            date.jump(seconds)
            await painter.until(lambda: len(painter.taken(job)) >= 10)
            # A second process starts in the other time, and lives to see it put right.
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
            await painter.until(lambda: len(painter.taken(job)) >= 15)
            date.jump(0)
            await painter.until(lambda: len(painter.taken(job)) == FRAMES)
            view = await job_view(farm, job)
            assert view.state is JobState.DONE
            assert view.counts == FrameCounts(done=FRAMES)
        assert painter.painted(job) == list(range(1, FRAMES + 1))
        await asyncio.to_thread(process.stop)
        assert "Traceback" not in process.log, process.log
    stored = Disk(process.data)
    stored.check_store()
    stored.check_job(job, list(range(1, FRAMES + 1)), SIZE)


def test_the_date_of_a_node_may_jump_in_the_midst_of_a_job(
    farm: FarmUnderFault, scene: CapturedScene, seen: dict[int, bytes], tmp_path: Path
) -> None:
    """Either way, and with a new line to the coordinator made in the wrong time."""
    date = Date(tmp_path)
    farm.surround("one", date.variables)
    farm.start("one")
    job = farm.submit(scene, "1-8")
    for done, seconds in ((1, 400 * DAYS), (3, -400 * DAYS), (5, 0)):
        # On a busy machine a job may be over before the date has jumped: then there is another.
        wait_until(
            lambda job=job, done=done: farm.done(job) >= done,
            lambda: f"frames come\n{farm.story()}",
        )
        if farm.view(job)["state"] == "done":
            job = farm.submit(scene, "1-8")
        date.jump(seconds)
        if seconds:
            farm.kill("coordinator")
            farm.start_coordinator()
    farm.wait_done(job)
    assert {int(notice["time"] // (200 * DAYS)) for notice in farm.notices("one")} != {
        int(time.time() // (200 * DAYS))
    }, "the date of the node never jumped"
    for each in farm.jobs:
        assert rendered(farm, each) == each.frames
    assert "Traceback" not in farm.farm.members["one"].log.read_text()
    farm.check(seen=seen)


def rendered(farm: FarmUnderFault, job: FollowedJob) -> list[int]:
    """Frames of a job, as often as the node has rendered them."""
    return sorted(
        notice["frame"]
        for notice in farm.notices("one")
        if notice["event"] == "rendered" and notice.get("job") == job.id
    )
