"""The line to the coordinator: cut, silent, refused, moved; and what survives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rendermill.node.link import LinkRefused
from rendermill.node.notices import NoticeKind
from rendermill.protocol.messages import (
    Assign,
    FailureKind,
    FrameDone,
    FrameFailed,
    FrameStarted,
    Hello,
    SceneHeld,
)
from rendermill.wire.credentials import Credentials, JoinToken, local_path, write_local

from .conftest import Running, StartNode, job_spec
from .coordinator import FARM_ID, TOKEN, Coordinator, ref
from .session import AttemptFailed

SCENE = {"scene/shot.blend": b"BLENDER" * 100}


async def told(node: Running, kind: NoticeKind, count: int = 1) -> None:
    """Wait until the node has told this so often."""
    async with asyncio.timeout(120):
        while len(node.told(kind)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def begin(
    coordinator: Coordinator, start_node: StartNode, *frames: int, **options
) -> Running:
    """A node that has been assigned these frames and holds the first at the gate."""
    manifest = coordinator.add_scene(SCENE)
    node = await start_node(**options)
    await coordinator.hears(Hello)
    node.session.gate.clear()
    leases = tuple(ref(frame) for frame in frames)
    await coordinator.send(Assign(job="job-1", frames=leases, manifest=manifest, spec=job_spec()))
    await coordinator.hears(FrameStarted)
    return node


async def test_a_cut_line_stops_no_frame_and_loses_no_result(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1, 2)
    await coordinator.stop()
    node.session.gate.set()
    await told(node, NoticeKind.RENDERED, 2)
    before = len(coordinator.messages)
    await coordinator.start()
    hello = await coordinator.hears(Hello, after=before)
    assert set(hello.holding) == {ref(1), ref(2)}
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(1))
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    await told(node, NoticeKind.DELIVERED, 2)
    assert node.session.frames_rendered == 2
    assert len(node.told(NoticeKind.DISCONNECTED)) == 1


async def test_a_frame_that_was_begun_is_told_so_again_after_a_cut(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    """The coordinator may have started anew: its leases are kept, that they were begun is not."""
    node = await begin(coordinator, start_node, 1, 2)
    before = len(coordinator.messages)
    coordinator.cut()
    await coordinator.hears(Hello, after=before)
    started = await coordinator.hears(FrameStarted, after=before)
    assert started.frame == ref(1)
    node.session.gate.set()
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    assert node.session.frames_rendered == 2


async def test_frame_done_is_repeated_until_it_is_answered(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    coordinator.accepting = False
    node = await begin(coordinator, start_node, 1)
    node.session.gate.set()
    await coordinator.hears(FrameDone)
    stored = list(coordinator.stored)
    before = len(coordinator.messages)
    coordinator.cut()
    coordinator.accepting = True
    await coordinator.hears(FrameDone, after=before)
    await told(node, NoticeKind.DELIVERED)
    # Told again, not uploaded again.
    assert coordinator.stored == stored


async def test_blobs_the_coordinator_lost_are_sent_again(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    coordinator.accepting = False
    node = await begin(coordinator, start_node, 1)
    node.session.gate.set()
    done = await coordinator.hears(FrameDone)
    del coordinator.blobs[done.files[0].sha256]
    coordinator.accepting = True
    coordinator.cut()
    await told(node, NoticeKind.DELIVERED)
    assert done.files[0].sha256 in coordinator.blobs
    assert node.session.frames_rendered == 1


async def test_leases_not_kept_are_not_rendered(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1, 2)
    coordinator.keeping = False
    before = len(coordinator.messages)
    coordinator.cut()
    hello = await coordinator.hears(Hello, after=before)
    assert hello.holding == (ref(1), ref(2))
    manifest = coordinator.add_scene(SCENE)
    node.session.gate.set()
    await coordinator.send(
        Assign(job="job-1", frames=(ref(7, epoch=2),), manifest=manifest, spec=job_spec())
    )
    await coordinator.hears(FrameDone)
    assert [done.frame for done in coordinator.said(FrameDone)] == [ref(7, epoch=2)]
    assert node.session.aborts == 1


async def test_a_failure_while_cut_off_is_told_on_return(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1)
    node.session.failures[1] = AttemptFailed(FailureKind.CRASH, "Blender died.")
    await coordinator.stop()
    node.session.gate.set()
    await told(node, NoticeKind.FAILED)
    before = len(coordinator.messages)
    await coordinator.start()
    hello = await coordinator.hears(Hello, after=before)
    assert hello.holding == (ref(1),)
    failed = await coordinator.hears(FrameFailed)
    assert failed.reason == "Blender died."


class Proxy:
    """A TCP proxy that can fall silent without closing anything: a half-open line."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._silent: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    def fall_silent(self) -> None:
        """From now on no byte passes on any line that is open."""
        for silent in self._silent:
            silent.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        silent = asyncio.Event()
        self._silent.add(silent)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    if silent.is_set():
                        continue
                    sink.write(data)
                    await sink.drain()
            sink.close()

        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(pump(*pair))
            self._tasks.add(task)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def proxy(coordinator: Coordinator) -> AsyncIterator[Proxy]:
    made = Proxy(coordinator.port)
    port = await made.start()
    write_local(Credentials(f"http://127.0.0.1:{port}", TOKEN, "", "Test farm", FARM_ID))
    yield made
    await made.stop()


async def test_a_half_open_line_is_found_and_left(
    coordinator: Coordinator, proxy: Proxy, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1, ping_seconds=0.3)
    before = len(coordinator.messages)
    proxy.fall_silent()
    hello = await coordinator.hears(Hello, after=before)
    assert hello.holding == (ref(1),)
    node.session.gate.set()
    await coordinator.hears(FrameDone)


