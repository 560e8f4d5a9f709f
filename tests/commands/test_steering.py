"""Acting on jobs and nodes from the command line, while they run."""

from __future__ import annotations

import json

from rendermill.commands.exit_codes import ExitCode
from rendermill.protocol.codec import from_plain
from rendermill.protocol.job import FrameOrder
from rendermill.protocol.messages import Assign, FailureKind, FrameFailed, FrameStarted
from rendermill.protocol.states import JobState, NodeState
from rendermill.protocol.views import JobDetail, JobView, NodeView

from ..coordinator.conftest import make_scene


async def send(farm, frames="1-9", **changes) -> JobView:
    scene = make_scene(frames, **changes)
    await scene.upload(farm)
    return await scene.submit(farm)


async def test_changing_a_job(coordinator, farm, make_node, rendermill):
    job = await send(farm)
    node = make_node(farm)
    async with node.connected():
        words = ["--priority", "80", "--node", "box", "--tag", "fast", "--max-nodes", "3"]
        words += ["--order", "backward", "--memory", "1.5", "--silent", "60", "--shortest", "2"]
        ran = await rendermill("change", job.id, *words)
        assert ran.code == ExitCode.DONE, ran.err
        assert job.id in ran.out
        spec = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).spec
        assert (spec.requires.nodes, spec.requires.tags) == ((node.node,), ("fast",))
        assert spec.requires.memory_bytes == 1.5 * 1024**3
        assert (spec.max_nodes, spec.order) == (3, FrameOrder.BACKWARD)
        assert (spec.limits.silent_seconds, spec.limits.shortest_seconds) == (60, 2)
        # What is not named stays.
        words = ["--any-node", "--no-tags", "--no-progress", "30", "--json"]
        ran = await rendermill("change", job.id, *words)
        assert from_plain(json.loads(ran.out), JobView).priority == 80
        spec = (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).spec
        assert (spec.requires.nodes, spec.requires.tags) == ((), ())
        assert (spec.limits.silent_seconds, spec.limits.no_progress_seconds) == (60, 30)


async def test_what_cannot_be_changed_is_one_sentence(coordinator, farm, rendermill):
    job = await send(farm)
    for words, code, sentence in (
        ([], ExitCode.USAGE, "Nothing is to be changed"),
        (["--node", "nobody"], ExitCode.USAGE, "There is no node 'nobody'"),
        (["--priority", "101"], ExitCode.USAGE, "0 to 100"),
        (["--tag", " x"], ExitCode.FAILED, "without spaces"),
        (["--node", "a", "--any-node"], ExitCode.USAGE, "either"),
    ):
        ran = await rendermill("change", job.id, *words)
        assert (ran.code, ran.out) == (code, "")
        assert sentence in ran.err
    assert (await rendermill("change", "0" * 32, "--priority", "1")).code == ExitCode.USAGE


async def test_scouts_are_approved_or_rejected(coordinator, farm, rendermill):
    right = await send(farm, scouts=True)
    wrong = await send(farm, scouts=True)
    plain = await send(farm)
    assert (await rendermill("approve", right.id)).code == ExitCode.DONE
    assert "is cancelled" in (await rendermill("reject", wrong.id)).out
    refused = await rendermill("reject", plain.id)
    assert refused.code == ExitCode.FAILED
    assert "cancel it instead" in refused.err
    assert "is gone" in (await rendermill("remove", wrong.id)).out
    assert (await rendermill("job", wrong.id)).code == ExitCode.USAGE
    assert (await rendermill("remove", right.id)).code == ExitCode.FAILED


async def test_acting_on_a_node(coordinator, farm, make_node, rendermill):
    node = make_node(farm)
    async with node.attended():
        assert "is draining" in (await rendermill("drain", "box")).out
        ran = await rendermill("disable", node.node, "--json")
        assert from_plain(json.loads(ran.out), NodeView).state is NodeState.DISABLED
        assert "is idle" in (await rendermill("enable", node.node[:8])).out
        assert (await rendermill("drain", "nobody")).code == ExitCode.USAGE


async def test_a_node_is_forgiven_for_one_job_and_for_all(coordinator, farm, make_node, rendermill):
    node = make_node(farm)
    async with node.connected():
        for words in (["--job"], []):
            job = await send(farm, "1-3")
            waiting = {1, 2, 3}
            while waiting:
                for ref in (await node.receive_a(Assign)).frames:
                    if ref.job == job.id and ref.frame in waiting:
                        waiting.discard(ref.frame)
                        await node.send(FrameStarted(frame=ref))
                        failed = FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="It broke.")
                        await node.send(failed)
            view = await avoiding(farm, job.id)
            (avoided,) = view.avoids
            assert avoided.node == node.node
            assert "3 frames failed there" in avoided.reason
            extra = [*words, job.id] if words else []
            assert (await rendermill("forgive", "box", *extra)).code == ExitCode.DONE
            assert (await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)).job.avoids == ()
            cancelled = await farm.post(f"/api/v1/jobs/{job.id}/cancel", JobView)
            assert cancelled.state is JobState.CANCELLED


async def avoiding(farm, job: str) -> JobView:
    """The job, as soon as it avoids a node: what a node said is stored in its own time."""
    while True:
        view = (await farm.get(f"/api/v1/jobs/{job}", JobDetail)).job
        if view.avoids:
            return view
