"""Files of finished frames that the coordinator's disk has lost or damaged are rendered again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from rendermill.protocol.states import JobState
from rendermill.protocol.views import FrameCounts, FramePage, JobDetail, JobView
from rendermill.wire.blobs import put_bytes
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import FarmError, Refused


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def place(data: Path, sha256: str) -> Path:
    return data / "blobs" / sha256[:2] / sha256


async def files(farm: FarmConnection, job: str) -> dict[int, str]:
    page = await farm.get(f"/api/v1/jobs/{job}/frames", FramePage)
    return {frame.frame: frame.files[0].sha256 for frame in page.frames}


async def view(farm: FarmConnection, job: str) -> JobView:
    return (await farm.get(f"/api/v1/jobs/{job}", JobDetail)).job


async def rendered(start, scene, make_node) -> tuple[str, dict[int, str]]:
    """A job that is done, on a coordinator that has stopped."""
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        shot = scene()
        await shot.upload(farm)
        node = make_node(farm)
        async with node.connected():
            job = await shot.submit(farm)
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 3), 60)
        names = await files(farm, job.id)
    await coordinator.stop()
    return job.id, names


async def render_again(farm: FarmConnection, make_node, job: str, frames: set[int]) -> None:
    """Exactly these frames come once more, and the job is done again."""
    node = make_node(farm, incarnation="two")
    async with node.connected():
        await asyncio.wait_for(node.render(lambda: len(node.accepted) == len(frames)), 60)
    assert {ref.frame for ref in node.rendered} == frames
    assert len(node.rendered) == len(frames)
    after = await view(farm, job)
    assert after.state is JobState.DONE
    assert after.counts == FrameCounts(done=3)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 0)])
async def test_a_start_finds_what_is_missing_or_short(start, scene, make_node, data, damage):
    job, names = await rendered(start, scene, make_node)
    damage(place(data, names[2]))
    again = await start()
    async with FarmConnection(again.credentials) as farm:
        await render_again(farm, make_node, job, {2})
        assert await files(farm, job) == names  # The same pixels: the same names.
        assert await farm.text(f"/api/v1/jobs/{job}/frames/1/files/0") is not None


async def test_good_bytes_that_come_again_replace_damaged_ones(
    start, scene, make_node, data, paint
):
    job, names = await rendered(start, scene, make_node)
    flip(place(data, names[1]))
    again = await start()
    async with FarmConnection(again.credentials) as farm:
        await put_bytes(farm, paint(1))
        assert place(data, names[1]).read_bytes() == paint(1)
        assert (await farm.get(f"/api/v1/jobs/{job}", JobDetail)).job.name == "shot"


async def test_a_chunk_cut_short_is_asked_for_again_when_its_scene_is_submitted(start, scene, data):
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        shot = scene()
        await shot.upload(farm)
        await shot.submit(farm)
        for chunk in shot.chunks:
            os.truncate(place(data, chunk), 1)
        with pytest.raises(Refused, match="upload them") as refused:
            await shot.submit(farm)
        assert refused.value.problem.missing
        while refused.value.problem.missing:
            await shot.upload(farm)
            try:
                await shot.submit(farm)
            except Refused as error:
                refused.value.problem = error.problem
            else:
                break
        assert all(place(data, name).read_bytes() == raw for name, raw in shot.chunks.items())


async def test_a_flipped_bit_is_noticed_when_the_frame_is_fetched(start, scene, make_node, data):
    job, names = await rendered(start, scene, make_node)
    flip(place(data, names[3]))
    again = await start()
    async with FarmConnection(again.credentials, patience_seconds=0) as farm:
        assert (await view(farm, job)).state is JobState.DONE
        with pytest.raises(FarmError):
            async with farm.stream("GET", f"/api/v1/blobs/{names[3]}") as response:
                await response.read()
        await render_again(farm, make_node, job, {3})
        async with farm.stream("GET", f"/api/v1/blobs/{names[3]}") as response:
            assert len(await response.read()) == place(data, names[3]).stat().st_size