async def test_a_coordinator_that_moved_on_this_machine_is_found(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1)
    await coordinator.stop()
    await told(node, NoticeKind.DISCONNECTED)
    coordinator.port = 0
    await coordinator.start()
    coordinator.announce_here()
    before = len(coordinator.messages)
    node.session.gate.set()
    await coordinator.hears(FrameDone, after=before)


async def test_another_farm_at_the_old_place_is_not_served(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    node = await begin(coordinator, start_node, 1)
    await coordinator.stop()
    coordinator.farm_id = "another"
    await coordinator.start()
    coordinator.announce_here()
    node.session.gate.set()
    await told(node, NoticeKind.RENDERED)
    before = len(coordinator.messages)
    await told(node, NoticeKind.DISCONNECTED)
    await coordinator.stop()
    assert coordinator.messages[before:] == []
    # Its own farm comes back, and gets what was made for it.
    coordinator.farm_id = FARM_ID
    await coordinator.start()
    coordinator.announce_here()
    await coordinator.hears(FrameDone)


async def test_no_coordinator_is_said_once_and_waited_for(
    home: Path, start_node: StartNode
) -> None:
    node = await start_node()
    await told(node, NoticeKind.SEARCHING)
    assert "No coordinator found" in node.told(NoticeKind.SEARCHING)[0]
    coordinator = Coordinator()
    await coordinator.start()
    try:
        coordinator.announce_here()
        await coordinator.hears(Hello)
        assert len(node.told(NoticeKind.SEARCHING)) == 1
        await node.stop()
    finally:
        await coordinator.stop()


async def test_another_protocol_is_refused_with_a_sentence(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    coordinator.protocol = 999
    node = await start_node(coordinator=coordinator.url)
    with pytest.raises(LinkRefused, match="protocol 999"):
        await node.task


async def test_a_wrong_token_is_refused_with_a_sentence(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    write_local(Credentials(coordinator.url, "wrong", "", "Test farm", FARM_ID))
    node = await start_node()
    with pytest.raises(LinkRefused, match="join"):
        await node.task


async def test_a_node_joins_with_a_token_once(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    local_path().unlink()
    node = await start_node(coordinator=coordinator.url, join=JoinToken("", "0" * 32))
    await coordinator.hears(Hello)
    await node.stop()
    before = len(coordinator.messages)
    # The second start needs the token no more: this one is of no farm.
    again = await start_node(coordinator=coordinator.url, join=JoinToken("", "1" * 32))
    await coordinator.hears(Hello, after=before)
    await again.stop()


async def test_a_full_coordinator_is_told_of_and_the_frame_kept(
    coordinator: Coordinator, start_node: StartNode
) -> None:
    coordinator.full = True
    node = await begin(coordinator, start_node, 1)
    node.session.gate.set()
    await told(node, NoticeKind.PROBLEM)
    assert "disk is full" in node.told(NoticeKind.PROBLEM)[0]
    coordinator.full = False
    await coordinator.hears(FrameDone)
    await told(node, NoticeKind.DELIVERED)
    assert len(node.told(NoticeKind.PROBLEM)) == 1


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
async def test_a_finished_frame_survives_kill_9(
    coordinator: Coordinator, tmp_path: Path, home: Path
) -> None:
    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("scripted_node.py")),
            str(tmp_path / "one"),
            str(tmp_path / "cache"),
            stdout=asyncio.subprocess.DEVNULL,
        )

    coordinator.accepting = False
    manifest = coordinator.add_scene(SCENE)
    first = await start()
    try:
        hello = await coordinator.hears(Hello)
        await coordinator.send(
            Assign(job="job-1", frames=(ref(1),), manifest=manifest, spec=job_spec())
        )
        done = await coordinator.hears(FrameDone)
    finally:
        first.send_signal(signal.SIGKILL)
        await first.wait()
    coordinator.blobs.pop(done.files[0].sha256)
    coordinator.accepting = True
    before = len(coordinator.messages)

    second = await start()
    try:
        again = await coordinator.hears(Hello, after=before)
        assert again.node == hello.node
        assert again.incarnation != hello.incarnation
        assert again.holding == (ref(1),)
        assert again.scenes == (manifest,)
        repeated = await coordinator.hears(FrameDone, after=before)
        assert repeated.files == done.files
        assert coordinator.blobs[done.files[0].sha256] == SCENE["scene/shot.blend"] + b" frame 1"
        await coordinator.send(
            Assign(job="job-2", frames=(ref(1, job="job-2"),), manifest=manifest, spec=job_spec())
        )
        await coordinator.hears(FrameDone, lambda done: done.frame.job == "job-2")
        # Trees of the killed process are swept, its scene was kept: nothing was fetched again.
        assert len(coordinator.fetched) == len(set(coordinator.fetched))
    finally:
        second.kill()
        await second.wait()


async def test_two_nodes_share_one_cache(coordinator: Coordinator, start_node: StartNode) -> None:
    manifest = coordinator.add_scene(
        {"scene/shot.blend": os.urandom(300_000), "scene/wood.png": b"wood"}, chunk_bytes=1000
    )
    await start_node("one")
    await start_node("two")
    first = await coordinator.hears(Hello, lambda hello: hello.name == "one")
    second = await coordinator.hears(Hello, lambda hello: hello.name == "two")
    assert first.node != second.node
    for number, hello in enumerate((first, second), 1):
        await coordinator.send(
            Assign(job="job-1", frames=(ref(number),), manifest=manifest, spec=job_spec()),
            to=hello.node,
        )
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(1))
    await coordinator.hears(FrameDone, lambda done: done.frame == ref(2))
    # Both have it, one fetched it.
    assert len(coordinator.said(SceneHeld)) == 2
    assert len(coordinator.fetched) == len(set(coordinator.fetched))
