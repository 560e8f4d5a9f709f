"""A job from submission to its last frame, over the real interface, and over restarts."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from rendermill.protocol.messages import (
    Assign,
    FrameAccepted,
    FrameFailed,
    FrameRefused,
    FrameStarted,
    JobScript,
    LogLines,
)
from rendermill.protocol.states import FrameState, JobState, NodeState
from rendermill.protocol.views import (
    Event,
    FarmView,
    FrameDetail,
    FramePage,
    JobDetail,
    JobPage,
    JobView,
    NodePage,
)
from rendermill.wire import blobs
from rendermill.wire.connection import FarmConnection
from rendermill.wire.errors import NotFound, Refused


async def test_a_job_renders_to_the_end(farm, scene, make_node, paint, tmp_path):
    shot = scene("1-5")
    await shot.upload(farm)
    job = await shot.submit(farm)
    assert job.state is JobState.QUEUED
    assert job.counts.waiting == 5
    assert job.scene_files == 2
    assert job.scene_bytes == sum(map(len, shot.files.values()))
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 5)
    detail = await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)
    assert detail.job.state is JobState.DONE
    assert detail.job.counts.done == 5
    assert detail.spec == shot.spec
    page = await farm.get(f"/api/v1/jobs/{job.id}/frames", FramePage)
    assert [frame.frame for frame in page.frames] == [1, 2, 3, 4, 5]
    for frame in page.frames:
        (made,) = frame.files
        assert frame.state is FrameState.DONE
        async with farm.stream("GET", f"/api/v1/jobs/{job.id}/frames/{frame.frame}/files/0") as got:
            assert await got.read() == paint(frame.frame)
            assert got.headers["Content-Type"] == "image/png"
            assert made.path in got.headers["Content-Disposition"]
        async with farm.stream(
            "GET", f"/api/v1/jobs/{job.id}/frames/{frame.frame}/thumbnail"
        ) as got:
            assert await got.read() == paint(frame.frame)
        await blobs.download_file(farm, made.sha256, made.length, tmp_path / made.path)
        assert (tmp_path / made.path).read_bytes() == paint(frame.frame)
    attempts = (await farm.get(f"/api/v1/jobs/{job.id}/frames/3", FrameDetail)).attempts
    assert [attempt.outcome for attempt in attempts] == ["done"]
    jobs = await farm.get("/api/v1/jobs", JobPage, params={"state": "done"})
    assert [listed.id for listed in jobs.jobs] == [job.id]
    nodes = await farm.get("/api/v1/nodes", NodePage)
    assert [(one.frames_done, one.id) for one in nodes.nodes] == [(5, node.node)]


async def test_a_restart_in_the_middle_loses_nothing(start, scene, make_node, data):
    first = await start()
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-8")
        await shot.upload(farm)
        job = await shot.submit(farm)
        node = make_node(farm)
        async with node.connected():
            await node.render(lambda: len(node.accepted) >= 3)
    accepted = {ref.frame for ref in node.accepted}
    await first.stop()

    second = await start()
    assert second.credentials.farm_id == first.credentials.farm_id
    assert second.token == first.token
    async with FarmConnection(second.credentials) as farm:
        page = await farm.get(f"/api/v1/jobs/{job.id}/frames", FramePage, params={"state": "done"})
        done = {frame.frame for frame in page.frames}
        assert accepted <= done
        later = make_node(farm, incarnation="two")
        async with later.connected():
            await later.render(lambda: len(later.accepted) == 8 - len(done))
        assert not done & {ref.frame for ref in later.rendered}
        view = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
        assert view.state is JobState.DONE
        nodes = (await farm.get("/api/v1/nodes", NodePage)).nodes
        assert nodes[0].frames_done == 8


async def test_a_node_delivers_after_a_restart_what_it_rendered_before(start, scene, make_node):
    first = await start()
    async with FarmConnection(first.credentials) as farm:
        shot = scene("7")
        await shot.upload(farm)
        job = await shot.submit(farm)
        node = make_node(farm)
        async with node.connected():
            ref = (await node.receive_a(Assign)).frames[0]
            await node.send(FrameStarted(frame=ref))
            result = await node.done(ref)
    await first.stop()
    second = await start()
    async with FarmConnection(second.credentials) as farm:
        node.farm = farm
        async with node.connected(holding=(ref,)):
            await node.send(result)
            assert (await node.receive_a(FrameAccepted)).frame == ref
            # And again: the acknowledgement may have been lost on the way.
            await node.send(result)
            assert (await node.receive_a(FrameAccepted)).frame == ref
        view = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job
        assert view.state is JobState.DONE


@pytest.mark.parametrize(
    ("size", "file_format", "words"),
    [
        ((9, 9), "PNG", "9 x 9 pixels and should be 8 x 6"),
        ((8, 6), "JPEG", "is JPEG and should be PNG"),
        (None, "", "is no image and should be PNG"),
    ],
)
async def test_what_is_not_the_frame_is_refused(
    farm, scene, make_node, paint, size, file_format, words
):
    shot = scene("1")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    start = (await farm.get("/api/v1/farm", FarmView)).sequence
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        data = paint(1, size, file_format) if size else b"nothing like it"
        await node.send(await node.done(ref, data))
        refusal = await node.receive_a(FrameRefused)
        assert refusal.frame == ref
        assert not refusal.retry
        assert words in refusal.reason
        await _next_event(farm, start, lambda event: bool(event.frame and event.frame.failures))
    detail = await farm.get(f"/api/v1/jobs/{job.id}/frames/1", FrameDetail)
    assert detail.attempts[0].outcome == "output"
    assert words in detail.attempts[0].reason


async def test_a_result_without_its_bytes_is_asked_for_again(farm, scene, make_node):
    shot = scene("1")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        result = await node.done(ref)
        from dataclasses import replace

        lost = replace(result, files=(replace(result.files[0], sha256="ab" * 32),))
        await node.send(lost)
        refusal = await node.receive_a(FrameRefused)
        assert refusal.retry
        await node.send(result)
        assert (await node.receive_a(FrameAccepted)).frame == ref


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("main", "../../etc/passwd.png"),
        ("out9", "f.png"),
        ("main", "/abs.png"),
        ("main", "a\\b.png"),
    ],
)
async def test_names_outside_the_outputs_are_refused(farm, scene, make_node, root, path):
    from dataclasses import replace

    shot = scene("1")
    await shot.upload(farm)
    await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        result = await node.done(ref)
        await node.send(replace(result, files=(replace(result.files[0], root=root, path=path),)))
        assert not (await node.receive_a(FrameRefused)).retry


async def test_script_and_log_can_be_read(farm, scene, make_node):
    shot = scene("1")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    with pytest.raises(NotFound, match="no script yet"):
        await farm.text(f"/api/v1/jobs/{job.id}/script")
    start = (await farm.get("/api/v1/farm", FarmView)).sequence
    async with node.connected():
        ref = (await node.receive_a(Assign)).frames[0]
        await node.send(JobScript(job=job.id, script="import bpy\n"))
        await node.send(LogLines(lines=("Fra:1 Mem:9M",), frame=ref))
        await node.send(FrameFailed(frame=ref, kind="scene", reason="No camera.", log=("E",)))  # pyright: ignore[reportArgumentType]
        log = await _next_event(farm, start, lambda event: event.kind == "log")
        assert log.lines == ("Fra:1 Mem:9M",)
        assert log.job_id == job.id
        await _next_event(
            farm,
            start,
            lambda event: event.kind == "frame" and bool(event.frame and event.frame.failures),
        )
    assert await farm.text(f"/api/v1/jobs/{job.id}/script") == "import bpy\n"
    detail = await farm.get(f"/api/v1/jobs/{job.id}/frames/1", FrameDetail)
    assert detail.attempts[0].reason == "No camera."
    assert detail.attempts[0].log == ("E",)


async def _next_event(farm: FarmConnection, after: int, wanted) -> Event:
    async with asyncio.timeout(60):
        async for event in farm.events(after=after):
            if wanted(event):
                return event
    raise AssertionError("unreachable")


async def test_steering_a_job(farm, scene):
    shot = scene("1-4")
    await shot.upload(farm)
    job = await shot.submit(farm)
    path = f"/api/v1/jobs/{job.id}"
    assert (await farm.post(f"{path}/pause", JobView)).paused
    with pytest.raises(Refused) as refusal:
        await farm.delete(path)
    assert refusal.value.problem.status == 409
    assert not (await farm.post(f"{path}/resume", JobView)).paused
    assert (await farm.patch(path, JobView, body={"priority": 80})).priority == 80
    assert (await farm.post(f"{path}/cancel", JobView)).state is JobState.CANCELLED
    again = await farm.post(f"{path}/retry", JobView, body={"frames": "2-3"})
    assert again.counts.waiting == 2
    assert again.state is JobState.QUEUED
    await farm.post(f"{path}/cancel", JobView)
    await farm.delete(path)
    with pytest.raises(NotFound):
        await farm.get(path, JobDetail)


async def test_changing_a_job(farm, scene, make_node):
    shot = scene("1-4", scouts=True)
    await shot.upload(farm)
    job = await shot.submit(farm)
    path = f"/api/v1/jobs/{job.id}"
    node = make_node(farm)
    async with node.connected():
        body = {"nodes": [node.node], "max_nodes": 2, "order": "binary"}
        await farm.patch(path, JobView, body=body | {"limits": {"no_progress_seconds": 9}})
        spec = (await farm.get(path, JobDetail)).spec
        assert (spec.requires.nodes, spec.max_nodes) == ((node.node,), 2)
        assert (spec.order.value, spec.limits.no_progress_seconds) == ("binary", 9)
        for wrong, status in (
            ({}, 422),
            ({"priority": 101}, 422),
            ({"limits": {"silent_seconds": -1}}, 422),
            ({"tags": ["x" * 101]}, 422),
            ({"nodes": ["nobody"]}, 404),
            ({"order": "sideways"}, 400),
        ):
            with pytest.raises((Refused, NotFound)) as refusal:
                await farm.patch(path, JobView, body=wrong)
            assert refusal.value.problem.status == status, wrong
        forgiven = await farm.post(f"{path}/forgive", JobView, body={"node": node.node})
        assert forgiven.avoids == ()
    assert (await farm.post(f"{path}/reject", JobView)).state is JobState.CANCELLED


async def test_steering_a_node(farm, make_node):
    node = make_node(farm)
    async with node.connected():
        from rendermill.protocol.views import NodeView

        path = f"/api/v1/nodes/{node.node}"
        assert (await farm.post(f"{path}/drain", NodeView)).state is NodeState.DRAINING
        assert (await farm.post(f"{path}/disable", NodeView)).state is NodeState.DISABLED
        assert (await farm.post(f"{path}/enable", NodeView)).state is NodeState.IDLE
        assert (await farm.post(f"{path}/forgive", NodeView)).state is NodeState.IDLE


async def test_the_same_key_is_the_same_job(farm, start, scene):
    shot, key = scene("1-2"), secrets.token_hex(8)
    await shot.upload(farm)
    job = await shot.submit(farm, key)
    assert (await shot.submit(farm, key)).id == job.id
    other = scene("1-3")
    with pytest.raises(Refused, match="new key") as refusal:
        await other.submit(farm, key)
    assert refusal.value.problem.status == 409
    both = await asyncio.gather(
        *(shot.submit(farm, "at once") for _ in range(5)), return_exceptions=True
    )
    ids = {view.id for view in both if isinstance(view, JobView)}
    assert len(ids) == 1
    assert len((await farm.get("/api/v1/jobs", JobPage)).jobs) == 2


async def test_the_key_survives_a_restart(start, scene):
    first = await start()
    async with FarmConnection(first.credentials) as farm:
        shot = scene("1-2")
        await shot.upload(farm)
        job = await shot.submit(farm, "my key")
    await first.stop()
    second = await start()
    async with FarmConnection(second.credentials) as farm:
        assert (await shot.submit(farm, "my key")).id == job.id
