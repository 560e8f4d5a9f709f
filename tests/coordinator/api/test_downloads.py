"""Pictures, archives, attempts and the load, asked of a running coordinator."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from typing import Any

import pytest
from rendermill.protocol.job import OutputRoot
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameAccepted,
    FrameFailed,
    FrameFile,
    FrameRefused,
    FrameStarted,
)
from rendermill.protocol.views import AttemptPage, FarmHistory, FrameDetail, JobView
from rendermill.wire import blobs
from rendermill.wire.errors import NotAllowed, Refused

MAIN = OutputRoot(id="main", label="Render output", folder="/home/ada/out", name="f_####")
LAYERS = OutputRoot(id="out1", label="Depth: Z/W", folder="/home/ada/z", node="Depth")


async def rendered(farm: Any, scene: Any, make_node: Any, frames: str = "1-3", **changes: object):
    shot = scene(frames, **changes)
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == job.counts.waiting)
    return job


async def raw_get(raw: Any, coordinator: Any, path: str, **headers: str) -> Any:
    credentials = coordinator.credentials
    headers["Authorization"] = f"Bearer {credentials.token}"
    return await raw.get(f"{credentials.url}/api/v1{path}", headers=headers)


async def test_all_frames_come_as_one_archive_under_their_names(
    coordinator, farm, scene, make_node, raw, paint
):
    job = await rendered(farm, scene, make_node, "1-3")
    answer = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames.zip")
    data = await answer.read()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert int(answer.headers["Content-Length"]) == len(data)
    assert "filename*=UTF-8''shot.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["f_0001.png", "f_0002.png", "f_0003.png"]
        assert opened.read("f_0002.png") == paint(2)


async def test_some_frames_and_what_cannot_be_had(coordinator, farm, scene, make_node, raw):
    job = await rendered(farm, scene, make_node, "1-4")
    answer = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames.zip?frames=2,4-9")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as opened:
        assert opened.namelist() == ["f_0002.png", "f_0004.png"]
    for query, status in (("?frames=9", 404), ("?frames=x", 422)):
        refused = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames.zip{query}")
        assert refused.status == status
        assert (await refused.json())["detail"]
    gone = await raw_get(raw, coordinator, "/jobs/nothing/frames.zip")
    assert gone.status == 404


async def test_files_of_output_nodes_lie_in_folders_of_their_own(
    coordinator, farm, scene, make_node, raw, paint
):
    shot = scene("1-2", outputs=(MAIN, LAYERS))
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        while len(node.accepted) < 2:
            match await node.receive():
                case Assign(frames=refs):
                    for ref in refs:
                        done = await node.done(ref)
                        digest = await blobs.put_bytes(farm, b"depth %d" % ref.frame)
                        more = FrameFile(root="out1", path="z.exr", sha256=digest, length=7)
                        await node.send(dataclasses.replace(done, files=(*done.files, more)))
                case FrameAccepted(frame=ref):
                    node.accepted.append(ref)
                case _:
                    pass
    answer = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames.zip")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as opened:
        # Both frames wrote the same name: neither is lost.
        assert opened.namelist() == [
            "f_0001.png",
            "Depth_ Z_W/z.exr",
            "f_0002.png",
            "Depth_ Z_W/z (frame 2).exr",
        ]
        assert opened.read("Depth_ Z_W/z.exr") == b"depth 1"


async def test_the_preview_is_the_file_itself_or_what_the_node_made_of_it(
    coordinator, farm, scene, make_node, raw, paint
):
    shot = scene("1-2", outputs=(MAIN,))
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    shown = paint(99, file_format="JPEG")
    async with node.connected():
        while len(node.accepted) < 2:
            match await node.receive():
                case Assign(frames=refs):
                    for ref in refs:
                        done = await node.done(ref)
                        if ref.frame == 2:
                            digest = await blobs.put_bytes(farm, shown)
                            done = dataclasses.replace(done, preview=digest)
                        await node.send(done)
                case FrameAccepted(frame=ref):
                    node.accepted.append(ref)
                case _:
                    pass
    first = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames/1/preview")
    assert (first.headers["Content-Type"], await first.read()) == ("image/png", paint(1))
    second = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames/2/preview")
    assert (second.headers["Content-Type"], await second.read()) == ("image/jpeg", shown)
    detail = await farm.get(f"/api/v1/jobs/{job.id}/frames/2", FrameDetail)
    assert detail.frame.preview
    await coordinator.collector.collect(0.0)
    kept = await raw_get(raw, coordinator, f"/jobs/{job.id}/frames/2/preview")
    assert await kept.read() == shown


async def test_a_preview_that_did_not_arrive_is_asked_for_again(farm, scene, make_node):
    shot = scene("1")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(dataclasses.replace(await node.done(ref), preview="ab" * 32))
        assert (await node.receive_a(FrameRefused)).retry


async def test_every_attempt_is_listed_with_those_in_progress(coordinator, farm, scene, make_node):
    shot = scene("1-2")
    await shot.upload(farm)
    job: JobView = await shot.submit(farm)
    node = make_node(farm)
    path = f"/api/v1/jobs/{job.id}/attempts"
    async with node.connected():
        ref, *others = (await node.receive_a(Assign)).frames
        await node.send(FrameStarted(frame=ref))
        await node.send(
            FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="Blender ended by signal 11.")
        )
        for other in others:
            await node.send(FrameStarted(frame=other))
            await node.send(await node.done(other))
        await node.render(lambda: len(node.accepted) == 2)
        page = await farm.get(path, AttemptPage)
        assert [one.name for one in page.nodes] == ["box"]
        found = sorted((one.frame, one.outcome) for one in page.attempts)
        assert found == [(1, "crash"), (1, "done"), (2, "done")]
        crash = next(one for one in page.attempts if one.outcome == "crash")
        assert crash.reason == "Blender ended by signal 11."
        # One at a time gives the same.
        one_by_one: list[Any] = []
        after = ""
        while after is not None:
            part = await farm.get(path, AttemptPage, params={"limit": "1", "after": after})
            one_by_one += part.attempts
            after = part.next
        assert one_by_one == list(page.attempts)
        # Only what ended later.
        ends = sorted(one.ended for one in page.attempts)
        later = await farm.get(path, AttemptPage, params={"ended_after": f"{ends[0]:.9f}"})
        assert len(later.attempts) in (2, 3)  # The last digits of a float may fall either way.
        await farm.post(f"/api/v1/jobs/{job.id}/retry", JobView, body={"frames": "2"})
        again = (await node.receive_a(Assign)).frames[0]
        await node.send(FrameStarted(frame=again))
        running = None
        while running is None or running.outcome != "rendering":
            page = await farm.get(path, AttemptPage)
            running = next((one for one in page.attempts if one.ended is None), None)
        assert (running.frame, running.generation, running.epoch) == (2, 2, again.epoch)


@pytest.mark.parametrize("query", ["after=1", "after=x.y", "ended_after=-1", "ended_after=nan"])
async def test_a_query_that_means_nothing_is_refused(farm, scene, query):
    shot = scene("1")
    await shot.upload(farm)
    job = await shot.submit(farm)
    name, _, value = query.partition("=")
    with pytest.raises(Refused):
        await farm.get(f"/api/v1/jobs/{job.id}/attempts", AttemptPage, params={name: value})


async def test_the_load_counts_nodes_and_finished_frames(coordinator, farm, scene, make_node):
    await rendered(farm, scene, make_node, "1-4")
    history = await farm.get("/api/v1/farm/history", FarmHistory)
    assert sum(history.frames_done) == 4
    assert len(history.rendering) == len(history.online) == len(history.frames_done) >= 1
    assert sum(history.rendering) > 0
    assert history.minute_seconds == 60


async def test_who_may_not_see_the_farm_gets_none_of_it(as_role, farm, scene):
    shot = scene("1")
    await shot.upload(farm)
    job = await shot.submit(farm)
    async with as_role("node") as machine:
        for path in (f"jobs/{job.id}/attempts", f"jobs/{job.id}/frames.zip", "farm/history"):
            with pytest.raises(NotAllowed):
                await machine.text(f"/api/v1/{path}")
