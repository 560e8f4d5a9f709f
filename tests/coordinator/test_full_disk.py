"""A disk that is full under the database: the farm stands still, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from rendermill.coordinator import app, conductor
from rendermill.coordinator.farm.events import JobCancelled
from rendermill.coordinator.store import StoreFailed
from rendermill.protocol.messages import Assign, FailureKind, FrameFailed, FrameStarted
from rendermill.protocol.states import JobState
from rendermill.protocol.views import AttemptPage, FrameDetail, JobPage
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import Refused


async def limit_pages(coordinator, more: int) -> None:
    """Let the database grow by so many pages; beyond, SQLite says that the disk is full."""

    def work(connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + more}")

    await coordinator.store.writer.run(work)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - nothing tells of what is inside
            await asyncio.sleep(0.01)


class Standstill(logging.Handler):
    """Waits for the conductor to say that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.said = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "stands still" in record.getMessage():
            self.said.set()


@pytest.fixture
async def standstill(monkeypatch):
    monkeypatch.setattr(conductor, "DISK_FULL_SECONDS", 0.05)
    # However slow this machine is: only what asks for it is answered while it stands still.
    monkeypatch.setattr(conductor, "DISK_FULL_ANSWER_SECONDS", 3600.0)
    handler = Standstill()
    logger = logging.getLogger(conductor.__name__)
    logger.addHandler(handler)
    yield handler.said
    logger.removeHandler(handler)


async def test_the_farm_goes_on_when_there_is_room_again(start, scene, make_node, standstill):
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        shot = scene(view_layers=("layer" * 20_000,))
        await shot.upload(farm)
        node = make_node(farm)
        async with node.connected():
            await limit_pages(coordinator, 1)
            submitting = asyncio.create_task(shot.submit(farm))
            await asyncio.wait_for(standstill.wait(), 60)
            assert not submitting.done()
            assert not coordinator.failed.done()
            await limit_pages(coordinator, 1 << 20)
            job = await asyncio.wait_for(submitting, 60)
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 3), 60)
    await coordinator.stop()
    again = await start()
    async with FarmConnection(again.credentials) as farm:
        jobs = (await farm.get("/api/v1/jobs", JobPage)).jobs
        assert [(one.id, one.state) for one in jobs] == [(job.id, JobState.DONE)]


async def test_a_try_that_is_over_and_not_stored_is_shown(start, scene, make_node, standstill):
    """However long its storing takes, a page shows it: as running no more, and not as gone."""
    coordinator = await start()
    async with FarmConnection(coordinator.credentials) as farm:
        shot = scene("1")
        await shot.upload(farm)
        job = await shot.submit(farm)
        node = make_node(farm)
        async with node.connected():
            ref = (await node.receive_a(Assign)).frames[0]
            await node.send(FrameStarted(frame=ref))
            await limit_pages(coordinator, 0)
            why = "signal 11 " * 300
            log = tuple(f"{number} {why}" for number in range(20))
            await node.send(
                FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="signal 11", log=log)
            )
            await asyncio.wait_for(standstill.wait(), 60)

            async def shown() -> list[tuple[int, str]]:
                frame = await farm.get(f"/api/v1/jobs/{job.id}/frames/1", FrameDetail)
                page = await farm.get(f"/api/v1/jobs/{job.id}/attempts", AttemptPage)
                over = [(one.epoch, one.outcome) for one in page.attempts if one.ended]
                assert over == [(one.epoch, one.outcome) for one in frame.attempts if one.ended]
                return over

            assert await shown() == [(ref.epoch, "crash")]
            await limit_pages(coordinator, 1 << 20)
            again = (await asyncio.wait_for(node.receive_a(Assign), 60)).frames[0]
            assert await shown() == [(ref.epoch, "crash")]
            await node.send(await node.done(again))
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 1), 60)
            assert await shown() == [(ref.epoch, "crash"), (again.epoch, "done")]


async def test_it_can_be_stopped_while_the_disk_is_full(start, scene, standstill, monkeypatch):
    monkeypatch.setattr(app, "STOP_SECONDS", 0.1)
    coordinator = await start()
    async with FarmConnection(coordinator.credentials, patience_seconds=0) as farm:
        shot = scene(view_layers=("layer" * 20_000,))
        await shot.upload(farm)
        await limit_pages(coordinator, 1)
        submitting = asyncio.create_task(shot.submit(farm))
        await asyncio.wait_for(standstill.wait(), 60)
        await asyncio.wait_for(coordinator.stop(), 60)
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
    again = await start()
    async with FarmConnection(again.credentials) as farm:
        assert not (await farm.get("/api/v1/jobs", JobPage)).jobs


async def test_nobody_waits_for_hours_and_what_was_decided_is_done_once(
    start, scene, make_node, standstill, monkeypatch
):
    """507 after a while, for what is noted and for what is not; then all goes on by itself."""
    coordinator = await start()
    async with FarmConnection(coordinator.credentials, patience_seconds=0) as farm:
        shot = scene(view_layers=("layer" * 20_000,))
        await shot.upload(farm)
        await limit_pages(coordinator, 1)
        first = asyncio.create_task(shot.submit(farm, "one"))
        await asyncio.wait_for(standstill.wait(), 60)
        second = asyncio.create_task(shot.submit(farm, "two"))
        await until(lambda: coordinator.conductor._queue.qsize() == 1)
        monkeypatch.setattr(conductor, "DISK_FULL_ANSWER_SECONDS", 0.0)
        with pytest.raises(Refused, match="will be done as soon as there is room") as noted:
            await asyncio.wait_for(first, 60)
        with pytest.raises(Refused, match="Nothing was changed") as refused:
            await asyncio.wait_for(second, 60)
        assert noted.value.problem.status == refused.value.problem.status == 507
        with pytest.raises(Refused, match="being submitted right now"):
            await shot.submit(farm, "one")
        with pytest.raises(Refused, match="Nothing was changed"):
            await shot.submit(farm, "three")
        await limit_pages(coordinator, 1 << 20)
        await until(lambda: coordinator.conductor._stored is None)
        jobs = (await farm.get("/api/v1/jobs", JobPage)).jobs
        assert (await shot.submit(farm, "one")).id == jobs[0].id
        node = make_node(farm)
        async with node.connected():
            await asyncio.wait_for(node.render(lambda: len(node.accepted) == 3), 60)
        assert [job.id for job in (await farm.get("/api/v1/jobs", JobPage)).jobs] == [jobs[0].id]


async def test_who_waits_for_a_place_in_the_queue_hears_of_the_failure_too(start, monkeypatch):
    """Queue full, farm fails: whoever gets a place after that is answered all the same."""
    monkeypatch.setattr(conductor, "QUEUE_MAX_EVENTS", 2)
    coordinator = await start()
    requests = [
        asyncio.create_task(coordinator.conductor.request(JobCancelled(job="none"), lambda _: None))
        for _ in range(20)
    ]

    def break_down(_event, _now):
        raise StoreFailed("The disk is gone.")

    monkeypatch.setattr(coordinator.conductor.farm, "apply", break_down)
    done, waiting = await asyncio.wait(requests, timeout=60)
    assert not waiting
    assert all(isinstance(task.exception(), Exception) for task in done)
