"""Writes and flushes that fail under a coordinator: final, said in one sentence, nothing lost.

libfiu stands between the process and the C library and lets its calls fail. `fsync` is how the
blobs are flushed, `fdatasync` and `pwrite` are SQLite's.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts
from rendermill.wire.connection import FarmConnection

from .coordinators import CoordinatorProcess
from .painter import Painter, job_view, submit
from .promises import Disk

LIBRARIES = [Path("/usr/lib/fiu") / f"fiu_{name}_preload.so" for name in ("run", "posix")]
FRAMES = 12
LIMIT = 5
"""So many are painted before the fault is there."""
SIZE = (16, 12)
EIO, ENOSPC = 5, 28

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="libfiu is preloaded on Linux only"),
    pytest.mark.skipif(
        shutil.which("fiu-ctrl") is None or not all(path.exists() for path in LIBRARIES),
        reason="there is no libfiu (Debian: fiu-utils)",
    ),
]


class Faults:
    """Switches failures of one process on and off."""

    def __init__(self, folder: Path) -> None:
        self._fifo = folder / "fiu"
        # Sanitizers and the like may be preloaded already.
        others = os.environ.get("LD_PRELOAD", "").split()
        self.variables = {
            "LD_PRELOAD": " ".join([*map(str, LIBRARIES), *others]),
            "FIU_CTRL_FIFO": str(self._fifo),
        }

    def enable(self, pid: int, point: str, code: int, *, once: bool = False) -> None:
        """Let every call (or only the next) of a kind fail with this errno."""
        often = ",onetime" if once else ""
        self._say(pid, f"enable name=posix/io/{point},failinfo={code}{often}")

    def disable(self, pid: int, point: str) -> None:
        """Let calls succeed again."""
        self._say(pid, f"disable name=posix/io/{point}")

    def _say(self, pid: int, order: str) -> None:
        words = ["fiu-ctrl", "-f", str(self._fifo), "-c", order, str(pid)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


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
        await asyncio.to_thread(faults.enable, process.pid, point, EIO, once=once)
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
        await asyncio.to_thread(faults.enable, process.pid, "rw/pwrite", ENOSPC)
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
    process.launch(FIU_ENABLE="enable name=posix/io/sync/fdatasync,failinfo=5")
    assert await asyncio.to_thread(process.wait_for_end) == 1
    sentences = [line for line in process.log.splitlines() if line.startswith("rendermill: ")]
    assert len(sentences) == 1, process.log
    await asyncio.to_thread(process.start)
    await asyncio.to_thread(process.stop)
