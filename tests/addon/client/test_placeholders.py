"""Blender's *Placeholders*: an empty file stands for a frame while a node renders it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rendermill.addon.client.delivery import Delivered, deliver
from rendermill.addon.client.delivery_record import forget_delivery, open_record, unfinished
from rendermill.addon.client.submission import submit
from rendermill.protocol.messages import Assign
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobView
from rendermill.wire.errors import NotFound

from ...coordinator.conftest import picture
from .scenes import capture, make_files

PATIENCE_SECONDS = 30
PLACEHOLDER = "f_####.png"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "renders"


@pytest.fixture
async def send(farm, tmp_path, out, cache):
    async def run(placeholder: str = PLACEHOLDER) -> JobView:
        captured = capture(make_files(tmp_path / "scene"), out, "1-3")
        return (await submit(farm, replace(captured, placeholder=placeholder), cache=cache)).job

    return run


def empty(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.stat().st_size == 0)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_true():  # noqa: ASYNC110 - a file is waited for, which sets no event
            await asyncio.sleep(0.01)


def begin(farm, job: JobView) -> asyncio.Future[Delivered]:
    return asyncio.ensure_future(deliver(farm, job.id))


async def stop_once_laid(delivery: asyncio.Future[Delivered], out: Path) -> None:
    """Stop a delivery as the end of Blender does, with placeholders lying there."""
    await until(lambda: out.exists() and empty(out) != [])
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery


async def test_a_frame_that_is_begun_has_one_until_it_comes(farm, make_node, send, out):
    job = await send()
    delivery = begin(farm, job)
    node = make_node(farm)
    async with node.connected():
        (first, *_) = (await node.receive_a(Assign)).frames
        await until(lambda: f"f_{first.frame:04d}.png" in empty(out))
        await node.send(await node.done(first))
        await until(lambda: f"f_{first.frame:04d}.png" not in empty(out))
        assert (out / f"f_{first.frame:04d}.png").read_bytes() == picture(first.frame)
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    assert (await delivery).job.state is JobState.CANCELLED
    assert [path.name for path in out.iterdir()] == [f"f_{first.frame:04d}.png"]


async def test_without_the_setting_there_is_none(farm, make_node, send, out):
    job = await send("")
    delivery = begin(farm, job)
    node = make_node(farm)
    async with node.connected():
        await node.receive_a(Assign)
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    await delivery
    assert not out.exists()


async def test_what_lies_there_is_neither_replaced_nor_taken_away(farm, make_node, send, out):
    out.mkdir()
    for number, content in ((1, b""), (2, b"painted"), (3, b"")):
        (out / f"f_{number:04d}.png").write_bytes(content)
    job = await send()
    delivery = begin(farm, job)
    node = make_node(farm)
    async with node.connected():
        await node.receive_a(Assign)
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    await delivery
    assert empty(out) == ["f_0001.png", "f_0003.png"]
    assert (out / "f_0002.png").read_bytes() == b"painted"


async def test_one_that_a_crash_has_left_goes_with_its_job(farm, make_node, send, out):
    job = await send()
    delivery = begin(farm, job)
    node = make_node(farm)
    async with node.connected():
        await node.receive_a(Assign)
        await stop_once_laid(delivery, out)
        assert empty(out) != []
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    (record,) = unfinished((await farm.health()).farm_id)
    assert len(record.laid) == len(empty(out))
    await deliver(farm, job.id)
    assert list(out.iterdir()) == []


async def test_and_with_a_job_that_is_no_more(farm, make_node, send, out):
    job = await send()
    delivery = begin(farm, job)
    node = make_node(farm)
    async with node.connected():
        await node.receive_a(Assign)
        await stop_once_laid(delivery, out)
        await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
        await farm.delete(f"/api/v1/jobs/{job.id}")
    with pytest.raises(NotFound):
        await deliver(farm, job.id)
    forget_delivery(job.id)
    assert list(out.iterdir()) == []


def test_one_that_somebody_has_filled_is_theirs(out: Path):
    record = open_record("a" * 32, "farm", None)
    ours, theirs = out / "f_0001.png", out / "f_0002.png"
    record.lay(ours)
    record.lay(theirs)
    theirs.write_bytes(b"rendered here meanwhile")
    again = open_record("a" * 32, "farm", None)
    assert list(again.laid) == [str(ours), str(theirs)]
    again.lift_all()
    assert [path.name for path in out.iterdir()] == ["f_0002.png"]
    assert open_record("a" * 32, "farm", None).laid == {}
