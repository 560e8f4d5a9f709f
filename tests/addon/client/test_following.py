from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest
from rendermill.addon.client.errors import MissingFiles
from rendermill.addon.client.following import (
    Act,
    Cancel,
    Connect,
    Connected,
    Deliver,
    DeliveryEnded,
    DeliveryMoved,
    Disconnected,
    Failed,
    FarmEvent,
    FarmThread,
    Finished,
    FrameChanged,
    JobAccepted,
    JobChanged,
    JobsListed,
    Join,
    NodeChanged,
    NodesListed,
    ResumeDeliveries,
    SetPriority,
    SignedIn,
    SubmissionMoved,
    Submit,
)
from rendermill.protocol.states import JobState
from rendermill.wire.errors import NotFound

from ...coordinator.conftest import picture
from .scenes import capture, make_files

E = TypeVar("E")
PATIENCE_SECONDS = 120.0
"""For a thread on a busy machine; nothing waits so long where all is well."""


class Owner:
    """Stands where Blender's main thread stands; here the test's loop must go on meanwhile."""

    def __init__(self, thread: FarmThread) -> None:
        self.thread = thread
        self.seen: list[FarmEvent] = []

    async def next_of(self, kind: type[E], request: int | None = None) -> E:
        """Return the next event of a kind (and request); everything before it is in `seen`."""
        while True:
            assert await asyncio.to_thread(self.thread.wait, PATIENCE_SECONDS), (
                f"no {kind.__name__}: {self.seen}"
            )
            for event in self.thread.drain(limit=1):
                self.seen.append(event)
                is_ours = request is None or getattr(event, "request", None) == request
                if isinstance(event, kind) and is_ours:
                    return event

    def terminals(self, request: int) -> list[FarmEvent]:
        return [e for e in self.seen if isinstance(e, Finished | Failed) and e.request == request]


@pytest.fixture
def owner() -> Iterator[Owner]:
    thread = FarmThread()
    thread.start()
    yield Owner(thread)
    assert thread.stop(PATIENCE_SECONDS)
    assert not thread.is_running


@pytest.fixture
async def coordinator(start):
    """Lets everything of this user in, as on an artist's machine."""
    return await start(writes_local=True)


@pytest.fixture
def captured(tmp_path):
    return capture(make_files(tmp_path / "scene"), tmp_path / "out")


async def test_from_the_button_to_the_frames(
    coordinator, farm, make_node, owner, captured, tmp_path
):
    connect = owner.thread.send(Connect())
    assert (await owner.next_of(Connected)).url == coordinator.url
    assert (await owner.next_of(JobsListed)).jobs == ()
    assert (await owner.next_of(NodesListed)).nodes == ()
    request = owner.thread.send(Submit(captured))
    job = (await owner.next_of(JobAccepted, request)).submitted.job
    node = make_node(farm)
    async with node.connected():
        await node.render(lambda: len(node.accepted) == 3)
        delivered = (await owner.next_of(DeliveryEnded, request)).delivered
        await owner.next_of(Finished, request)
    assert delivered.job.state is JobState.DONE
    assert (tmp_path / "out" / "f_0003.png").read_bytes() == picture(3)
    assert owner.terminals(request) == [Finished(request)]
    kinds = {type(event) for event in owner.seen}
    assert kinds >= {SubmissionMoved, DeliveryMoved, JobChanged, FrameChanged, NodeChanged}
    assert job.id == delivered.job.id
    owner.thread.send(Cancel(connect))
    assert (await owner.next_of(Failed, connect)).cancelled


async def test_a_refusal_is_one_sentence_and_its_error(coordinator, owner, tmp_path):
    scene = capture(make_files(tmp_path / "scene"), tmp_path / "out", missing=("/a/wood.png",))
    request = owner.thread.send(Submit(scene))
    failed = await owner.next_of(Failed, request)
    assert isinstance(failed.error, MissingFiles)
    assert failed.sentence == str(failed.error)
    again = owner.thread.send(Submit(scene, send_anyway=True, deliver=False))
    await owner.next_of(JobAccepted, again)
    await owner.next_of(Finished, again)


