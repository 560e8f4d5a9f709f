"""From `Assign` to `FrameAccepted`, and every other way a lease can end."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendermill.node.blender.attempt import AttemptFailed
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    ForgetJob,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    Goodbye,
    Heartbeat,
    Hello,
    JobScript,
    LeasesReturned,
    LogLines,
    Revoke,
    SceneHeld,
    SetDraining,
)

from .conftest import StartNode, job_spec
from .coordinator import Coordinator, ref

SCENE = {"scene/shot.blend": b"BLENDER" * 100, "scene/textures/wood.png": b"wood" * 1000}


async def ready(coordinator: Coordinator, start_node: StartNode, **options: object):
    node = await start_node(**options)
    await coordinator.hears(Hello)
    return node


async def test_a_frame_travels_from_assign_to_accepted(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE, chunk_bytes=512)
    node = await ready(coordinator, start_node)

    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    first = await coordinator.hears(FrameDone, lambda done: done.frame == ref(1))
    second = await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))

    assert [file.path for file in first.files] == ["shot_0001.png"]
    for done, number in ((first, 1), (second, 2)):
        file = done.files[0]
        assert coordinator.blobs[file.sha256] == SCENE["scene/shot.blend"] + b" frame %d" % number
        assert file.length == len(coordinator.blobs[file.sha256])
        assert coordinator.blobs[done.thumbnail] == b"thumbnail %d" % number
        assert done.warnings == ("A texture is missing.",)
    assert first.stats.prepare_seconds > 0
    assert second.stats.prepare_seconds == 0
    order = [type(m) for m in coordinator.messages if isinstance(m, FrameStarted | FrameDone)]
    assert order[0] is FrameStarted
    assert [m.frame for m in coordinator.said(FrameStarted)] == [ref(1), ref(2)]
    assert len(node.session.opened) == 1
    assert coordinator.said(SceneHeld) == [SceneHeld(manifest=manifest)]
    await coordinator.hears(LogLines, lambda log: log.lines == ("frame 2",))
    script = await coordinator.hears(JobScript)
    assert script.job == "job-1"
    assert "bpy" in script.script
    assert len(coordinator.said(JobScript)) == 1
    await node.stop()
    assert list((node.data / "outbox").glob("*/*")) == []
    assert await coordinator.hears(Goodbye)
    assert list((node.cache / "trees").iterdir()) == []
    assert list((node.data / "scratch" / "blender").iterdir()) == []


async def test_progress_is_sent_at_most_twice_a_second(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    # A hundred reports in one moment: one at most goes out at once, the newest when its time comes.
    newest = await coordinator.hears(FrameProgress, lambda progress: progress.fraction == 0.99)
    assert newest.text == "Sample 99/100"
    assert len(coordinator.said(FrameProgress)) <= 2


async def test_the_same_frame_twice_is_rendered_once(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.gate.clear()
    assign = Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    await coordinator.send(assign)
    await coordinator.hears(FrameStarted)
    await coordinator.send(assign)
    newer = Assign(job="job-1", frames=(ref(1, epoch=5),), manifest=manifest)
    await coordinator.send(newer)
    beat = len(coordinator.messages)
    await coordinator.hears(Heartbeat, after=beat)
    node.session.gate.set()
    # The newest lease of the frame is the one its result goes under.
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(1, epoch=5))
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    assert len(coordinator.said(FrameDone)) == 2
    assert node.session.frames_rendered == 2


async def test_a_finished_frame_assigned_again_is_offered_not_rendered(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    coordinator.accepting = False
    node = await ready(coordinator, start_node)
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameDone)
    await coordinator.send(Assign(job="job-1", frames=(ref(1, epoch=9),), manifest=manifest))
    await coordinator.hears(FrameDone, lambda done: done.frame.epoch == 9)
    assert node.session.frames_rendered == 1


async def test_an_unstarted_frame_is_returned_at_once(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameStarted)
    await coordinator.send(Revoke(frames=(ref(1), ref(2)), reason="elsewhere", running_too=False))
    returned = await coordinator.hears(LeasesReturned)
    assert returned.frames == (ref(2),)
    assert returned.reason == "elsewhere"
    node.session.gate.set()
    await coordinator.hears(FrameDone)
    assert node.session.aborts == 0
    assert [done.frame for done in coordinator.said(FrameDone)] == [ref(1)]


async def test_a_running_frame_is_stopped_and_the_next_one_rendered(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameStarted)
    await coordinator.send(Revoke(frames=(ref(1),), reason="cancelled", running_too=True))
    returned = await coordinator.hears(LeasesReturned)
    assert returned.frames == (ref(1),)
    assert node.session.aborts == 1
    node.session.gate.set()
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    assert node.session.starts == 2
    assert coordinator.said(FrameFailed) == []


async def test_a_frame_whose_scene_is_being_fetched_is_stopped(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    coordinator.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.asked.wait()
    await coordinator.send(Revoke(frames=(ref(1),), reason="cancelled", running_too=True))
    returned = await coordinator.hears(LeasesReturned)
    assert returned.frames == (ref(1),)
    # Blender was only waiting: it is kept warm.
    assert node.session.aborts == 0
    coordinator.gate.set()
    other = coordinator.add_scene({"scene/shot.blend": b"another"})
    await coordinator.send(
        Assign(job="job-2", frames=(ref(1, job="job-2"),), manifest=other, spec=job_spec())
    )
    await coordinator.hears(FrameDone, lambda done: done.frame.job == "job-2")


async def test_a_frame_whose_scene_is_being_opened_is_stopped(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.open_gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(SceneHeld)
    await coordinator.send(Revoke(frames=(ref(1),), reason="cancelled", running_too=True))
    await coordinator.hears(LeasesReturned)
    assert coordinator.said(FrameStarted) == []
    assert coordinator.said(FrameFailed) == []


async def test_a_revoked_result_leaves_the_outbox(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    coordinator.accepting = False
    node = await ready(coordinator, start_node)
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameDone)
    await coordinator.send(Revoke(frames=(ref(1),), reason="elsewhere", running_too=True))
    await coordinator.hears(LeasesReturned)
    await node.stop()
    assert list((node.data / "outbox").glob("*/*")) == []


async def test_a_failed_attempt_is_told_and_blender_started_anew(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    lines = tuple(f"line {number}" for number in range(500))
    node.session.failures[1] = AttemptFailed(FailureKind.CRASH, "Blender died.", lines)
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    failed = await coordinator.hears(FrameFailed)
    assert (failed.frame, failed.kind, failed.reason) == (
        ref(1),
        FailureKind.CRASH,
        "Blender died.",
    )
    assert len(failed.log) == 200
    assert failed.log[0] == "... 301 earlier lines left out"
    assert failed.log[-1] == "line 499"
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    assert node.session.starts == 2


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (job_spec(blender=(5, 0, 0)), "The job needs Blender 5.0; this node has 4.5.3."),
        (job_spec(engine="BLENDER_EEVEE_NEXT"), "lacks the engine BLENDER_EEVEE_NEXT"),
    ],
)
async def test_no_blender_that_fits_is_a_failure_of_the_node(
    coordinator: Coordinator, start_node: StartNode, spec, sentence: str
) -> None:
    manifest = coordinator.add_scene(SCENE)
    await ready(coordinator, start_node)
    await coordinator.send(Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=spec))
    failed = await coordinator.hears(FrameFailed)
    assert failed.kind is FailureKind.NODE
    assert sentence in failed.reason


async def test_a_job_never_described_is_given_back(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    await ready(coordinator, start_node)
    await coordinator.send(Assign(job="job-1", frames=(ref(1),), manifest="0" * 64))
    returned = await coordinator.hears(LeasesReturned)
    assert returned.frames == (ref(1),)


async def test_a_draining_node_takes_nothing_new(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    await ready(coordinator, start_node)
    assign = Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    await coordinator.send(SetDraining(draining=True))
    await coordinator.send(assign)
    await coordinator.hears(LeasesReturned)
    await coordinator.send(SetDraining(draining=False))
    await coordinator.send(assign)
    await coordinator.hears(FrameDone)


async def test_stop_gives_back_what_is_not_begun_and_finishes_the_rest(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node, grace_seconds=600.0)
    node.session.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameStarted)
    node.node.stop()
    returned = await coordinator.hears(LeasesReturned)
    assert returned.frames == (ref(2),)
    node.session.gate.set()
    await node.task
    assert [done.frame for done in coordinator.said(FrameDone)] == [ref(1)]
    await coordinator.hears(Goodbye)
    assert node.session.closed


async def test_stop_twice_gives_the_running_frame_back(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node, grace_seconds=600.0)
    node.session.gate.clear()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameStarted)
    node.node.stop()
    node.node.stop()
    await node.task
    assert (await coordinator.hears(LeasesReturned)).frames == (ref(1),)
    # The node has ended; its last words may still be on their way.
    await coordinator.hears(Goodbye)
    assert isinstance(coordinator.messages[-1], Goodbye)


async def test_the_next_scene_is_fetched_while_a_frame_is_rendered(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    first = coordinator.add_scene(SCENE)
    second = coordinator.add_scene({"scene/shot.blend": b"another scene"})
    node = await ready(coordinator, start_node)
    node.session.gate.clear()
    await coordinator.send(Assign(job="job-1", frames=(ref(1),), manifest=first, spec=job_spec()))
    await coordinator.hears(FrameStarted)
    await coordinator.send(
        Assign(job="job-2", frames=(ref(1, job="job-2"),), manifest=second, spec=job_spec())
    )
    await coordinator.hears(SceneHeld, lambda held: held.manifest == second)
    assert coordinator.said(FrameDone) == []
    node.session.gate.set()
    await coordinator.hears(FrameDone, lambda done: done.frame.job == "job-2")


async def test_a_job_that_ended_lets_go_of_its_scene(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    assign = Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
    await coordinator.send(assign)
    await coordinator.hears(FrameDone)
    fetched = len(coordinator.fetched)
    tree: Path = node.session.opened[0]
    assert tree.is_dir()  # noqa: ASYNC240
    await coordinator.send(ForgetJob(job="job-1"))
    again = Assign(job="job-2", frames=(ref(1, job="job-2"),), manifest=manifest, spec=job_spec())
    await coordinator.send(again)
    await coordinator.hears(FrameDone, lambda done: done.frame.job == "job-2")
    # The second job of the same scene costs no byte.
    assert len(coordinator.fetched) == fetched


async def test_a_mistake_in_the_node_is_told_and_the_node_goes_on(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    manifest = coordinator.add_scene(SCENE)
    node = await ready(coordinator, start_node)
    node.session.failures[1] = ZeroDivisionError("oh")
    await coordinator.send(
        Assign(job="job-1", frames=(ref(1), ref(2)), manifest=manifest, spec=job_spec())
    )
    failed = await coordinator.hears(FrameFailed)
    assert failed.kind is FailureKind.NODE
    assert "ZeroDivisionError" in failed.reason
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    await node.stop()
