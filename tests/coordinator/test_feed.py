"""Views are made for those who follow, and whoever comes later is told to begin anew."""

from __future__ import annotations

import json

from rendermill.coordinator import feed as feed_module
from rendermill.coordinator.farm.decisions import Changed, Publish
from rendermill.coordinator.feed import EventFeed


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

    def node_view(self, node_id: str) -> None:
        self.made += 1


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
