"""``rendermill backup`` of a coordinator at work; the farm goes on from it if its disk is lost."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendermill.coordinator import backup
from rendermill.coordinator.backup import Backup, BackupFailed
from rendermill.protocol.manifest import CHUNK_MAX_BYTES
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts, JobView
from rendermill.wire.connection import FarmConnection

from .coordinators import CoordinatorProcess
from .mounts import small_disk
from .painter import END_SECONDS, SIZE, Painter, job_view, picture, submit
from .promises import Disk

FRAMES = 14
POLL_SECONDS = 0.1
SMALL_DISK_BYTES = 8 * 1024**2
"""Room for a database and a few small pictures."""
LARGE_CHUNKS = SMALL_DISK_BYTES // CHUNK_MAX_BYTES + 1


@pytest.fixture
def process(tmp_path: Path) -> Iterator[CoordinatorProcess]:
    with CoordinatorProcess(tmp_path / "coordinator", tmp_path / "data") as running:
        yield running


async def back_up(process: CoordinatorProcess, folder: Path, *, reread: bool = False) -> Backup:
    """Take a backup while the process, or nothing, works on the data."""
    return await asyncio.to_thread(
        backup.back_up, process.data, folder, lambda *_: None, reread=reread
    )


async def refusal(process: CoordinatorProcess, folder: Path) -> str:
    """Why there can be no backup."""
    with pytest.raises(BackupFailed) as caught:
        await back_up(process, folder)
    return str(caught.value)


async def command(
    process: CoordinatorProcess, *words: str | Path
) -> subprocess.CompletedProcess[str]:
    """``rendermill backup`` as people call it."""
    return await asyncio.to_thread(process.run, "backup", *map(str, words))


async def wait_ended(farm: FarmConnection, job: str) -> JobView:
    async with asyncio.timeout(END_SECONDS):
        while True:
            view = await job_view(farm, job)
            if view.state is JobState.DONE:
                return view
            await asyncio.sleep(POLL_SECONDS)


async def test_the_farm_goes_on_from_its_backup_when_the_disk_is_lost(
    process: CoordinatorProcess, tmp_path: Path
) -> None:
    """Same node, same artist, same job; only what was done since the backup is done again."""
    folder = tmp_path / "backup"
    painter = Painter(await asyncio.to_thread(process.start), limit=5)
    async with painter.at_work(), FarmConnection(painter.credentials) as farm:
        job = await submit(farm, f"1-{FRAMES}")
        await painter.until(lambda: len(painter.taken(job)) == 5)
        done = await command(process, folder, "--json")
        assert done.returncode == 0, done.stderr
        first = json.loads(done.stdout)
        assert first["ok"]
        assert (first["jobs"], first["copied"], first["lost"]) == (1, first["files"], [])
        painter.go_on(9)
        await painter.until(lambda: len(painter.taken(job)) == 9)
        done = await command(process, folder)
        assert done.returncode == 0, done.stderr
        assert "1 job, " in done.stdout
        assert "of them 4 files" in done.stdout
        assert f"rendermill coordinator --data {folder}" in done.stdout
        in_backup = painter.taken(job)
        painter.go_on(11)
        await painter.until(lambda: len(painter.taken(job)) == 11)
        await asyncio.to_thread(process.kill)
        shutil.rmtree(process.data)

        process.data = folder
        await asyncio.to_thread(process.start)
        painter.go_on()
        view = await wait_ended(farm, job)
        assert view.counts == FrameCounts(done=FRAMES)
        painted = painter.painted(job)
        assert set(painted) == set(range(1, FRAMES + 1))
        assert all(painted.count(frame) == 1 for frame in in_backup), painted
    await asyncio.to_thread(process.stop)
    disk = Disk(folder)
    disk.check_store()
    disk.check_job(job, list(range(1, FRAMES + 1)), SIZE)


async def test_a_deleted_job_leaves_the_backup_with_the_next_one(
    process: CoordinatorProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    painter = Painter(await asyncio.to_thread(process.start))
    async with painter.at_work(), FarmConnection(painter.credentials) as farm:
        job = await submit(farm, "1-3")
        gone = await submit(farm, "4-5", b"another scene")
        await wait_ended(farm, job)
        await wait_ended(farm, gone)
        before = await back_up(process, folder)
        await farm.delete(f"/api/v1/jobs/{gone}")
        after = await back_up(process, folder, reread=True)
        assert (after.jobs, after.copied, after.lost) == (1, 0, ())
        # Two pictures, a manifest and a chunk.
        assert after.files == before.files - 4
    await asyncio.to_thread(process.stop)
    disk = Disk(folder)
    disk.check_store()
    disk.check_job(job, [1, 2, 3], SIZE)
    assert len(list(disk.blobs())) == after.files


async def test_what_the_farm_has_damaged_is_told_and_rendered_again(
    process: CoordinatorProcess, tmp_path: Path
) -> None:
    """Neither copied nor hidden; --reread finds what the backup's own disk has damaged."""
    folder = tmp_path / "backup"
    painter = Painter(await asyncio.to_thread(process.start))
    async with painter.at_work(), FarmConnection(painter.credentials) as farm:
        job = await submit(farm, "1-4")
        await wait_ended(farm, job)
        name = damage(process.data, painter, 2)
        done = await command(process, folder)
        assert done.returncode == 1
        assert "1 files are not in it, for the farm itself lacks them" in done.stdout
        assert f"damaged ({name[:12]})" in done.stdout
        # The farm's own copy is the good one now, and that of the backup is not.
        (process.data / "blobs" / name[:2] / name).write_bytes(picture(2))
        other = damage(folder, painter, 3)
        assert (await back_up(process, folder)).copied == 1
        assert (await back_up(process, folder, reread=True)).copied == 1
        assert (folder / "blobs" / other[:2] / other).read_bytes() == picture(3)
        # As in the beginning, and the farm goes on from such a backup.
        damage(process.data, painter, 2)
        broken = tmp_path / "broken"
        assert (await back_up(process, broken)).lost == (name,)
        await asyncio.to_thread(process.kill)
        process.data = broken
        await asyncio.to_thread(process.start)
        await painter.until(lambda: painter.painted(job) == [1, 2, 2, 3, 4])
        await wait_ended(farm, job)
    await asyncio.to_thread(process.stop)
    disk = Disk(broken)
    disk.check_store()
    assert sorted(disk.frames(job)) == [1, 2, 3, 4]


