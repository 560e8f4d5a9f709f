"""Views are made for those who follow, and whoever comes later is told to begin anew."""

from __future__ import annotations

import asyncio
import json

from rendermill.coordinator import feed as feed_module
from rendermill.coordinator.farm.decisions import Changed, Publish
from rendermill.coordinator.feed import EventFeed
from rendermill.protocol.machine import Machine
from rendermill.protocol.states import NodeState
from rendermill.protocol.views import NodeView

MACHINE = Machine(hostname="n", system="", cpu="", cores=1, memory_bytes=0)


class CountedViews:
    """Things that are always there, and how often somebody wanted to see one."""

    def __init__(self) -> None:
        self.made = 0

    def job_state(self, job_id: str) -> object:
        return "rendering"

    def frame_state(self, job_id: str, frame: int) -> object:
        return "done"

    def node_state(self, node_id: str) -> object:
        return "idle"

    def job_view(self, job_id: str) -> None:
        self.made += 1

    def frame_view(self, job_id: str, frame: int) -> None:
        self.made += 1

    def node_view(self, node_id: str) -> NodeView | None:
        self.made += 1
        return None


class Moving(CountedViews):
    """A node whose progress goes on between two looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = 0.0

    def node_view(self, node_id: str) -> NodeView:
        return NodeView(
            id=node_id, name="n", state=NodeState.RENDERING, reason="", machine=MACHINE,
            software="", last_seen=0, load=0, memory_free_bytes=0, disk_free_bytes=0, job="j",
            frame=1, progress=self.progress, frames_done=0,
        )  # fmt: skip


async def test_what_changes_often_is_put_together_and_ends_with_its_last_state(monkeypatch):
    monkeypatch.setattr(feed_module, "QUIET_SECONDS", dict.fromkeys(Changed, 0.2))
    views = Moving()
    feed = EventFeed(views)
    position = feed.sequence
    with feed.followed():
        for step in range(1, 101):
            views.progress = step / 100
            feed.publish(Publish(kind=Changed.NODE, node="n"))
        told: list[float] = []
        async with asyncio.timeout(60):
            while not told or told[-1] < 1:
                for one in feed.since(position) or ():
                    told.append(json.loads(one.data)["node"]["progress"])
                    position = one.sequence
                if not told or told[-1] < 1:
                    await feed.wait(60)
    assert told[0] == 0.01
    assert len(told) < 20
    feed.close()


async def test_nobody_follows_and_nothing_is_made(monkeypatch):
    views = CountedViews()
    feed = EventFeed(views)
    monkeypatch.setattr(feed_module, "LINGER_SECONDS", -1.0)  # Nobody is about to follow either.
    begun = feed.sequence
    for _ in range(3):
        feed.publish(Publish(kind=Changed.JOB, job="j"))
        feed.publish(Publish(kind=Changed.FRAME, job="j", frames=(1, 2)))
        feed.publish(Publish(kind=Changed.NODE, node="n"))
        feed.tell_log(("line",), "n", "j")
    assert views.made == 0
    assert feed.since(begun) is None
    assert feed.since(feed.sequence) == []
    with feed.followed():
        feed.publish(Publish(kind=Changed.JOB, job="j"))
        assert views.made == 1
        position = feed.sequence
        feed.tell_log(("mine",), "n", "j")
        told = (feed.since(position) or [])[0]
        assert json.loads(told.data)["lines"] == ["mine"]
    feed.close()


async def test_whoever_asks_where_the_stream_stands_misses_nothing():
    feed = EventFeed(CountedViews())
    position = feed.sequence
    feed.tell_log(("between",), "n", "j")
    told = (feed.since(position) or [])[0]
    assert json.loads(told.data)["lines"] == ["between"]
    feed.close()


async def test_a_follower_gets_at_most_what_it_can_take():
    feed = EventFeed(CountedViews())
    position = feed.sequence
    for number in range(5):
        feed.tell_log((str(number) * 1000,), "n", "j")
    assert [one.sequence for one in feed.since(position, 2500) or ()] == [
        position + 1,
        position + 2,
    ]
    assert len(feed.since(position, 1) or ()) == 1
    assert len(feed.since(position) or ()) == 5
    feed.close()
