"""Writes and flushes that fail under a coordinator: final, said in one sentence, nothing lost.

`fsync` is how the blobs are flushed, `fdatasync` and `pwrite` are SQLite's.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts
from rendermill.wire.connection import FarmConnection

from .coordinators import CoordinatorProcess
from .failing_calls import NEEDS_LIBFIU, Faults
from .painter import Painter, job_view, submit
from .promises import Disk

FRAMES = 12
LIMIT = 5
"""So many are painted before the fault is there."""
SIZE = (16, 12)

pytestmark = NEEDS_LIBFIU


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@pytest.fixture
def process(tmp_path: Path, faults: Faults) -> Iterator[CoordinatorProcess]:
    """A coordinator under libfiu; nothing fails yet."""
    folder = tmp_path / "coordinator"
    with CoordinatorProcess(folder, tmp_path / "data", faults.variables) as running:
        yield running


@pytest.mark.parametrize(
    ("point", "once"),
    [
        pytest.param("sync/fsync", True, id="one flush of a blob"),
        pytest.param("sync/fdatasync", True, id="one flush of the database"),
        pytest.param("sync/*", False, id="every flush"),
        pytest.param("rw/pwrite", True, id="one write to the database"),
    ],
)
async def test_an_error_of_the_disk_ends_the_coordinator_and_loses_nothing(
    process: CoordinatorProcess, faults: Faults, point: str, once: bool
) -> None:
    """Also where the very next flush would say that all is well: it is not asked."""
    painter = Painter(process.start(), limit=LIMIT)
    async with painter.at_work(), FarmConnection(painter.credentials) as farm:
        job = await submit(farm, f"1-{FRAMES}")
        await painter.until(lambda: len(painter.taken(job)) >= 3)
        await asyncio.to_thread(faults.enable, process.pid, point, errno.EIO, once=once)
        painter.go_on()
        code = await asyncio.to_thread(process.wait_for_end)
        told = len(process.log)
        before = painter.taken(job)

        assert code == 1
        sentences = [line for line in process.log.splitlines() if line.startswith("rendermill: ")]
        assert len(sentences) == 1
        assert re.search(r"could not write .* until the disk is checked", sentences[0])

        await asyncio.to_thread(process.start)
        await painter.until(lambda: len(painter.taken(job)) == FRAMES)
        view = await job_view(farm, job)
        assert view.state is JobState.DONE
        assert view.counts == FrameCounts(done=FRAMES)
        assert before <= painter.taken(job)
        # The node kept what it had not been thanked for: nothing is painted a second time.
        assert painter.painted(job) == list(range(1, FRAMES + 1))
    await asyncio.to_thread(process.stop)
    assert "CRITICAL" not in process.log[told:]
    disk = Disk(process.data)
    disk.check_store()
    disk.check_job(job, list(range(1, FRAMES + 1)), SIZE)


async def test_a_database_that_finds_no_room_waits_for_it(
    process: CoordinatorProcess, faults: Faults
) -> None:
    """ENOSPC is no damage: the farm stands still, and goes on by itself."""
    painter = Painter(process.start(), limit=LIMIT)
    async with painter.at_work(), FarmConnection(painter.credentials) as farm:
        job = await submit(farm, f"1-{FRAMES}")
        await painter.until(lambda: len(painter.taken(job)) >= 3)
        await asyncio.to_thread(faults.enable, process.pid, "rw/pwrite", errno.ENOSPC)
        painter.go_on()
        await asyncio.to_thread(process.wait_for_log, "stands still")
        assert process.process is not None
        assert process.process.poll() is None
        await asyncio.to_thread(faults.disable, process.pid, "rw/pwrite")
        await painter.until(lambda: len(painter.taken(job)) == FRAMES)
        assert painter.painted(job) == list(range(1, FRAMES + 1))
    await asyncio.to_thread(process.stop)
    disk = Disk(process.data)
    disk.check_store()
    disk.check_job(job, list(range(1, FRAMES + 1)), SIZE)


async def test_an_error_at_the_start_is_a_sentence_and_the_next_start_is_fine(
    process: CoordinatorProcess,
) -> None:
    process.launch(**Faults.from_the_start("sync/fdatasync", errno.EIO))
    assert await asyncio.to_thread(process.wait_for_end) == 1
    sentences = [line for line in process.log.splitlines() if line.startswith("rendermill: ")]
    assert len(sentences) == 1, process.log
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.stop)
