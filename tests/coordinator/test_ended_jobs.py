"""Ended jobs leave memory, and are all there when somebody asks."""

from __future__ import annotations

import asyncio

import pytest
from rendermill.coordinator import ended_jobs
from rendermill.protocol.messages import FrameAccepted, FrameStarted
from rendermill.protocol.states import FrameState, JobState
from rendermill.protocol.views import FrameDetail, FramePage, JobDetail, JobView

FRAMES = 50


@pytest.fixture(autouse=True)
def little_is_kept(monkeypatch):
    monkeypatch.setattr(ended_jobs, "KEPT_MAX_FRAMES", 2 * FRAMES)


def records(coordinator) -> int:
    return sum(len(job.table.records) for job in coordinator.conductor.farm.state.jobs.values())


async def render(farm, node, shot, count: int) -> list[str]:
    """Submit and render ``count`` jobs, one after the other; every frame has the same picture."""
    jobs: list[str] = []
    for _ in range(count):
        jobs.append((await shot.submit(farm)).id)
        goal = len(node.accepted) + FRAMES
        await node.render(lambda goal=goal: len(node.accepted) >= goal)
    return jobs


@pytest.fixture
def shot(scene):
    return scene(f"1-{FRAMES}")


async def page(farm, job: str, **params: object) -> FramePage:
    return await farm.get(f"/api/v1/jobs/{job}/frames", FramePage, params=params)


async def test_memory_is_flat_and_nothing_is_gone(coordinator, farm, make_node, shot):
    await shot.upload(farm)
    node = make_node(farm)
    async with node.connected():
        jobs = await render(farm, node, shot, 3)
        early = records(coordinator)
        jobs += await render(farm, node, shot, 5)
    assert early <= 2 * FRAMES
    assert records(coordinator) <= 2 * FRAMES
    shed = [job for job in jobs if coordinator.conductor.farm.is_shed(job)]
    assert set(shed) >= set(jobs[:6])
    for job in jobs:
        detail = await farm.get(f"/api/v1/jobs/{job}", JobDetail)
        assert detail.job.state is JobState.DONE
        assert detail.job.counts.done == FRAMES
        assert detail.job.mean_frame_seconds == pytest.approx(0.5)
        frames = (await page(farm, job, state="done", limit=1000)).frames
        assert [frame.frame for frame in frames] == list(range(1, FRAMES + 1))
        assert all(frame.files and frame.stats for frame in frames)
        first = await farm.get(f"/api/v1/jobs/{job}/frames/1", FrameDetail)
        assert [attempt.outcome for attempt in first.attempts] == ["done"]
        async with farm.stream("GET", f"/api/v1/jobs/{job}/frames/1/files/0") as answer:
            assert (await answer.read()).startswith(b"\x89PNG")
        assert records(coordinator) <= 2 * FRAMES
    # Many at once, while others push each other out.
    pages = await asyncio.gather(*(page(farm, job, limit=1000) for job in jobs * 3))
    assert all(len(one.frames) == FRAMES for one in pages)
    assert records(coordinator) <= 3 * FRAMES


async def test_a_retry_brings_a_job_back(coordinator, farm, make_node, shot):
    await shot.upload(farm)
    node = make_node(farm)
    async with node.connected():
        jobs = await render(farm, node, shot, 4)
        assert coordinator.conductor.farm.is_shed(jobs[0])
        view = await farm.post(f"/api/v1/jobs/{jobs[0]}/retry", JobView, body={"frames": "7-8"})
        assert view.state in (JobState.QUEUED, JobState.RENDERING)
        goal = len(node.accepted) + 2
        await node.render(lambda: len(node.accepted) >= goal)
        assert {ref.frame for ref in node.accepted[-2:]} == {7, 8}
    detail = await farm.get(f"/api/v1/jobs/{jobs[0]}", JobDetail)
    assert detail.job.state is JobState.DONE
    generations = {one.frame: one.generation for one in (await page(farm, jobs[0])).frames}
    assert generations == dict.fromkeys(range(1, FRAMES + 1), 1) | {7: 2, 8: 2}


