"""The power goes while a coordinator works: what it has acknowledged is on the disk, all of it.

The data folder is an ext4 file system in a file. A copy of that file is what a disk holds when the
power goes: what was written and not flushed is only in the memory of this machine, and not in it.
"""

from __future__ import annotations

import asyncio
import filecmp
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts
from rendermill.wire.connection import FarmConnection

from .coordinators import CoordinatorProcess
from .mounts import command, image_disk, make_image
from .painter import SIZE, Painter, job_view, submit
from .promises import Disk

IMAGE_BYTES = 384 * 1024**2
"""The coordinator keeps 256 MiB of its disk free; most of the file is a hole."""
FRAMES = 60
CUTS = (2, 17, 41)
"""Frames acknowledged at which the power goes."""
AHEAD = 4
"""So many more may be under way at a cut: it must come before the last."""
COPIES_MAX = 50


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


@pytest.fixture
def disk(tmp_path: Path, image: Path) -> Iterator[Path]:
    """The mounted disk."""
    make_image(image, IMAGE_BYTES)
    with image_disk(image, tmp_path / "disk") as folder:
        yield folder


def copy_at_one_moment(image: Path, target: Path) -> None:
    """Copy the image as it is at a single moment: twice, until both copies are the same.

    Nobody works on the disk meanwhile but the kernel, which may be writing back what it likes.
    """
    other = target.with_suffix(".again")
    for _ in range(COPIES_MAX):
        for copy in (target, other):
            command("cp", "--sparse=always", image, copy)
        same = filecmp.cmp(target, other, shallow=False)
        other.unlink()
        if same:
            return
    raise AssertionError("the disk never rested")


async def cut_the_power(process: CoordinatorProcess, image: Path, target: Path) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await asyncio.to_thread(copy_at_one_moment, image, target)
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def test_what_was_acknowledged_survives_every_power_cut(
    tmp_path: Path, image: Path, disk: Path
) -> None:
    cuts: list[tuple[Path, set[int]]] = []
    with CoordinatorProcess(tmp_path / "coordinator", disk / "data") as process:
        painter = Painter(await asyncio.to_thread(process.start), limit=CUTS[0] + AHEAD)
        async with painter.at_work(), FarmConnection(painter.credentials) as farm:
            job = await submit(farm, f"1-{FRAMES}")
            for number, frames in enumerate(CUTS):
                await painter.until(lambda frames=frames: len(painter.taken(job)) >= frames)
                # Noted before the cut: all of these were acknowledged by then.
                taken = painter.taken(job)
                target = tmp_path / f"cut{number}.img"
                await cut_the_power(process, image, target)
                cuts.append((target, taken))
                painter.go_on(until=[*CUTS, FRAMES][number + 1] + AHEAD)
            await painter.until(lambda: len(painter.taken(job)) == FRAMES)
            painted = painter.painted(job)
        await asyncio.to_thread(process.stop)
    assert painted == list(range(1, FRAMES + 1))
    for number, (target, taken) in enumerate(cuts):
        await _goes_on(tmp_path / f"after{number}", target, job, taken, painter.node)


async def _goes_on(folder: Path, image: Path, job: str, taken: set[int], node: str) -> None:
    """A coordinator on the copy has every acknowledged frame, and ends the job."""
    with (
        image_disk(image, folder / "disk") as disk,
        CoordinatorProcess(folder / "coordinator", disk / "data") as process,
    ):
        assert taken <= set(Disk(process.data).frames(job)), "an acknowledged frame is gone"
        # The node is started anew, and has lost its outbox.
        credentials = await asyncio.to_thread(process.start)
        painter = Painter(credentials, node=node, incarnation="two")
        async with FarmConnection(painter.credentials) as farm:
            before = await job_view(farm, job)
            assert before.state is JobState.RENDERING
            assert before.counts.done >= len(taken)
            async with painter.at_work():
                missing = FRAMES - before.counts.done
                await painter.until(lambda: len(painter.taken(job)) == missing)
            assert not taken & set(painter.painted(job)), "a finished frame was rendered again"
            assert (await job_view(farm, job)).counts == FrameCounts(done=FRAMES)
            assert (await job_view(farm, job)).state is JobState.DONE
        await asyncio.to_thread(process.stop)
        stored = Disk(process.data)
        stored.check_store()
        stored.check_job(job, list(range(1, FRAMES + 1)), SIZE)


async def test_the_copy_shows_what_was_not_flushed(tmp_path: Path, image: Path, disk: Path) -> None:
    """The method itself: without a flush a file is lost, with one it is there."""
    for number in range(20):
        lazy, flushed = disk / f"lazy{number}", disk / f"flushed{number}"
        with flushed.open("wb") as file:
            file.write(b"kept")
            file.flush()
            os.fsync(file.fileno())
        descriptor = os.open(disk, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        lazy.write_bytes(b"lost")
        target = tmp_path / "copy.img"
        await asyncio.to_thread(copy_at_one_moment, image, target)
        with image_disk(target, tmp_path / f"copy{number}") as copy:
            assert (copy / flushed.name).read_bytes() == b"kept"
            # The kernel may have come to write it back by itself: then try again.
            if not (copy / lazy.name).exists() or (copy / lazy.name).read_bytes() != b"lost":
                return
        target.unlink()
    pytest.fail("a file that was never flushed was there after every power cut")
