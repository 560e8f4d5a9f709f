"""Whom a delivery trusts, and what it does when the ground under it moves."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rendermill.addon.client import delivery
from rendermill.addon.client.delivery import deliver
from rendermill.addon.client.delivery_record import forget_delivery, open_record, unfinished
from rendermill.addon.client.errors import DeliveryError
from rendermill.addon.client.sent_jobs import forget_sent, recall_sent, remember_sent
from rendermill.addon.client.submission import submit
from rendermill.protocol.messages import Assign, FrameAccepted
from rendermill.protocol.views import JobDetail, JobView
from rendermill.wire.blobs import download_file, put_bytes

from ...coordinator.conftest import make_scene, picture
from .scenes import capture, make_files


@pytest.fixture
def out(tmp_path):
    return tmp_path / "renders" / "shot"


@pytest.fixture
async def painted(farm, make_node, tmp_path, out, cache):
    """Submit a scene of three frames, have them rendered, and return the job."""

    async def run(**changes: object) -> JobView:
        captured = capture(make_files(tmp_path / "scene"), out, "1-3", **changes)
        job = (await submit(farm, captured, cache=cache)).job
        node = make_node(farm, 1, "one")
        async with node.connected():
            await node.render(lambda: len(node.accepted) >= 3)
        return job

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the coordinator says which files, this machine says where -----------------------------------


async def test_a_coordinator_cannot_choose_the_folder(farm, painted, out, tmp_path, monkeypatch):
    job = await painted()
    elsewhere = tmp_path / "home" / ".ssh"
    asked = farm.get

    async def lie(path, answer, **options):
        told = await asked(path, answer, **options)
        if answer is JobDetail:
            outputs = (replace(told.spec.outputs[0], folder=str(elsewhere)),)
            return replace(told, spec=replace(told.spec, outputs=outputs, overwrite=True))
        return told

    monkeypatch.setattr(farm, "get", lie)
    delivered = await deliver(farm, job.id)
    assert not elsewhere.exists()
    assert delivered.folders == (out,)
    assert len(names(out)) == 3


async def test_nor_that_files_may_be_replaced(farm, painted, out, monkeypatch):
    job = await painted(overwrite=False)
    out.mkdir(parents=True)
    (out / "f_0002.png").write_bytes(b"painted by hand")
    asked = farm.get

    async def lie(path, answer, **options):
        told = await asked(path, answer, **options)
        if answer is JobDetail:
            return replace(told, spec=replace(told.spec, overwrite=True))
        return told

    monkeypatch.setattr(farm, "get", lie)
    await deliver(farm, job.id)
    assert (out / "f_0002.png").read_bytes() == b"painted by hand"


async def test_a_job_of_another_machine_needs_a_folder(farm, painted, out, tmp_path):
    job = await painted()
    forget_sent(job.id)
    with pytest.raises(DeliveryError, match=f"{out}.*--output FOLDER"):
        await deliver(farm, job.id)
    assert not out.exists()
    assert (await deliver(farm, job.id, destination=tmp_path / "mine")).frames == 3


def test_what_was_sent_is_remembered_for_that_farm_only():
    spec = make_scene().spec
    remember_sent("a" * 32, "farm", spec)
    sent = recall_sent("a" * 32, "farm")
    assert sent is not None
    assert (sent.outputs, sent.overwrite) == (spec.outputs, spec.overwrite)
    assert recall_sent("a" * 32, "another farm") is None
    forget_sent("a" * 32)
    assert recall_sent("a" * 32, "farm") is None


# --- two deliveries of one job -------------------------------------------------------------------


async def test_a_copy_elsewhere_does_not_end_the_delivery_home(farm, painted, out, tmp_path):
    job = await painted()
    farm_id = (await farm.health()).farm_id
    open_record(job.id, farm_id, None)  # Begun, and then Blender was closed.
    await deliver(farm, job.id, destination=tmp_path / "copy")
    (left,) = unfinished(farm_id)
    assert (left.job, left.destination) == (job.id, None)
    open_record(job.id, farm_id, tmp_path / "third")
    assert len(unfinished(farm_id)) == 2
    forget_delivery(job.id)
    assert unfinished(farm_id) == ()


async def test_two_processes_deliver_one_job(farm, painted, out):
    job = await painted(overwrite=False)
    first, second = await asyncio.gather(deliver(farm, job.id), deliver(farm, job.id))
    assert names(out) == ["f_0001.png", "f_0002.png", "f_0003.png"]
    assert first.kept == second.kept == ()


async def test_a_frame_made_by_another_process_is_replaced_when_rendered_anew(
    farm, painted, make_node, out, monkeypatch
):
    job = await painted(overwrite=False)
    # A process that began before the other one had put anything there.
    record = open_record(job.id, (await farm.health()).farm_id, None)
    await deliver(farm, job.id)
    assert record.files == {}
    await farm.post(f"/api/v1/jobs/{job.id}/retry", JobView, body={"frames": "2"})
    node = make_node(farm, 1, "two")
    async with node.connected():
        assign = await node.receive_a(Assign)
        await node.send(await node.done(assign.frames[0], picture(99), path="f_0002.png"))
        await node.receive_a(FrameAccepted)
    monkeypatch.setattr(delivery, "open_record", lambda *_: record)
    delivered = await deliver(farm, job.id)
    assert delivered.kept == ()
    assert (out / "f_0002.png").read_bytes() == picture(99)


async def test_who_insists_also_replaces_what_was_changed_since(farm, painted, out):
    job = await painted()
    await deliver(farm, job.id)
    (out / "f_0002.png").write_bytes(b"retouched")
    assert [path.name for path in (await deliver(farm, job.id)).kept] == ["f_0002.png"]
    assert (await deliver(farm, job.id, overwrite=True)).kept == ()
    assert (out / "f_0002.png").read_bytes() == picture(2)


# --- the disk ------------------------------------------------------------------------------------


async def test_a_folder_that_is_deleted_meanwhile_is_made_again(farm, painted, out, monkeypatch):
    job = await painted()
    deleted: list[Path] = []

    async def download(farm, sha256, length, target, **options):
        if not deleted:
            deleted.append(target)
            shutil.rmtree(out)
        await download_file(farm, sha256, length, target, **options)

    monkeypatch.setattr(delivery, "download_file", download)
    delivered = await deliver(farm, job.id)
    assert deleted[0] in delivered.files
    assert deleted[0].is_file()


async def test_a_memory_that_cannot_be_written_is_said(farm, painted, home):
    job = await painted()
    (home / "data" / "deliveries").write_bytes(b"a file where the folder should be")
    with pytest.raises(DeliveryError, match="cannot be noted"):
        await deliver(farm, job.id)


@pytest.mark.parametrize("name", ["\u6620" * 84 + ".mp", "\U0001f3ac" * 63, "f" * 255])
async def test_the_longest_names_there_are(farm, tmp_path, name):
    assert len(name.encode()) in (252, 255)
    sha256 = await put_bytes(farm, b"a picture")
    await download_file(farm, sha256, 9, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"a picture"
    assert [path.name for path in tmp_path.glob("*.part")] == []
