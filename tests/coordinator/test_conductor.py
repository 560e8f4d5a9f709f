"""The conductor: stored before told, in the order in which it came, in as few commits as can be."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from rendermill.coordinator.clock import Clock
from rendermill.coordinator.conductor import Conductor
from rendermill.coordinator.connections import NodeConnection, NodeConnections
from rendermill.coordinator.farm.config import FarmConfig
from rendermill.coordinator.farm.events import (
    JobCancelled,
    JobSubmitted,
    MessageReceived,
    NodeJoined,
)
from rendermill.coordinator.farm.farm import Farm
from rendermill.coordinator.store.store import Store
from rendermill.protocol import PROTOCOL_VERSION
from rendermill.protocol.messages import (
    Assign,
    CoordinatorMessage,
    FrameAccepted,
    FrameDone,
    FrameFile,
    FrameRef,
    FrameRefused,
    FrameStarted,
    FrameStats,
    Hello,
    NodeMessage,
    Revoke,
)

from .conftest import MACHINE, make_scene

WAIT_SECONDS = 300
JOB = "0" * 31 + "1"


class WatchedConnections(NodeConnections):
    """Looks into the database, as another process would, before a frame is called accepted."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.stored: list[tuple[str, int]] = []
        """State and tries of each accepted frame, as the file had them."""

    def send(self, node: str, incarnation: str, message: CoordinatorMessage) -> None:
        if isinstance(message, FrameAccepted):
            key = message.frame.job, message.frame.frame
            with contextlib.closing(
                sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)
            ) as database:
                row = database.execute("SELECT state FROM frames WHERE job=? AND frame=?", key)
                (state,) = row.fetchone()
                row = database.execute("SELECT count(*) FROM attempts WHERE job=? AND frame=?", key)
                (tries,) = row.fetchone()
            self.stored.append((state, tries))
        super().send(node, incarnation, message)


class Stage:
    """A conductor over a real store, and the nodes that talk to it."""

    def __init__(self, conductor: Conductor, store: Store, connections: WatchedConnections) -> None:
        self.conductor = conductor
        self.store = store
        self.connections = connections
        self.nodes: dict[str, NodeConnection] = {}

    async def join(self, number: int) -> str:
        node = f"{number:032x}"
        connection = NodeConnection(node, "i", lambda _: None)
        self.nodes[node] = connection
        self.connections.add(connection)
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            software="test",
            node=node,
            incarnation="i",
            name=f"n{number}",
            machine=MACHINE,
        )
        await self.conductor.post(NodeJoined(hello=hello))
        await self.hears(node, 1)
        return node

    async def submit(self, frames: str) -> None:
        await self.conductor.request(
            JobSubmitted(
                job=JOB,
                spec=make_scene(frames).spec,
                manifest="0" * 64,
                scene_bytes=1,
                scene_files=1,
            )
        )

    async def say(self, node: str, message: NodeMessage) -> None:
        await self.conductor.post(MessageReceived(node=node, incarnation="i", message=message))

    async def hears(self, node: str, count: int) -> list[CoordinatorMessage]:
        """Return the next messages for a node."""
        async with asyncio.timeout(WAIT_SECONDS):
            return [await self.nodes[node].unsent.get() for _ in range(count)]

    async def given(self, node: str) -> list[FrameRef]:
        """Return the frames a node has got."""
        (message,) = await self.hears(node, 1)
        assert isinstance(message, Assign)
        return list(message.frames)

    @contextlib.contextmanager
    def writer_held(self) -> Iterator[None]:
        """Keep the disk busy: nothing is durable until this ends."""
        begun, release = threading.Event(), threading.Event()

        def work(_: object) -> None:
            begun.set()
            release.wait(WAIT_SECONDS)

        self.store.writer.submit(work)
        try:
            assert begun.wait(WAIT_SECONDS)
            yield
        finally:
            release.set()

    def writes_waiting(self) -> bool:
        return not self.store.writer._queue.empty()