async def test_a_result_said_twice_is_still_acknowledged(coordinator, farm, make_node, shot):
    await shot.upload(farm)
    node = make_node(farm)
    async with node.connected():
        jobs = await render(farm, node, shot, 4)
        assert coordinator.conductor.farm.is_shed(jobs[0])
        again = next(ref for ref in node.accepted if ref.job == jobs[0])
        await node.send(await node.done(again))
        assert (await node.receive_a(FrameAccepted)).frame == again


async def test_a_late_result_of_a_cancelled_job_that_was_shed(coordinator, farm, make_node, shot):
    """The job is stopped while a frame renders: the result is refused, and nothing breaks."""
    await shot.upload(farm)
    node = make_node(farm)
    async with node.connected():
        stopped = await shot.submit(farm)
        assign = await node.receive()
        ref = assign.frames[0]
        await node.send(FrameStarted(frame=ref))
        await farm.post(f"/api/v1/jobs/{stopped.id}/cancel", JobView)
        jobs = await render(farm, node, shot, 3)
        assert coordinator.conductor.farm.is_shed(stopped.id)
        await node.send(await node.done(ref))
        while not node.refused:
            await node.render(lambda: bool(node.refused))
        assert node.refused[0].frame == ref
        view = await farm.post(f"/api/v1/jobs/{stopped.id}/retry", JobView)
        assert view.counts.cancelled == 0
        goal = len(node.accepted) + FRAMES
        await node.render(lambda: len(node.accepted) >= goal)
    assert len(jobs) == 3
    detail = await farm.get(f"/api/v1/jobs/{stopped.id}", JobDetail)
    assert detail.job.state is JobState.DONE


async def test_after_a_restart_too(start, make_node, shot, scene):
    from rendermill.wire.connection import FarmConnection

    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        await shot.upload(farm)
        node = make_node(farm)
        async with node.connected():
            jobs = await render(farm, node, shot, 5)
            stopped = await shot.submit(farm)
            goal = len(node.accepted) + 3
            await node.render(lambda: len(node.accepted) >= goal)
            await farm.post(f"/api/v1/jobs/{stopped.id}/cancel", JobView)
        before = [await farm.get(f"/api/v1/jobs/{job}", JobDetail) for job in (*jobs, stopped.id)]
    await coordinator.stop()
    coordinator = await start()
    # What is done is not even read; what was stopped half-way is.
    shed = [coordinator.conductor.farm.is_shed(job) for job in (*jobs, stopped.id)]
    assert shed == [True] * 5 + [False]
    assert 3 <= records(coordinator) < FRAMES
    async with FarmConnection(coordinator.credentials) as farm:
        after = [await farm.get(f"/api/v1/jobs/{job}", JobDetail) for job in (*jobs, stopped.id)]
        for one, two in zip(before, after, strict=True):
            assert one.job.state is two.job.state
            assert one.job.counts == two.job.counts
            assert one.job.mean_frame_seconds == pytest.approx(two.job.mean_frame_seconds)
            assert one.job.thumbnail_frame == two.job.thumbnail_frame
        for job in jobs:
            found = await page(farm, job, limit=1000)
            assert {frame.state for frame in found.frames} == {FrameState.DONE}
            assert all(frame.files and frame.thumbnail for frame in found.frames)
        assert records(coordinator) <= 3 * FRAMES
        node = make_node(farm, incarnation="two")
        async with node.connected():
            await farm.post(f"/api/v1/jobs/{jobs[0]}/retry", JobView, body={"frames": "7-8"})
            await node.render(lambda: len(node.accepted) >= 2)
        detail = await farm.get(f"/api/v1/jobs/{jobs[0]}", JobDetail)
        assert (detail.job.state, detail.job.counts.done) == (JobState.DONE, FRAMES)