async def test_a_cancelled_submission_ends_once(coordinator, owner, captured):
    request = owner.thread.send(Submit(captured))
    owner.thread.send(Cancel(request))
    owner.thread.send(Cancel(request))
    assert (await owner.next_of(Failed, request)).cancelled
    after = owner.thread.send(Act("0" * 32, "pause"))
    assert isinstance((await owner.next_of(Failed, after)).error, NotFound)
    assert len(owner.terminals(request)) == 1


async def test_acting_on_jobs(coordinator, owner, captured):
    request = owner.thread.send(Submit(captured, deliver=False))
    job = (await owner.next_of(JobAccepted, request)).submitted.job
    for command in (Act(job.id, "pause"), SetPriority(job.id, 70), Act(job.id, "cancel")):
        number = owner.thread.send(command)
        changed = (await owner.next_of(JobChanged)).job
        await owner.next_of(Finished, number)
    assert changed.state is JobState.CANCELLED
    assert changed.priority == 70
    number = owner.thread.send(Act(job.id, "delete"))
    await owner.next_of(Finished, number)
    number = owner.thread.send(Deliver(job.id))
    assert isinstance((await owner.next_of(Failed, number)).error, NotFound)


async def test_deliveries_go_on_in_another_thread(
    coordinator, farm, make_node, owner, captured, tmp_path
):
    """As after Blender was closed with a job under way."""
    request = owner.thread.send(Submit(captured))
    await owner.next_of(DeliveryMoved, request)
    assert await asyncio.to_thread(owner.thread.stop, PATIENCE_SECONDS)
    later = FarmThread()
    # Commands are kept until the thread is there to take them.
    again = later.send(ResumeDeliveries())
    later.start()
    try:
        second = Owner(later)
        await second.next_of(DeliveryMoved, again)
        node = make_node(farm)
        async with node.connected():
            await node.render(lambda: len(node.accepted) == 3)
            await second.next_of(Finished, again)
    finally:
        assert await asyncio.to_thread(later.stop, PATIENCE_SECONDS)
    assert len(list((tmp_path / "out").iterdir())) == 3


async def test_a_coordinator_that_restarts_is_followed_again(start, owner):
    first = await start(writes_local=True)
    owner.thread.send(Connect())
    await owner.next_of(NodesListed)
    await first.stop()
    await owner.next_of(Disconnected)
    await start(writes_local=True, port=first.port)
    assert (await owner.next_of(Connected)).url == first.url


async def test_without_a_coordinator_it_says_why_and_waits(owner):
    request = owner.thread.send(Connect())
    assert "Start one on this computer" in (await owner.next_of(Disconnected)).sentence
    owner.thread.send(Cancel(request))
    assert (await owner.next_of(Failed, request)).cancelled


async def test_joining(coordinator, owner, home):
    with contextlib.suppress(FileNotFoundError):
        (home / "config" / "local.json").unlink()
    wrong = owner.thread.send(Join(coordinator.url, "rm2.x"))
    assert "rm1." in (await owner.next_of(Failed, wrong)).sentence
    request = owner.thread.send(Join(coordinator.url, str(coordinator.join_token)))
    await owner.next_of(Finished, request)
    owner.thread.send(Connect())
    await owner.next_of(Connected)


async def test_a_revoked_token_says_how_to_get_in_again(coordinator, owner, home):
    with contextlib.suppress(FileNotFoundError):
        (home / "config" / "local.json").unlink()
    joining = owner.thread.send(Join(coordinator.url, str(coordinator.join_token)))
    await owner.next_of(Finished, joining)
    request = owner.thread.send(Connect())
    visitor = (await owner.next_of(SignedIn)).visitor
    await coordinator.tokens.revoke(visitor.id)
    again = owner.thread.send(Connect())
    assert (await owner.next_of(Failed, again)).sentence.startswith("This computer is not let in")
    assert request != again


def test_waiting_and_draining():
    thread = FarmThread()
    assert not thread.wait(0)
    thread.start()
    thread.start()
    assert [t.name for t in threading.enumerate()].count("rendermill-farm") == 1
    thread.send(Act("0" * 32, "pause"))
    assert thread.wait(PATIENCE_SECONDS)
    assert thread.wait(0)
    assert len(list(thread.drain())) == 1
    assert list(thread.drain()) == []
    assert thread.stop(PATIENCE_SECONDS)