def damage(data: Path, painter: Painter, frame: int) -> str:
    """Flip a bit of a frame's picture on the disk; return its name."""
    name = painter.name_of(frame)
    place = data / "blobs" / name[:2] / name
    content = place.read_bytes()
    place.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return name


async def test_a_backup_that_finds_no_room_leaves_the_one_before_whole(
    process: CoordinatorProcess, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", SMALL_DISK_BYTES) as small:
        folder = small / "backup"
        painter = Painter(await asyncio.to_thread(process.start))
        async with painter.at_work(), FarmConnection(painter.credentials) as farm:
            job = await submit(farm, "1-3")
            await wait_ended(farm, job)
            await back_up(process, folder)
            for _ in range(LARGE_CHUNKS):
                await submit(farm, "1-1", secrets.token_bytes(CHUNK_MAX_BYTES))
            done = await command(process, folder)
            assert done.returncode == 1
            assert done.stderr.startswith("rendermill: The backup was given up, an earlier one is")
            assert "No space left on device" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        await asyncio.to_thread(process.stop)
        Disk(folder).check_job(job, [1, 2, 3], SIZE)
        # A farm keeps more free than this disk has, and starts on it all the same.
        process.data = folder
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.stop)


async def test_where_no_backup_can_be_is_said(process: CoordinatorProcess, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    assert "There is no farm in" in await refusal(process, folder)
    assert not folder.exists()
    await asyncio.to_thread(process.start)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    for where in (taken, taken / "thesis.txt"):
        assert "is not empty and holds no backup" in await refusal(process, where)
    for where in (process.data / "backup", process.data, process.data.parent):
        assert "lie in each other" in await refusal(process, where)
    assert sorted(entry.name for entry in taken.glob("*")) == ["thesis.txt"]
    said = await command(process, taken)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("rendermill: ")
    assert len(said.stderr.splitlines()) == 1

    assert (await back_up(process, folder)).lost == ()
    await asyncio.to_thread(process.stop)
    # Also of a farm that stands still.
    fresh = tmp_path / "fresh"
    assert (await back_up(process, fresh)).jobs == 0
    # Who starts a farm from a backup has a farm there, and no backup any more.
    with CoordinatorProcess(tmp_path / "second", folder) as second:
        await asyncio.to_thread(second.start)
        assert "A coordinator or another backup is at work in" in await refusal(process, folder)
        await asyncio.to_thread(second.stop)
    assert "has worked in the backup" in await refusal(process, folder)
    with CoordinatorProcess(tmp_path / "third", tmp_path / "other") as third:
        await asyncio.to_thread(third.start)
        assert "holds a backup of another farm" in await refusal(third, fresh)
    assert (await back_up(process, fresh)).jobs == 0
