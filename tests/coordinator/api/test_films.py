"""The film of a job over HTTP: a sentence before it is there, then whole or in part."""

from __future__ import annotations

import pytest
from rendermill.coordinator.store import collection
from rendermill.protocol.messages import FrameRefused
from rendermill.protocol.states import FrameState, JobState
from rendermill.protocol.views import FrameDetail, FramePage, JobDetail
from rendermill.wire.errors import FarmError, NotAllowed, NotFound

from ..film_node import CAN_ENCODE, FILM, REQUIRES, film_done, film_of, work


@pytest.fixture
async def job(farm, scene):
    """Submit a scene that asks for a film."""
    made = scene("1-3", film=FILM, requires=REQUIRES)
    await made.upload(farm)
    return await made.submit(farm)


async def read(farm, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    async with farm.stream("GET", path, headers=headers) as response:
        return response.status, dict(response.headers), await response.read()


async def test_a_film_is_served_whole_and_in_part(farm, job, make_node, coordinator):
    path = f"/api/v1/jobs/{job.id}/film"
    with pytest.raises(NotFound, match="made when every frame is done"):
        await read(farm, path)
    node = make_node(farm)
    async with node.connected(machine=CAN_ENCODE):
        ref = await work(node, stop_at_film=True)
        seen = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
        assert seen.state is JobState.ASSEMBLING
        assert seen.film is not None
        assert (seen.film.state, seen.film.node) == (FrameState.LEASED, node.node)
        with pytest.raises(NotFound, match="being encoded"):
            await read(farm, path)
        await node.send(await film_done(node, ref, "elsewhere.mp4"))
        refused = await node.receive_a(FrameRefused)
        assert "one file named" in refused.reason
        await node.send(await film_done(node, ref))
        await work(node)
    data = film_of(ref)
    status, headers, body = await read(farm, path)
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''shot_0001-0003.mp4"
    assert headers["Accept-Ranges"] == "bytes"
    assert (await read(farm, path, Range="bytes=4-7"))[::2] == (206, data[4:8])
    seen = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
    assert seen.state is JobState.DONE
    assert seen.film is not None
    assert seen.film.length == len(data)
    tried = await farm.get(f"{path}/attempts", FrameDetail)
    assert [one.outcome for one in tried.attempts] == ["done"]
    pages = await farm.get(f"/api/v1/jobs/{job.id}/frames", FramePage)
    assert [frame.frame for frame in pages.frames] == [1, 2, 3]
    # Garbage collection keeps it while the job lives.
    store = coordinator.store
    marked = await store.read(lambda connection: collection.mark(connection, store.blobs))
    assert bytes.fromhex(seen.film.sha256) in marked.blobs


async def test_the_film_of_a_job_that_left_memory_is_served_as_before(
    farm, job, make_node, coordinator
):
    path = f"/api/v1/jobs/{job.id}/film"
    node = make_node(farm)
    async with node.connected(machine=CAN_ENCODE):
        ref = await work(node, stop_at_film=True)
        await node.send(await film_done(node, ref))
        await work(node)
    ended = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
    for ask in ("view", "bytes", "tries"):
        coordinator.conductor.farm.shed(job.id)
        assert coordinator.conductor.farm.is_shed(job.id)
        if ask == "view":
            assert (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job == ended
        elif ask == "bytes":
            assert (await read(farm, path))[2] == film_of(ref)
        else:
            tried = await farm.get(f"{path}/attempts", FrameDetail)
            assert [one.outcome for one in tried.attempts] == ["done"]


async def test_a_node_may_list_the_frames_and_nothing_else(farm, job, as_role):
    path = f"/api/v1/jobs/{job.id}/film"
    async with as_role("node") as node:
        page = await node.get(f"{path}/frames", FramePage, params={"limit": 2})
        assert [frame.frame for frame in page.frames] == [1, 2]
        assert page.next == 2
        with pytest.raises(NotAllowed):
            await node.get(f"{path}/attempts", FrameDetail)


async def test_pictures_make_no_film(farm, scene):
    made = scene()
    await made.upload(farm)
    job = await made.submit(farm)
    with pytest.raises(NotFound, match="asks for pictures"):
        await read(farm, f"/api/v1/jobs/{job.id}/film")
    with pytest.raises(FarmError, match="no job"):
        await read(farm, "/api/v1/jobs/none/film")
