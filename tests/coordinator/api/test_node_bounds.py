"""A rogue node: bounded in what it says and how fast, cut off with a sentence."""

from __future__ import annotations

import aiohttp
import pytest
from rendermill.coordinator.api import node_bounds, node_link
from rendermill.coordinator.api.node_bounds import OutOfBounds, Traffic, bounded
from rendermill.protocol.messages import (
    LOG_LINE_MAX_CHARS,
    LOG_LINES_MAX,
    FailureKind,
    FrameDone,
    FrameFailed,
    FrameFile,
    FrameProgress,
    FrameRef,
    FrameRefused,
    FrameStarted,
    FrameStats,
    Goodbye,
    LeasesReturned,
    LogLines,
    ScenePreparing,
)
from rendermill.protocol.states import JobState
from rendermill.protocol.views import JobDetail

WAIT_SECONDS = 60
REF = FrameRef(job="no such job", generation=1, frame=1, epoch=10**15)

TOO_MUCH = {
    "log lines": LogLines(lines=("x",) * (LOG_LINES_MAX + 1)),
    "characters in a line": LogLines(lines=("x" * (LOG_LINE_MAX_CHARS + 1),)),
    "characters of progress": FrameProgress(frame=REF, fraction=0.5, text="x" * 100_000),
    "of progress": ScenePreparing(frame=REF, stage="x" * 100_000, fraction=0.5),
    "frames returned": LeasesReturned(frames=(REF,) * 5000, reason=""),
}


async def ended(node) -> tuple[int, str]:
    while True:
        frame = await node.socket.receive(timeout=WAIT_SECONDS)
        if frame.type is aiohttp.WSMsgType.CLOSE:
            return frame.data, frame.extra


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_too_much_in_one_message_ends_the_connection(farm, make_node, what):
    node = make_node(farm)
    async with node.connected():
        await node.send(TOO_MUCH[what])
        code, reason = await ended(node)
    assert code == node_link.CLOSE_BAD_MESSAGE
    assert what in reason


async def test_a_node_that_claims_thousands_of_frames_is_not_let_in(farm, make_node):
    node = make_node(farm)
    async with farm.websocket("/api/v1/node") as socket:
        node.socket = socket
        await node.send(node.hello(holding=(REF,) * 5000))
        code, reason = await ended(node)
    assert code == node_link.CLOSE_BAD_MESSAGE
    assert "frames held" in reason


async def test_a_flood_is_cut_off_and_the_others_go_on(farm, make_node, scene, monkeypatch):
    monkeypatch.setattr(node_bounds, "MINUTE_MAX_MESSAGES", 500)
    shot = scene("1-20")
    await shot.upload(farm)
    job = await shot.submit(farm)
    rogue, good = make_node(farm, 1), make_node(farm, 2)
    async with rogue.connected(), good.connected():
        with pytest.raises((ConnectionError, aiohttp.ClientError)):  # noqa: PT012 - a conversation
            while True:
                await rogue.send(LogLines(lines=("flood",)))
                if rogue.socket.closed:
                    raise ConnectionResetError
                try:
                    frame = await rogue.socket.receive(timeout=0.001)
                except TimeoutError:
                    continue
                if frame.type is aiohttp.WSMsgType.CLOSE:
                    assert "500 messages in a minute" in frame.extra
                if frame.type is not aiohttp.WSMsgType.BINARY:
                    raise ConnectionResetError
        async with rogue.connected():
            # Back again and honest: what it held is given to it anew or to the other.
            await rogue.send(Goodbye(reason="done with it"))
            await good.render(lambda: len(good.accepted) == 20)
    detail = await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)
    assert detail.job.state is JobState.DONE


async def test_unknown_frames_change_nothing(farm, make_node, scene):
    shot = scene("1-2")
    await shot.upload(farm)
    job = await shot.submit(farm)
    node = make_node(farm)
    async with node.connected():
        for ref in (REF, FrameRef(job=job.id, generation=1, frame=1, epoch=10**15)):
            await node.send(FrameStarted(frame=ref))
            await node.send(FrameProgress(frame=ref, fraction=0.5))
            await node.send(FrameFailed(frame=ref, kind=FailureKind.CRASH, reason="no"))
            await node.send(LeasesReturned(frames=(ref,), reason="no"))
            await node.send(await node.done(ref))
            assert (await node.receive_a(FrameRefused)).frame == ref
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 2)
    detail = await farm.get(f"/api/v1/jobs/{job.id}", JobDetail)
    assert detail.job.state is JobState.DONE
    assert not detail.job.counts.failed


def test_texts_of_an_outcome_are_shortened_and_never_lose_it():
    lines = tuple(f"{number} " + "x" * 5000 for number in range(1000))
    failed = bounded(FrameFailed(frame=REF, kind=FailureKind.CRASH, reason="y" * 10**6, log=lines))
    assert isinstance(failed, FrameFailed)
    assert len(failed.reason) == node_bounds.REASON_MAX_CHARS
    assert len(failed.log) == LOG_LINES_MAX
    assert failed.log[-1].startswith("999 ")
    assert max(map(len, failed.log)) == LOG_LINE_MAX_CHARS
    files = (FrameFile(root="main", path="a.png", sha256="0" * 64, length=1),)
    done = bounded(
        FrameDone(frame=REF, files=files, stats=FrameStats(seconds=1.0), log=lines, warnings=lines)
    )
    assert isinstance(done, FrameDone)
    assert done.files == files
    assert len(done.warnings) == node_bounds.WARNINGS_MAX


def test_traffic_is_counted_by_the_minute():
    moment = 0.0
    traffic = Traffic(lambda: moment)
    for _ in range(node_bounds.MINUTE_MAX_MESSAGES):
        traffic.count(1)
    with pytest.raises(OutOfBounds, match="messages in a minute"):
        traffic.count(1)
    moment = node_bounds.MINUTE_SECONDS
    traffic.count(node_bounds.MINUTE_MAX_BYTES)
    with pytest.raises(OutOfBounds, match="MiB"):
        traffic.count(1)
