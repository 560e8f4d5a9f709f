"""A disk that is full, under the coordinator: the farm waits, nothing is lost, all ends well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts, JobView
from rendermill.wire.blobs import put_bytes
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import Refused

from .coordinators import CoordinatorProcess
from .mounts import fill, small_disk
from .painter import SIZE, Painter, job_view, submit
from .promises import Disk

DISK_BYTES = 320 * 1024**2
"""The coordinator never uses the last 256 MiB, which are for its database."""
FRAMES = 20
LIMIT = 5
"""So many are painted before the disk is full."""
INSUFFICIENT_STORAGE = 507


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def check(data: Path, job: str) -> None:
    stored = Disk(data)
    stored.check_store()
    stored.check_job(job, list(range(1, FRAMES + 1)), SIZE)


async def test_a_disk_that_fills_up_in_the_midst_of_a_job_costs_no_frame(
    tmp_path: Path, disk: Path
) -> None:
    """To the last byte, so that the database finds no room either; then there is room again."""
    with CoordinatorProcess(tmp_path / "coordinator", disk / "data") as process:
        painter = Painter(await asyncio.to_thread(process.start), limit=LIMIT)
        async with painter.at_work(), FarmConnection(painter.credentials) as farm:
            job = await submit(farm, f"1-{FRAMES}")
            await painter.until(lambda: len(painter.taken(job)) >= 3)
            filler = await asyncio.to_thread(fill, disk)
            painter.go_on()
            with pytest.raises(Refused) as refused:
                await put_bytes(farm, b"one more")
            assert refused.value.problem.status == INSUFFICIENT_STORAGE
            # What people ask for is answered, not left hanging: 507, each time.
            for path in (f"/api/v1/jobs/{job}/pause", f"/api/v1/jobs/{job}/cancel"):
                with pytest.raises(Refused) as refused:
                    await _ask_until_full(farm, path, job)
                assert refused.value.problem.status == INSUFFICIENT_STORAGE
                assert "disk is full" in str(refused.value)
            assert process.process is not None
            assert process.process.poll() is None, process.log
            # Looking still works.
            assert (await job_view(farm, job)).id == job

            await asyncio.to_thread(filler.unlink)
            await asyncio.to_thread(process.wait_for_log, "the farm goes on")
            # The first order was noted while there was no room, and is carried out now.
            view = await job_view(farm, job)
            assert view.paused
            await farm.post(f"/api/v1/jobs/{job}/resume", JobView)
            await painter.until(lambda: len(painter.taken(job)) == FRAMES)
            view = await job_view(farm, job)
            assert view.state is JobState.DONE
            assert view.counts == FrameCounts(done=FRAMES)
        assert painter.painted(job) == list(range(1, FRAMES + 1))
        await asyncio.to_thread(process.stop)
        check(process.data, job)


async def _ask_until_full(farm: FarmConnection, path: str, job: str) -> None:
    """Pause, or cancel: nothing of it may be stored before there is room."""
    await farm.post(path, JobView)
    raise AssertionError(f"{path} of {job} was stored on a full disk")


async def test_killed_while_its_disk_is_full_it_goes_on_where_it_was(
    tmp_path: Path, disk: Path
) -> None:
    with CoordinatorProcess(tmp_path / "coordinator", disk / "data") as process:
        painter = Painter(await asyncio.to_thread(process.start), limit=LIMIT)
        async with painter.at_work(), FarmConnection(painter.credentials) as farm:
            job = await submit(farm, f"1-{FRAMES}")
            await painter.until(lambda: len(painter.taken(job)) >= 3)
            filler = await asyncio.to_thread(fill, disk)
            painter.go_on()
            await asyncio.to_thread(process.kill)
            taken = painter.taken(job)
            await asyncio.to_thread(filler.unlink)
            await asyncio.to_thread(process.start)
            assert (await job_view(farm, job)).counts.done >= len(taken)
            await painter.until(lambda: len(painter.taken(job)) == FRAMES)
        assert painter.painted(job) == list(range(1, FRAMES + 1))
        await asyncio.to_thread(process.stop)
        check(process.data, job)


async def test_no_start_on_a_full_disk_but_one_sentence(tmp_path: Path, disk: Path) -> None:
    filler = await asyncio.to_thread(fill, disk)
    with CoordinatorProcess(tmp_path / "coordinator", disk / "data") as process:
        process.launch()
        assert await asyncio.to_thread(process.wait_for_end) == 1
        said = [line for line in process.log.splitlines() if line.startswith("rendermill: ")]
        assert len(said) == 1, process.log
        assert "Traceback" not in process.log
        await asyncio.to_thread(filler.unlink)
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.stop)
