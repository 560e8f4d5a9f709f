from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendermill.addon.client.delivery import DeliveryProgress, deliver, output_path
from rendermill.addon.client.delivery_record import forget_delivery, open_record, unfinished
from rendermill.addon.client.errors import DeliveryError
from rendermill.addon.client.submission import submit
from rendermill.protocol.job import JobSpec, OutputRoot
from rendermill.protocol.messages import Assign, FrameAccepted, FrameFile
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobView
from rendermill.wire.errors import NotFound

from ...coordinator.conftest import make_scene, picture
from .scenes import capture, make_files


@pytest.fixture
def out(tmp_path):
    return tmp_path / "renders" / "shot"


@pytest.fixture
async def send(farm, tmp_path, out, cache):
    """Submit a scene and return its job."""

    async def run(frames: str = "1-3", **changes: object) -> JobView:
        captured = capture(make_files(tmp_path / "scene"), out, frames, **changes)
        return (await submit(farm, captured, cache=cache)).job

    return run


async def paint(farm, make_node, count: int, incarnation: str = "one") -> None:
    node = make_node(farm, 1, incarnation)
    async with node.connected():
        await node.render(lambda: len(node.accepted) >= count)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_frames_come_home_as_they_are_made(farm, make_node, send, out):
    job = await send("1-5")
    heard: list[DeliveryProgress] = []
    delivery = asyncio.ensure_future(deliver(farm, job.id, progress=heard.append))
    await paint(farm, make_node, 5)
    delivered = await delivery
    assert delivered.job.state is JobState.DONE
    assert delivered.frames == 5
    assert delivered.folders == (out,)
    assert [path.name for path in delivered.files] == [f"f_{n:04d}.png" for n in range(1, 6)]
    assert names(out) == [f"f_{n:04d}.png" for n in range(1, 6)]
    for n in range(1, 6):
        assert (out / f"f_{n:04d}.png").read_bytes() == picture(n)
    assert [p.frames_here for p in heard] == sorted(p.frames_here for p in heard)
    assert heard[-1].frames_here == 5


async def test_a_job_that_has_ended_is_fetched_at_once(farm, make_node, send, out, tmp_path):
    job = await send()
    await paint(farm, make_node, 3)
    assert (await deliver(farm, job.id)).frames == 3
    elsewhere = await deliver(farm, job.id, destination=tmp_path / "other")
    assert elsewhere.folders == (tmp_path / "other",)
    assert names(out) == names(tmp_path / "other")


async def test_a_cancelled_job_ends_its_delivery(farm, send):
    job = await send()
    delivery = asyncio.ensure_future(deliver(farm, job.id))
    await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    delivered = await delivery
    assert delivered.job.state is JobState.CANCELLED
    assert delivered.frames == 0


async def test_a_deleted_job_ends_its_delivery(farm, send):
    job = await send()
    await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
    await farm.delete(f"/api/v1/jobs/{job.id}")
    with pytest.raises(NotFound):
        await deliver(farm, job.id)


async def test_what_is_there_already_is_kept(farm, make_node, send, out):
    job = await send(overwrite=False)
    out.mkdir(parents=True)
    (out / "f_0001.png").write_bytes(picture(1))
    (out / "f_0002.png").write_bytes(b"painted by hand")
    (out / "f_0003.png").write_bytes(b"")
    before = (out / "f_0001.png").stat()
    await paint(farm, make_node, 3)
    delivered = await deliver(farm, job.id)
    assert (out / "f_0001.png").stat().st_mtime_ns == before.st_mtime_ns
    assert (out / "f_0002.png").read_bytes() == b"painted by hand"
    assert (out / "f_0003.png").read_bytes() == picture(3), "a placeholder"
    assert [path.name for path in delivered.kept] == ["f_0002.png"]
    assert [path.name for path in delivered.files] == ["f_0001.png", "f_0003.png"]
    forced = await deliver(farm, job.id, overwrite=True)
    assert forced.kept == ()
    assert (out / "f_0002.png").read_bytes() == picture(2)


async def test_a_scene_that_overwrites_does_so_in_its_own_folder_only(
    farm, make_node, send, out, tmp_path
):
    job = await send(overwrite=True)
    for folder in (out, tmp_path / "other"):
        folder.mkdir(parents=True)
        (folder / "f_0001.png").write_bytes(b"older")
    await paint(farm, make_node, 3)
    assert (await deliver(farm, job.id)).kept == ()
    assert (out / "f_0001.png").read_bytes() == picture(1)
    kept = (await deliver(farm, job.id, destination=tmp_path / "other")).kept
    assert [path.name for path in kept] == ["f_0001.png"]


async def test_a_frame_worked_on_since_is_the_artists(farm, make_node, send, out):
    job = await send()
    await paint(farm, make_node, 3)
    await deliver(farm, job.id)
    (out / "f_0002.png").write_bytes(b"retouched")
    (out / "f_0003.png").unlink()
    delivered = await deliver(farm, job.id)
    assert (out / "f_0002.png").read_bytes() == b"retouched"
    assert (out / "f_0003.png").read_bytes() == picture(3)
    assert [path.name for path in delivered.kept] == ["f_0002.png"]