@pytest.fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    failures: list[str] = []
    store = Store(tmp_path / "farm", failures.append)
    await asyncio.to_thread(store.open)
    connections = WatchedConnections(tmp_path / "farm" / "coordinator.db")
    conductor = Conductor(Farm(FarmConfig()), store, connections, Clock(), failures.append)
    await conductor.start()
    yield Stage(conductor, store, connections)
    await conductor.stop()
    await asyncio.to_thread(store.close)
    assert not failures


def done(ref: FrameRef) -> FrameDone:
    file = FrameFile(root="main", path=f"f_{ref.frame:04d}.png", sha256="a" * 64, length=9)
    return FrameDone(frame=ref, files=(file,), stats=FrameStats(seconds=1.0))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not true():  # noqa: ASYNC110 - nothing tells of what is inside
            await asyncio.sleep(0.001)


async def test_a_group_is_one_commit_and_nobody_is_told_before(stage):
    nodes = [await stage.join(number) for number in range(1, 6)]
    await stage.submit("1-100")
    given = {node: await stage.given(node) for node in nodes}
    commits = stage.store.writer.commits
    with stage.writer_held():
        for node, refs in given.items():
            await stage.say(node, FrameStarted(frame=refs[0]))
            for ref in refs:
                await stage.say(node, done(ref))
        await until(stage.writes_waiting)
        assert all(stage.nodes[node].unsent.empty() for node in nodes)
    for node, refs in given.items():
        heard = await stage.hears(node, 3)
        assert heard[:2] == [FrameAccepted(frame=ref) for ref in refs]
        assert isinstance(heard[2], Assign)
    # The one that was held, and one for all the reports.
    assert stage.store.writer.commits == commits + 2
    assert stage.connections.stored == [("done", 1)] * 10


async def test_a_request_between_reports_keeps_its_place(stage):
    nodes = [await stage.join(number) for number in (1, 2)]
    await stage.submit("1-100")
    (first, second), (third, fourth) = [await stage.given(node) for node in nodes]
    with stage.writer_held():
        await stage.say(nodes[0], done(first))
        await until(stage.writes_waiting)
        # What follows waits for the commit of the first, and is one group after it.
        await stage.say(nodes[1], done(third))
        cancelling = asyncio.create_task(stage.conductor.request(JobCancelled(job=JOB)))
        await asyncio.sleep(0)
        await stage.say(nodes[0], done(second))
        await stage.say(nodes[1], done(fourth))
        assert not cancelling.done()
        assert all(connection.unsent.empty() for connection in stage.nodes.values())
    await asyncio.wait_for(cancelling, WAIT_SECONDS)
    for node, accepted, refused in ((0, first, second), (1, third, fourth)):
        answers: list[CoordinatorMessage] = []
        while not answers or not isinstance(answers[-1], FrameRefused):
            (message,) = await stage.hears(nodes[node], 1)
            if isinstance(message, FrameAccepted | FrameRefused | Revoke):
                answers.append(message)
        assert answers[0] == FrameAccepted(frame=accepted)
        assert [type(message) for message in answers[1:]] == [Revoke, FrameRefused]
        assert answers[-1] == FrameRefused(frame=refused, reason="The job was stopped.")
    assert stage.connections.stored == [("done", 1)] * 2


async def test_a_report_of_an_ended_job_waits_for_its_frames(stage, monkeypatch):
    """Between reports that are applied together, one needs frames that have left memory."""
    monkeypatch.setattr("rendermill.coordinator.ended_jobs.KEPT_MAX_FRAMES", 0)
    node = await stage.join(1)
    await stage.submit("1")
    (ref,) = await stage.given(node)
    await stage.say(node, done(ref))
    await until(lambda: stage.conductor.farm.state.jobs[JOB].has_ended)
    assert FrameAccepted(frame=ref) in await stage.hears(node, 2)
    assert stage.conductor.farm.shed(JOB)
    await stage.say(node, FrameStarted(frame=ref))
    await stage.say(node, done(ref))
    await stage.say(node, FrameStarted(frame=ref))
    assert await stage.hears(node, 1) == [FrameAccepted(frame=ref)]
    assert stage.connections.stored == [("done", 1)] * 2