async def test_a_frame_rendered_anew_replaces_the_old_one(farm, make_node, send, out):
    job = await send(overwrite=False)
    await paint(farm, make_node, 3)
    await deliver(farm, job.id)
    await farm.post(f"/api/v1/jobs/{job.id}/retry", JobView, body={"frames": "2"})
    node = make_node(farm, 1, "two")
    async with node.connected():
        assign = await node.receive_a(Assign)
        await node.send(await node.done(assign.frames[0], picture(99), path="f_0002.png"))
        await node.receive_a(FrameAccepted)
    delivered = await deliver(farm, job.id)
    assert delivered.kept == ()
    assert (out / "f_0002.png").read_bytes() == picture(99)
    assert (out / "f_0001.png").read_bytes() == picture(1)


async def test_a_delivery_that_was_stopped_goes_on(farm, make_node, send, out):
    job = await send()
    begun = asyncio.Event()
    delivery = asyncio.ensure_future(
        deliver(farm, job.id, progress=lambda p: begun.set() if p.frames_here else None)
    )
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) >= 1)
        await begun.wait()
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
        assert not [name for name in names(out) if name.endswith(".part")]
        farm_id = (await farm.health()).farm_id
        (record,) = unfinished(farm_id)
        assert record.job == job.id
        assert unfinished("another farm") == ()
        await node.render(lambda: len(node.accepted) >= 3)
    assert (await deliver(farm, job.id)).frames == 3
    assert unfinished(farm_id) == ()


async def test_a_folder_that_cannot_be_written_is_said(farm, make_node, send, out):
    job = await send()
    out.parent.mkdir(parents=True)
    out.write_bytes(b"a file where the folder should be")
    await paint(farm, make_node, 3)
    with pytest.raises(DeliveryError, match="--output"):
        await deliver(farm, job.id)


async def test_a_folder_in_the_way_is_said(farm, make_node, send, out):
    job = await send()
    (out / "f_0001.png").mkdir(parents=True)
    await paint(farm, make_node, 3)
    with pytest.raises(DeliveryError, match="in the way"):
        await deliver(farm, job.id)


# --- where files go ------------------------------------------------------------------------------


def spec_with(folder) -> JobSpec:
    spec = make_scene().spec
    other = OutputRoot(id="out1", label="Depth", folder=str(folder / "depth"))
    return replace(spec, outputs=(replace(spec.outputs[0], folder=str(folder)), other))


def file_of(path: str, root: str = "main") -> FrameFile:
    return FrameFile(root=root, path=path, sha256="0" * 64, length=1)


@given(st.text(max_size=30), st.sampled_from(["main", "out1"]))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, text, root):
    folder = tmp_path_factory.getbasetemp() / "out"
    for path in (text, f"../{text}", f"a/../../{text}", f"/{text}"):
        try:
            target = output_path(spec_with(folder), file_of(path, root))
        except DeliveryError:
            continue
        assert target.resolve().is_relative_to(folder.resolve())
        assert ".." not in target.parts


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "C:/x", "a\\b", "x.", "nul", ""])
def test_names_that_are_not_safe(tmp_path, path):
    with pytest.raises(DeliveryError):
        output_path(spec_with(tmp_path), file_of(path))


def test_a_link_that_leads_out_is_not_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "secret")
    spec = spec_with(tmp_path / "out")
    with pytest.raises(DeliveryError, match="link"):
        output_path(spec, file_of("sub/f.png"))
    assert output_path(spec, file_of("other/f.png")) == tmp_path / "out" / "other" / "f.png"


def test_outputs_have_folders_of_their_own_elsewhere(tmp_path):
    spec, other = spec_with(tmp_path / "out"), tmp_path / "other"
    assert output_path(spec, file_of("f.png"), other) == other / "f.png"
    assert output_path(spec, file_of("f.png", "out1"), other) == other / "out1" / "f.png"


def test_a_folder_of_another_system_is_said(tmp_path):
    spec = make_scene().spec
    spec = replace(spec, outputs=(replace(spec.outputs[0], folder="C:\\renders"),))
    with pytest.raises(DeliveryError, match="--output"):
        output_path(spec, file_of("f.png"))
    with pytest.raises(DeliveryError, match="no output"):
        output_path(spec, file_of("f.png", "out7"))


def test_the_record_survives_a_torn_line(tmp_path):
    record = open_record("a" * 32, "farm", None)
    record.add(tmp_path / "f1", "1" * 64)
    with record.path.open("ab") as file:
        file.write(b'{"file": "/half')
    again = open_record("a" * 32, "farm", None)
    again.add(tmp_path / "f2", "2" * 64)
    (found,) = unfinished("farm")
    assert set(found.files) == {str(tmp_path / "f1"), str(tmp_path / "f2")}
    forget_delivery("a" * 32)
    assert unfinished("farm") == ()


@pytest.mark.parametrize("job", ["", "../x", "a/b", "x" * 65])
def test_an_id_from_the_network_cannot_leave_the_folder(job):
    with pytest.raises(DeliveryError):
        open_record(job, "farm", None)
